"""The node that turns a still into a slowly moving reference video."""

from __future__ import annotations

from comfy_api.latest import InputImpl, io

from ..infinitetalk.host.panzoom import pan_and_zoom
from ..infinitetalk.panzoom import EASINGS, MAX_SECONDS, MAX_ZOOM, Move, frame_count
from .common import ALIASES, CATEGORY, Features, verdict


class InfiniteTalkPanZoom(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkPanZoom",
            display_name="InfiniteTalk Pan and Zoom",
            category=CATEGORY,
            description="Turns a still into a slowly moving reference video of any length, for InfiniteTalk Video "
            "Reference. A long video from one picture keeps its colours better this way.",
            search_aliases=[*ALIASES, "ken burns", "camera", "still to video", "image to video"],
            inputs=[
                io.Image.Input("image", tooltip="The person who will speak; the first picture of a batch is used."),
                io.Float.Input(
                    "seconds",
                    default=60.0,
                    min=0.04,
                    max=MAX_SECONDS,
                    step=0.04,
                    tooltip="Length of the video. Not used when features are connected.",
                ),
                io.Float.Input(
                    "zoom_start",
                    default=1.0,
                    min=1.0,
                    max=MAX_ZOOM,
                    step=0.01,
                    tooltip="Magnification at the start; 1 shows the whole picture.",
                ),
                io.Float.Input(
                    "zoom_end",
                    default=1.15,
                    min=1.0,
                    max=MAX_ZOOM,
                    step=0.01,
                    tooltip="Magnification at the end of the way.",
                ),
                io.Float.Input(
                    "pan_x",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Where the view ends sideways, in parts of the room that the zoom leaves: -1 left edge, "
                    "0 middle, 1 right edge. It begins in the middle.",
                ),
                io.Float.Input(
                    "pan_y",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The same up and down: -1 top edge, 1 bottom edge.",
                ),
                io.Combo.Input(
                    "easing",
                    options=list(EASINGS),
                    default="smooth",
                    tooltip="smooth slows down at both ends; linear moves evenly and turns at once.",
                ),
                io.Float.Input(
                    "there_and_back",
                    default=10.0,
                    min=0.0,
                    max=MAX_SECONDS,
                    step=0.5,
                    tooltip="Seconds from start to end; then back, and so on for the whole length. "
                    "0 moves once over the whole length.",
                ),
                Features.Input("features", optional=True, tooltip="Its length is used instead of seconds."),
                io.Int.Input(
                    "crf",
                    default=12,
                    min=1,
                    max=51,
                    optional=True,
                    advanced=True,
                    tooltip="Quality of the video on disk, lower is better; 12 loses nothing visible.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="25 frames per second, silent, in the temp folder.")
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        seconds=None,
        zoom_start=None,
        zoom_end=None,
        pan_x=None,
        pan_y=None,
        easing=None,
        there_and_back=None,
    ):
        length = verdict(frame_count, seconds)
        return verdict(Move, zoom_start, zoom_end, pan_x, pan_y, easing, there_and_back) if length is True else length

    @classmethod
    def execute(
        cls,
        image,
        seconds=60.0,
        zoom_start=1.0,
        zoom_end=1.15,
        pan_x=0.0,
        pan_y=0.0,
        easing="smooth",
        there_and_back=10.0,
        features=None,
        crf=12,
    ):
        move = Move(zoom_start, zoom_end, pan_x, pan_y, easing, there_and_back)
        frames = frame_count(seconds) if features is None else features.frames
        return io.NodeOutput(InputImpl.VideoFromFile(str(pan_and_zoom(image, move, frames, crf))))
