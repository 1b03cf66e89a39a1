"""The node for what a run goes on from."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.extend import make_start, run_fingerprint, run_video
from .common import ALIASES, CATEGORY, Start, verdict


class InfiniteTalkExtend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkExtend",
            display_name="InfiniteTalk Extend",
            category=CATEGORY,
            description="More speech for a finished run, or for any video: its last frames are the motion frames that "
            "the first window goes on from.",
            search_aliases=[*ALIASES, "continue", "start frame", "last frame", "resume"],
            inputs=[
                io.Video.Input("video", optional=True, tooltip="Any video, its trim respected. This or run is needed."),
                io.String.Input(
                    "run",
                    default="",
                    optional=True,
                    tooltip="A finished run, by its folder or name, as InfiniteTalk Runs lists it.",
                ),
                io.Boolean.Input(
                    "include",
                    default=True,
                    optional=True,
                    tooltip="Puts the video with its sound before the new part. Off: the file holds the new part only.",
                ),
            ],
            outputs=[Start.Output(display_name="start", tooltip="For the sampler.")],
        )

    @classmethod
    def validate_inputs(cls, run=None):
        return verdict(run_video, run or None)

    @classmethod
    def fingerprint_inputs(cls, run="", **_):
        return run_fingerprint(run or "")

    @classmethod
    def execute(cls, video=None, run="", include=True):
        return io.NodeOutput(make_start(video, run, include))
