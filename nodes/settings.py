"""Nodes that hold settings: guidance scales and the noise schedule."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.schedule import flow_sigmas
from ..infinitetalk.settings import ApgConfig, GuidanceConfig, parse_curve
from .common import ALIASES, CATEGORY, Guidance, verdict


class InfiniteTalkGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkGuidance",
            display_name="InfiniteTalk Guidance",
            category=CATEGORY,
            description="How strongly the prompt and the speech steer. A scale of 1 saves its model call: "
            "three calls per step, two when one scale is 1, one when both are.",
            search_aliases=[*ALIASES, "cfg", "audio cfg", "audio scale", "apg", "cfg schedule"],
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
                io.String.Input(
                    "text_curve",
                    default="",
                    optional=True,
                    tooltip="Replaces text_scale by a scale that changes over the steps: "
                    "5, 5, 3, 1 evenly spaced, or 0:5 0.5:3 1:1 as position:scale.",
                ),
                io.String.Input(
                    "audio_curve", default="", optional=True, tooltip="The same for audio_scale. Empty: audio_scale."
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Share of the steps before which there is no guidance (scale 1).",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Share of the steps from which on there is no guidance (scale 1).",
                ),
                io.Boolean.Input(
                    "apg",
                    default=False,
                    optional=True,
                    tooltip="Adaptive projected guidance for both scales: less oversaturation at high scales.",
                ),
                io.Float.Input(
                    "apg_momentum",
                    default=-0.75,
                    min=-0.99,
                    max=0.99,
                    step=0.01,
                    optional=True,
                    tooltip="Weight of the steps before in the guidance's running sum. Reference: -0.75.",
                ),
                io.Float.Input(
                    "apg_threshold",
                    default=55.0,
                    min=0.01,
                    max=100000.0,
                    step=0.1,
                    optional=True,
                    tooltip="The guidance is cut to this length, over the whole latent. Reference: 55.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the sampler or one window.")],
        )

    @classmethod
    def validate_inputs(cls, text_curve=None, audio_curve=None, start_percent=None, end_percent=None):
        for found in (
            verdict(parse_curve, text_curve, "text_curve"),
            verdict(parse_curve, audio_curve, "audio_curve"),
            verdict(_guided_part, start_percent, end_percent),
        ):
            if found is not True:
                return found
        return True

    @classmethod
    def execute(
        cls,
        text_scale=5.0,
        audio_scale=4.0,
        text_curve="",
        audio_curve="",
        start_percent=0.0,
        end_percent=1.0,
        apg=False,
        apg_momentum=-0.75,
        apg_threshold=55.0,
    ):
        config = GuidanceConfig(
            parse_curve(text_curve, "text_curve") or float(text_scale),
            parse_curve(audio_curve, "audio_curve") or float(audio_scale),
            float(start_percent),
            float(end_percent),
            ApgConfig(float(apg_momentum), float(apg_threshold)) if apg else None,
        )
        return io.NodeOutput(config)


def _guided_part(start: float, end: float) -> None:
    GuidanceConfig(start=start, end=end)


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
