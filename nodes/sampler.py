"""The node that makes the video, window after window."""

from __future__ import annotations

from comfy_api.latest import InputImpl, io

from ..infinitetalk.config import COLOUR_REFERENCES, MODES, TAILS, StreamConfig, WindowConfig
from ..infinitetalk.host.denoise import Inputs
from ..infinitetalk.host.run import render
from ..infinitetalk.settings import GuidanceConfig
from .common import ALIASES, CATEGORY, Cache, Guidance, Scenes, run_inputs, verdict, window_inputs


class InfiniteTalkSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSampler",
            display_name="InfiniteTalk Sampler",
            category=CATEGORY,
            description="Samples the whole speech in chained windows and writes the video while it goes. "
            "Cancelling keeps what is finished, in the output folder.",
            search_aliases=[*ALIASES, "ksampler", "streaming", "long video"],
            inputs=[
                *run_inputs(),
                io.Sampler.Input("sampler", tooltip="Any; the reference uses euler."),
                io.Sigmas.Input("sigmas", tooltip="From InfiniteTalk Schedule, or any other."),
                io.Int.Input(
                    "seed",
                    default=42,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the first window; every later window adds 1.",
                ),
                Guidance.Input("guidance", optional=True, tooltip="Text and audio scales; 5 and 4 when not connected."),
                *window_inputs(),
                io.Float.Input(
                    "color_correction",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Pulls every frame's colours to the reference picture, so that long videos do not "
                    "drift. 0 is off.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="streaming",
                    tooltip="streaming makes the whole speech, clip only the first window.",
                ),
                io.Combo.Input(
                    "tail",
                    options=list(TAILS),
                    default="silence",
                    optional=True,
                    advanced=True,
                    tooltip="What the model hears after the speech ends: silence, or the speech mirrored "
                    "as in the reference.",
                ),
                Cache.Input("cache", optional=True, tooltip="From InfiniteTalk Step Cache: skips model calls."),
                Scenes.Input(
                    "scenes",
                    optional=True,
                    tooltip="From InfiniteTalk Scenes: sampling starts afresh at every cut of the source video.",
                ),
                io.Float.Input(
                    "source_strength",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="1 starts from noise. Less (SDEdit) starts from the source video's own frames and runs "
                    "only this share of the steps: the camera follows the source, colours shift sooner.",
                ),
                io.Combo.Input(
                    "color_reference",
                    options=list(COLOUR_REFERENCES),
                    default="first",
                    optional=True,
                    tooltip="What color_correction pulls to with a source video: the scene's first frame as in the "
                    "reference, or each window's own frame, for sources whose light changes.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="On disk, with the original sound."),
                io.Int.Output(display_name="skipped", tooltip="Model calls that the step cache skipped."),
                io.String.Output(display_name="report", tooltip="The same as a line of text."),
            ],
            hidden=[io.Hidden.unique_id],
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
        sampler,
        sigmas,
        seed,
        frames_per_window,
        motion_frames,
        color_correction,
        mode,
        guidance=None,
        tail="silence",
        cache=None,
        scenes=None,
        source_strength=1.0,
        color_reference="first",
    ):
        config = StreamConfig(
            window=WindowConfig(frames_per_window, motion_frames),
            guidance=guidance or GuidanceConfig(),
            seed=seed,
            colour=color_correction,
            mode=mode,
            tail=tail,
            colour_reference=color_reference,
            source_strength=source_strength,
            cuts=scenes.cuts(features.frames) if scenes else (),
            cache=cache,
        )
        inputs = Inputs(model, vae, positive, negative, features, reference, sampler, sigmas)
        # No video in the node: the editor would take the live previews of later runs for videos and show none of them.
        done = render(inputs, config, cls.hidden.unique_id)
        return io.NodeOutput(InputImpl.VideoFromFile(str(done.path)), done.skipped, done.report)
