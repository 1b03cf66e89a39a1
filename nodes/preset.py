"""The node that sets everything that belongs to a LoRA, or to the reference, at once."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.presets import check_preset, make_preset, tell
from ..infinitetalk.presets import NAMES
from .common import ALIASES, CATEGORY, Features, Guidance, Reference, verdict


class InfiniteTalkPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkPreset",
            display_name="InfiniteTalk Preset",
            category=CATEGORY,
            description="Steps, shift, text scale, audio scale and sampler in one choice: the reference's own, or "
            "those of a distillation LoRA. Says so when the LoRA is missing or does not suit a long video.",
            search_aliases=[*ALIASES, "fusionx", "lightx2v", "distill", "lora preset", "4 steps", "fast"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(NAMES),
                    default="reference 480p",
                    tooltip="Steps / shift / text / audio: reference 480p 40/7/5/4, reference 720p 40/11/5/4, "
                    "FusionX 8/2/1/2, LightX2V 4/2/1/2. Always euler.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that goes to the sampler; only looked at: is a LoRA loaded?",
                ),
                Features.Input(
                    "features", optional=True, tooltip="The speech; only looked at: is it too long for FusionX?"
                ),
                Reference.Input(
                    "reference", optional=True, tooltip="The reference; only looked at: is it one picture or a video?"
                ),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="euler, as in the reference."),
                io.Sigmas.Output(display_name="sigmas", tooltip="The reference's schedule at these steps and shift."),
                Guidance.Output(display_name="guidance", tooltip="For the sampler or one window."),
                io.String.Output(display_name="notes", tooltip="The warnings, one a line; empty when all fits."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, preset=None):
        return verdict(check_preset, preset)

    @classmethod
    def execute(cls, preset="reference 480p", model=None, features=None, reference=None):
        sampler, sigmas, guidance, notes = make_preset(preset, model, features, reference)
        tell(notes, cls.hidden.unique_id)
        return io.NodeOutput(sampler, sigmas, guidance, "\n".join(notes), ui={"text": list(notes)} if notes else None)
