"""A whole run: check, plan, sample what is not there yet, join the video. The Sampler node's one call.

Everything of the run lives in this call and in its folder; whatever ends it, the finished windows stay, and the
next call with the same inputs goes on after them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ..config import FPS, MATHS, StreamConfig
from ..disk import check_writable
from ..drift import measure, thumbs
from ..extend import Start, check_start, last_frames
from ..reference import latent_shape
from ..rtmp import check_target
from ..run_folder import RunFolder, Wanted, open_run
from ..segment import read_tail, write_segment
from ..step_cache import Tally
from ..stream import Finished, Stages, stream
from ..table import Row, overrides_at
from ..takes import Redo, Take, first_takes, plan_takes, to_sample
from ..timeline import plan
from ..video import expected_bytes
from ..voice_activity import with_gate
from .checks import check_run, check_takes, sampled_sigmas
from .denoise import Denoiser, Inputs, guidance_of
from .identity import environment, overrides_digest, run_identity
from .progress import RunProgress, say
from .run_outputs import Outputs, kept_features
from .stages import colour_anchor, make_stages
from .step_cache import finish_cache, other_cache, with_cache
from .vae import WanVae
from .video_reference import References

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What a run is asked for beside its inputs and settings.

    name: of its folder; afresh: even if there is such a run; table: changes by time; redo: other takes of windows;
    start: a video to go on from; live: a target of `live.LiveOutput`; graph: digest of what made the models.
    """

    name: str = ""
    afresh: bool = False
    table: tuple[Row, ...] = ()
    redo: tuple[Redo, ...] = ()
    start: Start | None = None
    live: str = ""
    graph: str = ""


@dataclass(frozen=True)
class Rendered:
    """The video's path; forwards of the model that our step cache skipped; a line for the user; the run's folder."""

    path: Path
    skipped: int
    report: str
    run: str


@dataclass(frozen=True)
class Planned:
    """A run that passed every check. takes: of its windows, in order."""

    inputs: Inputs
    config: StreamConfig
    wish: Wish
    takes: Sequence[Take]

    @property
    def frames(self) -> int:
        return sum(take.window.keep for take in self.takes)


def render(inputs: Inputs, config: StreamConfig, wish: Wish = Wish(), node_id: str | None = None) -> Rendered:  # noqa: B008
    """Make the video, with its sound, in the run's folder below the host's output folder.

    Raises InputError before sampling for inputs that cannot work together, and the host's interrupt when the user
    cancels; the finished windows are kept, and a playable file of them.
    """
    check_run(inputs, config)
    check_target(wish.live)
    if wish.start is not None:
        check_start(wish.start, config.window.motion)
    begun = wish.start is not None
    windows = plan(inputs.features.frames, config.window, config.mode, config.seed, config.cuts, begun)
    first = first_takes(windows, lambda window: overrides_at(wish.table, window))
    takes = plan_takes(first, wish.redo, overrides_digest)
    check_takes(inputs, config, [*first, *takes])
    run = Planned(inputs, config, wish, takes)
    calibrates = config.cache is not None and config.cache.kind == "calibrate"  # it measures the sampling itself
    identity = run_identity(inputs, config, wish.table, wish.start, wish.graph)
    wanted = Wanted(wish.name, identity, MATHS, wish.afresh or calibrates, described(config, first))
    output = Path(folder_paths.get_output_directory())
    check_writable(output)
    with open_run(output, wanted) as folder:
        return _continue(folder, run, node_id)


def described(config: StreamConfig, first: Sequence[Take]) -> dict[str, Any]:
    """What run.json tells about a run."""
    rows = [
        {
            "window": take.number,
            "start": take.window.start,
            "end": take.window.end,
            "motion": take.window.motion,
            "keep": take.window.keep,
            "seed": take.seed,
            "seconds": [(take.window.start + take.window.motion + n) / FPS for n in (0, take.window.keep)],
        }
        for take in first
    ]
    return {"made_with": environment(), "settings": asdict(config), "plan": rows}


def _continue(folder: RunFolder, run: Planned, node_id: str | None) -> Rendered:
    if not folder.new and folder.made_with != environment():
        folder.log(f"goes on with {environment()}, was begun with {folder.made_with}: not bit for bit the same")
    outputs = Outputs(folder, run, node_id)
    if not folder.new:
        say(f"Run {folder.name}: looking at the windows that are there", node_id)
    todo = to_sample(run.takes, lambda take: folder.record(take) is not None)
    made = None if todo else outputs.made()
    if made is None:
        made, line = _make(folder, run, todo, outputs)
    else:
        line = f"nothing to do: {folder.name} is finished"
    skipped = sum(folder.record(take)["skipped"] for take in run.takes)
    return Rendered(made, skipped, line, folder.name)


