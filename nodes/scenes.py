"""The node that finds the cuts of a source video."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.scenes import detect
from ..infinitetalk.scenes import DETECTORS, check_detection
from .common import ALIASES, CATEGORY, Scenes, verdict


class InfiniteTalkScenes(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkScenes",
            display_name="InfiniteTalk Scenes",
            category=CATEGORY,
            description="Finds the cuts of a source video with PySceneDetect. The sampler starts afresh at each.",
            search_aliases=[*ALIASES, "scene detection", "shot", "cut", "pyscenedetect", "split"],
            inputs=[
                io.Video.Input("video", tooltip="The video that InfiniteTalk Video Reference takes, trimmed the same."),
                io.Combo.Input(
                    "detector",
                    options=list(DETECTORS),
                    default="adaptive",
                    tooltip="adaptive: cuts that stand out from the motion around them; content: any large change; "
                    "threshold: fades through black; all: the three together, as the reference does.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=0.0,
                    max=255.0,
                    step=0.5,
                    tooltip="Higher finds fewer cuts (threshold: more). 0 is the detector's own: adaptive 3, "
                    "content 27, threshold 12. With all it must be 0.",
                ),
                io.Float.Input(
                    "min_seconds",
                    default=0.5,
                    min=0.0,
                    max=3600.0,
                    step=0.1,
                    tooltip="A shorter scene joins the one before it. No time is lost.",
                ),
            ],
            outputs=[
                Scenes.Output(display_name="scenes", tooltip="For the sampler."),
                io.String.Output(display_name="text", tooltip="Start, end and length of each scene."),
                io.Int.Output(display_name="count", tooltip="Number of scenes."),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector=None, threshold=None, min_seconds=None):
        return verdict(check_detection, detector, threshold, min_seconds)

    @classmethod
    def execute(cls, video, detector="adaptive", threshold=0.0, min_seconds=0.5):
        scenes = detect(video, detector, threshold, min_seconds)
        return io.NodeOutput(scenes, scenes.table(), len(scenes.starts))
