"""One window for the host's own samplers: KSampler, SamplerCustomAdvanced and what builds on them."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.config import StreamConfig, WindowConfig
from ..infinitetalk.host.window import prepare_window
from ..infinitetalk.settings import GuidanceConfig
from .common import ALIASES, CATEGORY, Cache, Guidance, run_inputs, verdict, window_inputs


class InfiniteTalkWindow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkWindow",
            display_name="InfiniteTalk Window",
            category=CATEGORY,
            description="Everything one window needs, for KSampler or a custom sampler. The guidance is inside "
            "the model: the sampler's own cfg is not used.",
            search_aliases=[*ALIASES, "guider", "ksampler", "single window"],
            inputs=[
                *run_inputs(),
                io.Int.Input(
                    "window", default=0, min=0, max=100000, tooltip="Which window of the speech, counted from 0."
                ),
                Guidance.Input("guidance", optional=True, tooltip="Text and audio scales; 5 and 4 when not connected."),
                *window_inputs(),
                io.Image.Input(
                    "previous_frames",
                    optional=True,
                    tooltip="Frames of the window before; the last motion_frames of them are continued. "
                    "Needed from window 1 on.",
                ),
                Cache.Input("cache", optional=True, tooltip="From InfiniteTalk Step Cache: skips model calls."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For KSampler."),
                io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced."),
                io.Conditioning.Output(display_name="positive", tooltip="For KSampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For KSampler."),
                io.Latent.Output(display_name="latent", tooltip="Empty latent of the window."),
                io.Int.Output(display_name="motion_frames", tooltip="Leading frames to drop before joining windows."),
                io.Int.Output(display_name="new_frames", tooltip="Frames after them that belong to the video."),
            ],
        )

    @classmethod
    def validate_inputs(cls, frames_per_window=None, motion_frames=None):
        return verdict(WindowConfig, frames_per_window, motion_frames)

    @classmethod
    def execute(
        cls,
        model,
        vae,
        positive,
        negative,
        features,
        reference,
        window,
        frames_per_window,
        motion_frames,
        guidance=None,
        previous_frames=None,
        cache=None,
    ):
        window_config = WindowConfig(frames_per_window, motion_frames)
        config = StreamConfig(window_config, guidance or GuidanceConfig(), cache=cache)
        return io.NodeOutput(
            *prepare_window((model, vae, positive, negative), features, reference, config, window, previous_frames)
        )