def _make(folder: RunFolder, run: Planned, todo: Sequence[Take], outputs: Outputs) -> tuple[Path, str]:
    """Sample what is to be sampled and join the video: (its path, a line for the user)."""
    inputs, config = run.inputs, run.config
    check_writable(folder.path, _room(run, todo))
    folder.say("running")
    folder.log(f"{len(run.takes)} windows, {len(todo)} takes to sample")
    features = kept_features(folder, inputs.features)
    features = with_gate(features) if config.silence_gate else features
    steps = len(sampled_sigmas(inputs, config)) - 1
    progress = RunProgress(inputs.model, todo, steps, outputs.node_id, len(run.takes), run.frames)
    tally = Tally()
    sampled = replace(inputs, model=with_cache(inputs.model, config.cache, tally), features=features)
    branches = max(len(guidance_of(take, config).branches(steps)) for take in run.takes)
    references = References(inputs.reference, inputs.model, branches)
    following = dict(zip(todo, [*todo[1:], None], strict=False))

    def report(take: Take, step: int, predicted: torch.Tensor) -> None:
        progress.step(take, step, predicted)
        references.prepare(following[take])

    denoiser = Denoiser(sampled, config, references, report)
    vae = WanVae(inputs.vae)
    seen = _Seen(folder, denoiser)
    stages = make_stages(denoiser, vae, lambda take: _continued(folder, run, vae, take, seen))
    try:
        outputs.open()
        _sample(folder, todo, replace(stages, look=seen.look), (seen, tally, outputs, progress))
        path = outputs.finish()
        line = finish_cache(config.cache, tally) if todo else ""
        line = line or other_cache(inputs.model)
    except BaseException as error:
        # Cancel is a BaseException of the host; out of memory or a full disk must not lose frames either.
        outputs.stopped(error)
        raise
    finally:
        references.close()
        outputs.close()
    progress.say(f"{len(run.takes)} windows, {run.frames} frames, run {folder.name}. {line}".strip())
    return path, line


def _room(run: Planned, todo: Sequence[Take]) -> int:
    """Bytes that a run may still need: videos, what windows hand on, and the features of a new one."""
    reference, voices = run.inputs.reference, run.inputs.features.voices
    videos = expected_bytes(reference.width, reference.height, run.frames + sum(take.window.keep for take in todo) // 2)
    handed = sum(math.prod(latent_shape(reference, take.hand_on)) * 4 for take in todo if take.hand_on)
    return videos + handed + sum(4 * math.prod(voice.speech.shape) for voice in voices)


def _sample(folder: RunFolder, todo: Sequence[Take], stages: Stages, tools: tuple) -> None:
    seen, tally, outputs, progress = tools
    started, skipped = time.monotonic(), tally.skipped
    for finished in stream(todo, stages):
        take, frames = finished.take, _blended(folder, finished)
        kept = {} if finished.motion is None else {"motion": finished.motion.cpu(), "tail": seen.tail}
        told = {
            "frames": len(frames),
            "seconds": round(time.monotonic() - started, 2),
            "skipped": tally.skipped - skipped,
            "drift": seen.measured,
        }
        folder.finish(take, lambda part, frames=frames: write_segment(frames, part), kept, told)
        started, skipped = time.monotonic(), tally.skipped
        outputs.add()
        progress.finished(take, frames)


class _Seen:
    """The measures of the take that was sampled last, and small copies of its last frames."""

    def __init__(self, folder: RunFolder, denoiser: Denoiser):
        self._folder, self._denoiser = folder, denoiser
        self.measured: dict[str, float] = {}
        self.tail = torch.empty(0)
        self.started: torch.Tensor | None = None  # small copies of a start's last frames, for the first window

    def look(self, take: Take, frames: torch.Tensor) -> None:
        before = self._folder.continued(take.source)["tail"] if take.source else self.started
        self.started = None
        self.measured = measure(take.window, frames, colour_anchor(self._denoiser, take), before)
        self.tail = thumbs(frames[-take.hand_on :]).cpu() if take.hand_on else torch.empty(0)


def _continued(folder: RunFolder, run: Planned, vae: WanVae, take: Take, seen: _Seen) -> torch.Tensor:
    """The latent of the motion frames before a take."""
    if take.source:
        return folder.continued(take.source)["motion"]
    reference = run.inputs.reference
    frames = last_frames(run.wish.start, take.window.motion, reference.width, reference.height)
    seen.started = thumbs(frames)
    return vae.encode(frames)


def _blended(folder: RunFolder, finished: Finished) -> torch.Tensor:
    """The new frames of a take; a redo's fade at their end into those that the kept next window continues from."""
    take, frames = finished.take, finished.frames
    if take.blend is None:
        return frames
    count = min(take.hand_on, len(frames))
    other = read_tail(folder.segment(take.blend), count)
    share = torch.linspace(0, 1, count + 2)[1:-1].view(-1, 1, 1, 1)
    mixed = frames[-count:].float().lerp(torch.as_tensor(other).float(), share)
    return torch.cat((frames[:-count], mixed.round().to(torch.uint8)))
