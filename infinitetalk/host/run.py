"""A whole run: check, plan, sample what is not there yet, join the video. The Sampler node's one call.

Everything of the run lives in this call and in its folder; whatever ends it, the finished windows stay, and the
next call with the same inputs goes on after them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import folder_paths

from ..config import FPS, MATHS, StreamConfig
from ..disk import check_writable
from ..extend import check_start
from ..reference import latent_shape
from ..rtmp import check_target
from ..run_folder import RunFolder
from ..run_open import Wanted, open_run
from ..table import overrides_at
from ..takes import Take, first_takes, plan_takes, to_sample
from ..timeline import plan
from ..video import run_bytes
from .adapter_note import voices_warning
from .checks import check_run, check_takes, sampled_sigmas
from .denoise import Inputs, most_branches
from .identity import environment, overrides_digest, run_identity
from .memory import settle
from .planned import Planned, Rendered, Wish
from .progress import say
from .run_outputs import Outputs
from .session import Session
from .step_cache import finish_cache, other_cache

log = logging.getLogger(__name__)


def render(inputs: Inputs, config: StreamConfig, wish: Wish = Wish(), node_id: str | None = None) -> Rendered:  # noqa: B008
    """Make the video, with its sound, in the run's folder below the host's output folder.

    Raises InputError before sampling for inputs that cannot work together, and the host's interrupt when the user
    cancels; the finished windows are kept, and a playable file of them.
    """
    wish = replace(wish, live=check_target(wish.live))
    check_run(inputs, config)
    warning = voices_warning(inputs.model, len(inputs.features.voices))
    if warning:
        log.warning("InfiniteTalk: %s", warning)
        say(warning, node_id)
    if wish.start is not None:
        check_start(wish.start, config.window.motion)
    first, takes = _takes(inputs, config, wish)
    settled = settle(inputs, config, wish.memory, most_branches(takes, config, len(sampled_sigmas(inputs, config)) - 1))
    if settled.config != config:
        config = settled.config
        first, takes = _takes(inputs, config, wish)
    check_takes(inputs, config, [*first, *takes])
    run = Planned(inputs, config, wish, takes, settled.memory, settled.told)
    calibrates = config.cache is not None and config.cache.kind == "calibrate"  # it measures the sampling itself
    identity = run_identity(inputs, config, wish.table, wish.start, wish.graph)
    wanted = Wanted(wish.name, identity, MATHS, wish.afresh or calibrates, described(config, first))
    output = Path(folder_paths.get_output_directory())
    check_writable(output)
    with open_run(output, wanted) as folder:
        return _continue(folder, run, node_id)


def _takes(inputs: Inputs, config: StreamConfig, wish: Wish) -> tuple[list[Take], list[Take]]:
    """(the first takes of the windows, those that are asked for now)."""
    begun = wish.start is not None
    windows = plan(inputs.features.frames, config.window, config.mode, config.seed, config.cuts, begun)
    first = first_takes(windows, lambda window: overrides_at(wish.table, window))
    return first, plan_takes(first, wish.redo, overrides_digest)


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
    if not folder.new:
        say(f"Run {folder.name}: looking at the windows that are there", node_id)
        if folder.made_with != environment():
            folder.log(f"goes on with {environment()}, was begun with {folder.made_with}: not bit for bit the same")
    outputs = Outputs(folder, run, node_id)
    todo = to_sample(run.takes, lambda take: folder.record(take) is not None)
    made = None if todo else outputs.made()
    line = f"nothing to do: {folder.name} is finished"
    if made is None:
        made, line = _make(folder, run, todo, outputs)
    skipped = sum(folder.record(take)["skipped"] for take in run.takes)
    return Rendered(made, skipped, line, folder.name)


def _make(folder: RunFolder, run: Planned, todo: Sequence[Take], outputs: Outputs) -> tuple[Path, str]:
    """Sample what is to be sampled and join the video: (its path, a line for the user)."""
    check_writable(folder.path, _room(run, todo))
    folder.say("running")
    folder.log(f"{len(run.takes)} windows, {len(todo)} takes to sample. {run.told}".strip())
    if run.told:
        say(run.told, outputs.node_id)
    session, line = None, ""
    try:
        outputs.begin()
        if todo:
            session = Session(folder, run, todo, outputs.node_id)
            outputs.open()
            session.sample(outputs.add)
            line = finish_cache(run.config.cache, session.tally)
        path = outputs.finish()
    except BaseException as error:
        # Cancel is a BaseException of the host; out of memory or a full disk must not lose frames either.
        outputs.stopped(error)
        raise
    finally:
        outputs.close()
        if session is not None:
            session.close()
    line = line or other_cache(run.inputs.model)
    warning = voices_warning(run.inputs.model, len(run.inputs.features.voices))
    told = " ".join(part for part in (warning, outputs.drift, line, run.told) if part)
    say(f"{len(run.takes)} windows, {run.frames} frames, run {folder.name}. {told}".strip(), outputs.node_id)
    return path, line


def _room(run: Planned, todo: Sequence[Take]) -> int:
    """Bytes that a run may still need: videos, what windows hand on, and the features of a new one."""
    reference, voices = run.inputs.reference, run.inputs.features.voices
    handed = sum(math.prod(latent_shape(reference, take.hand_on)[2:]) for take in todo if take.hand_on)
    heard = sum(math.prod(voice.speech.shape) for voice in voices)
    sampled = sum(take.window.keep for take in todo)
    return run_bytes(reference.width, reference.height, run.frames, sampled, handed, heard)
