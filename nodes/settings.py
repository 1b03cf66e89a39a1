"""Nodes that hold settings: guidance scales and the noise schedule."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.schedule import flow_sigmas
from ..infinitetalk.settings import GuidanceConfig
from .common import ALIASES, CATEGORY, Guidance


class InfiniteTalkGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkGuidance",
            display_name="InfiniteTalk Guidance",
            category=CATEGORY,
            description="How strongly the prompt and the speech steer. A scale of 1 saves its model call: "
            "three calls per step, two when one scale is 1, one when both are.",
            search_aliases=[*ALIASES, "cfg", "audio cfg", "audio scale"],
            inputs=[
                io.Float.Input(
                    "text_scale",
                    default=5.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Reference: 5; 1 with a distillation LoRA.",
                ),
                io.Float.Input(
                    "audio_scale",
                    default=4.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Reference: 4; 2 with a distillation LoRA. "
                    "3 to 5 is the useful range; more opens the mouth wider.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the sampler or one window.")],
        )

    @classmethod
    def execute(cls, text_scale=5.0, audio_scale=4.0):
        return io.NodeOutput(GuidanceConfig(float(text_scale), float(audio_scale)))


class InfiniteTalkSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSchedule",
            display_name="InfiniteTalk Schedule",
            category=CATEGORY,
            description="The reference's sigmas: evenly spaced timesteps from 1000 to 1, shifted, then 0.",
            search_aliases=[*ALIASES, "sigmas", "scheduler", "shift", "steps"],
            inputs=[
                io.Int.Input(
                    "steps", default=40, min=1, max=1000, tooltip="Reference: 40; 8 with FusionX, 4 with LightX2V."
                ),
                io.Float.Input(
                    "shift",
                    default=7.0,
                    min=0.01,
                    max=100.0,
                    step=0.1,
                    tooltip="Reference: 7 at 480p, 11 at 720p; 2 with a distillation LoRA; 3 to 5 gives finer detail "
                    "and less motion.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For any sampler that takes SIGMAS.")],
        )

    @classmethod
    def execute(cls, steps=40, shift=7.0):
        return io.NodeOutput(flow_sigmas(steps, shift))
