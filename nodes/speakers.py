"""Nodes for several people in one picture: who speaks, where, and when."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.errors import InputError
from ..infinitetalk.host.kept import as_audio
from ..infinitetalk.host.speakers import bind
from ..infinitetalk.regions import parse_box, read_boxes
from ..infinitetalk.speakers import BY_ORDER, MAX_SPEAKERS, MAX_START, ORDERS, Speaker
from .common import ALIASES, CATEGORY, Features, Reference, verdict

OneSpeaker = io.Custom("INFINITETALK_SPEAKER")


class InfiniteTalkSpeaker(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSpeaker",
            display_name="InfiniteTalk Speaker",
            category=CATEGORY,
            description="One person of the picture: what the person says, where the person is, and when it begins.",
            search_aliases=[*ALIASES, "multi person", "mask", "region"],
            inputs=[
                Features.Input(
                    "features",
                    optional=True,
                    tooltip="From InfiniteTalk Audio Encode. Not connected: this person stays silent.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The person, painted on the picture that goes into the reference (or on its image output).",
                ),
                io.BoundingBox.Input(
                    "boxes",
                    optional=True,
                    force_input=True,
                    tooltip="Box of the person, from a detector or editor; of a video, those of the first frame.",
                ),
                io.String.Input(
                    "box",
                    default="",
                    optional=True,
                    tooltip="x, y, width, height in pixels of the picture, for example 40, 60, 300, 400. "
                    "Without mask and box the speakers share the picture in columns, from left to right.",
                ),
                io.String.Input(
                    "name", default="", optional=True, tooltip="Shown in the coloured picture and in messages."
                ),
                io.Float.Input(
                    "start",
                    default=BY_ORDER,
                    min=BY_ORDER,
                    max=MAX_START,
                    step=0.1,
                    optional=True,
                    tooltip="Second at which this person begins to speak; -1 leaves it to the order of the speakers.",
                ),
                io.Int.Input(
                    "box_number",
                    default=1,
                    min=1,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="Which of several boxes is this person, as a detector lists them; 1 is the first.",
                ),
            ],
            outputs=[OneSpeaker.Output(display_name="speaker", tooltip="For InfiniteTalk Speakers.")],
        )

    @classmethod
    def validate_inputs(cls, box=None):
        return verdict(parse_box, box)

    @classmethod
    def execute(cls, features=None, mask=None, boxes=None, box="", name="", start=BY_ORDER, box_number=1):
        given = {
            "mask": mask,
            "boxes": None if boxes is None else read_boxes(boxes, box_number),
            "box": parse_box(box),
        }
        regions = {key: region for key, region in given.items() if region is not None}
        if len(regions) > 1:
            raise InputError(
                f"{' and '.join(regions)}: the same person is given {len(regions)} regions.", "Keep one of them."
            )
        if features is not None and len(features.voices) > 1:
            raise InputError(
                f"features: {len(features.voices)} voices, one person has one.",
                "Connect InfiniteTalk Audio Encode, not InfiniteTalk Speakers.",
            )
        region = next(iter(regions.values()), None)
        return io.NodeOutput(Speaker(features, region, name.strip(), None if start == BY_ORDER else start))


class InfiniteTalkSpeakers(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSpeakers",
            display_name="InfiniteTalk Speakers",
            category=CATEGORY,
            description="Binds 1 to 8 speakers to their places in the picture. One speaker with a region means: only "
            "this person speaks, everybody else stays still.",
            search_aliases=[*ALIASES, "multi person", "two people", "conversation", "dialogue"],
            inputs=[
                Reference.Input("reference", tooltip="The same as the sampler's."),
                io.Autogrow.Input(
                    "speakers",
                    template=io.Autogrow.TemplatePrefix(
                        OneSpeaker.Input("speaker", tooltip="From InfiniteTalk Speaker."),
                        prefix="speaker",
                        min=1,
                        max=MAX_SPEAKERS,
                    ),
                    tooltip="From InfiniteTalk Speaker, 1 to 8; without regions from left to right.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default="para",
                    tooltip="para: all begin together and the shorter ones fall silent. add: one after the other; "
                    "a silent speaker takes no time.",
                ),
            ],
            outputs=[
                Features.Output(display_name="features", tooltip="For the sampler, in place of one speaker's."),
                io.Image.Output(display_name="image", tooltip="Who is where, as the model sees it."),
                io.Audio.Output(display_name="audio", tooltip="The recordings at their times, as in the video."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, reference, speakers, order="para"):
        connected = sorted((int(name.removeprefix("speaker")), one) for name, one in speakers.items() if one)
        features, image = bind(reference, [one for _, one in connected], order, cls.hidden.unique_id)
        return io.NodeOutput(features, image[None], as_audio(features.sound))
