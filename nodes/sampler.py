"""The node that makes the video, window after window."""

from __future__ import annotations

from comfy_api.latest import InputImpl, io

from ..infinitetalk.config import COLOUR_REFERENCES, MODES, TAILS, StreamConfig, WindowConfig
from ..infinitetalk.host.denoise import Inputs
from ..infinitetalk.host.identity import GRAPH_INPUTS, node_graph
from ..infinitetalk.host.planned import Wish
from ..infinitetalk.host.preflight import check_before_loading
from ..infinitetalk.host.run import render
from ..infinitetalk.host.runs import runs_removed
from ..infinitetalk.rtmp import check_target
from ..infinitetalk.run_names import check_run_name
from ..infinitetalk.settings import GuidanceConfig
from .common import (
    ALIASES,
    CATEGORY,
    Cache,
    Guidance,
    Memory,
    Redo,
    Scenes,
    Start,
    Table,
    run_inputs,
    verdict,
    window_inputs,
)

EXISTING = ("continue", "afresh")


class InfiniteTalkSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSampler",
            display_name="InfiniteTalk Sampler",
            category=CATEGORY,
            description="Samples the whole speech in chained windows and keeps every finished one in the run's folder, "
            "output/InfiniteTalk/runs. A run that was stopped or killed goes on when the same graph is queued again.",
            search_aliases=[*ALIASES, "ksampler", "streaming", "long video", "resume", "continue"],
            inputs=[
                *run_inputs(lazy=True),
                io.Sampler.Input("sampler", tooltip="Any; the reference uses euler.", lazy=True),
                io.Sigmas.Input("sigmas", tooltip="From InfiniteTalk Schedule, or any other.", lazy=True),
                io.Int.Input(
                    "seed",
                    default=42,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the first window; every later window adds 1. Another seed is another run: "
                    "leave it fixed, so that a stopped run goes on.",
                ),
                Guidance.Input(
                    "guidance", optional=True, lazy=True, tooltip="Text and audio scales; 5 and 4 when not connected."
                ),
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
                Cache.Input(
                    "cache", optional=True, lazy=True, tooltip="From InfiniteTalk Step Cache: skips model calls."
                ),
                Scenes.Input(
                    "scenes",
                    optional=True,
                    lazy=True,
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
                Table.Input(
                    "table",
                    optional=True,
                    lazy=True,
                    tooltip="From InfiniteTalk Table: prompts, references and seeds by time.",
                ),
                Redo.Input(
                    "redo",
                    optional=True,
                    lazy=True,
                    tooltip="From InfiniteTalk Redo: other takes of single windows of this run. The first takes are "
                    "kept.",
                ),
                Start.Input(
                    "start",
                    optional=True,
                    lazy=True,
                    tooltip="From InfiniteTalk Extend: goes on from the end of a run or of any video.",
                ),
                io.String.Input(
                    "run_name",
                    default="",
                    optional=True,
                    tooltip="Begins the name of the run's folder: letters, digits, space, dot, dash, underscore. "
                    "Another name is another run.",
                ),
                io.Combo.Input(
                    "existing",
                    options=list(EXISTING),
                    default="continue",
                    optional=True,
                    tooltip="What to do when there is a run of the same inputs and settings: continue it, or make a "
                    "new one beside it.",
                ),
                io.Boolean.Input(
                    "silence_gate",
                    default=False,
                    optional=True,
                    tooltip="Closes the mouth where nobody speaks: there the model hears silence instead of breath, "
                    "noise or music.",
                ),
                io.String.Input(
                    "live",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Sends every finished window on at once: hls writes a playlist into the run's folder, "
                    "rtmp://server/app/key sends to a server. A target that drops never stops the run.",
                ),
                Memory.Input(
                    "memory",
                    optional=True,
                    tooltip="From InfiniteTalk Memory, for small cards. Not connected: as ComfyUI does it by itself.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="On disk, with the original sound."),
                io.Int.Output(display_name="skipped", tooltip="Model calls that the step cache skipped."),
                io.String.Output(display_name="report", tooltip="The same as a line of text."),
                io.String.Output(display_name="run", tooltip="The run's folder, for InfiniteTalk Extend and Runs."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def validate_inputs(cls, frames_per_window=None, motion_frames=None, run_name=None, live=None):
        checks = ((WindowConfig, frames_per_window, motion_frames), (check_run_name, run_name), (check_target, live))
        return next((found for check in checks if (found := verdict(*check)) is not True), True)

    @classmethod
    def fingerprint_inputs(cls, **_):
        return runs_removed()  # a video that is gone has to be made again

    @classmethod
    def check_lazy_status(cls, **given):
        waiting = [name for name, value in given.items() if value is None]  # linked, and not made yet
        if waiting:
            check_before_loading(cls.hidden.dynprompt, cls.hidden.unique_id)
        return waiting

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
        table=(),
        redo=(),
        start=None,
        run_name="",
        existing="continue",
        silence_gate=False,
        live="",
        memory=None,
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
            silence_gate=silence_gate,
        )
        inputs = Inputs(model, vae, positive, negative, features, reference, sampler, sigmas)
        graph = node_graph(cls.hidden, GRAPH_INPUTS)
        wish = Wish(run_name, existing == "afresh", table, redo, start, live, graph, memory)
        # No video in the node: the editor would take the live previews of later runs for videos and show none of them.
        done = render(inputs, config, wish, cls.hidden.unique_id)
        return io.NodeOutput(InputImpl.VideoFromFile(str(done.path)), done.skipped, done.report, done.run)
