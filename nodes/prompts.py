"""The node that encodes a prompt for each window."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.prompts import encode_prompts
from ..infinitetalk.prompts import parse_prompts
from .common import ALIASES, CATEGORY, verdict


class InfiniteTalkPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkPrompts",
            display_name="InfiniteTalk Prompts",
            category=CATEGORY,
            description="A prompt that changes along the video: a line for each window, or lines with times. "
            "A single line is the same for the whole video.",
            search_aliases=[*ALIASES, "prompt", "text encode", "prompt schedule", "prompt travel"],
            inputs=[
                io.Clip.Input("clip", tooltip="umt5_xxl from Load CLIP, type wan."),
                io.String.Input(
                    "text",
                    default="A person talks to the camera.",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="One line for each window, or parts between vertical bars; the last one goes on. "
                    "With a time before each, in seconds [12.5] or as a clock [1:02:03.5], a line holds from there on; "
                    "the first begins with [0].",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="For positive or negative of the sampler or one window."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, text=None):
        return verdict(parse_prompts, text)

    @classmethod
    def execute(cls, clip, text="A person talks to the camera."):
        return io.NodeOutput(encode_prompts(clip, text))
