"""Skip the DiT's blocks inside the host's sampling, by the rules of `step_cache.py`.

An OUTER_SAMPLE wrapper puts a fresh cache around every block for one sampling and takes it away after it:
the replacements stand in the guider's own copy of the options, over whatever replacements were there, and
nothing of the state is on the model. Branches are told apart by the host's uuid of their conditioning.
Memory: one residual [B, tokens, width] in the model's dtype for each branch, until the sampling ends; at
832x480 and 81 frames with the 14B model in 16 bit that is 0.34 GB a branch, at 1280x720 0.77 GB.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from pathlib import Path

import comfy.model_patcher
import folder_paths
import torch
from comfy.patcher_extension import WrappersMP

from ..cache_curve import MEASURE_AGAIN, SLACK, Curve, read_curve, write_curve
from ..disk import check_writable
from ..errors import InputError
from ..settings import CacheConfig, GuidanceConfig
from ..step_cache import POLYNOMIALS, WARM_UP, MagCache, Tally, TeaCache
from .attach import CACHE_KEY
from .block_cache import BlockCache, Decide, install
from .guider import step_of
from .model_files import fingerprint

FOLDER = "infinitetalk"


def with_cache(model, config: CacheConfig | None, tally: Tally):
    """A clone of `model` that skips forwards by `config` and counts them in `tally`; takes a cache of ours off first.

    Without a config and a cache to take off, `model` itself. Raises InputError when another cache is on the model
    or the curve's file cannot be used; sampling raises it for sigmas or branches that the curve does not have.
    """
    if config is None:
        carried = model.get_wrappers(WrappersMP.OUTER_SAMPLE, CACHE_KEY)
        return _without_cache(model) if carried else model
    _refuse_other_caches(model.model_options)
    curve = _curve(model, config)
    model = _without_cache(model)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, CACHE_KEY, partial(_outer_sample, config, curve, tally))
    return model


def _without_cache(model):
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, CACHE_KEY)
    return model


def check_cache(model, config: CacheConfig | None, guidance: GuidanceConfig, sigmas: torch.Tensor | None) -> None:
    """Everything about the cache that can be refused before sampling. Raises InputError.

    sigmas: [steps + 1] of the steps that will run, or None when a sampler of the host's will choose them; the
    curve is then asked about the branches of the first step only, and the sampling asks about the rest.
    """
    if config is None:
        return
    _refuse_other_caches(model.model_options)
    if config.kind == "calibrate":
        check_writable(_target(config).parent)
    curve = _curve(model, config)
    if curve is None:
        return
    _check_branches(curve, config.curve, guidance.branches(1 if sigmas is None else len(sigmas) - 1))
    if sigmas is not None:
        _check_sigmas(curve, config.curve, sigmas.tolist())


def _check_branches(curve: Curve, name: str, branches: Iterable[str]) -> None:
    missing = [branch for branch in branches if branch not in curve.branches]
    if missing:
        raise InputError(
            f"curve: {name} has no branch {', '.join(missing)}, only {', '.join(curve.branches)}.",
            "Measure it with the same guidance scales: a text scale of 1 calls other branches.",
        )


def _check_sigmas(curve: Curve, name: str, sigmas: Sequence[float]) -> None:
    if not curve.covers(sigmas):
        raise InputError(
            f"curve: {name} was measured at sigmas {curve.sigmas[0]:.4g} to {curve.sigmas[-1]:.4g}, "
            f"this run's steps are at {sigmas[0]:.4g} to {sigmas[-2]:.4g}.",
            "Measure it in a whole run (all steps, source_strength 1), or give another file.",
        )


def finish_cache(config: CacheConfig | None, tally: Tally) -> str:
    """After the last window: write the measured curve, and say in one line what the cache did ("" without one).

    A disk that refuses the curve is no error here, only said in the line and in the log.
    """
    if config is None:
        return ""
    total = tally.computed + tally.skipped
    if config.kind == "calibrate":
        branches = tally.curve()
        if not branches:
            return f"no curve was measured: no branch ran in all {tally.steps} steps, or there were fewer than 2"
        path = _target(config)
        try:
            write_curve(path, Curve(tally.model, tally.sigmas, branches))
        except InputError as error:  # the video is finished; it must not be lost for a curve
            logging.warning("InfiniteTalk: the curve could not be written: %s", error)
            return f"the curve could not be written: {error.problem}"
        part = "" if tally.sigmas[0] >= 1.0 - SLACK else f"; only for runs from sigma {tally.sigmas[0]:.4g} on"
        return f"curve of {tally.steps} steps for {', '.join(branches)} written to {path}{part}"
    line = f"{tally.skipped} of {total} forwards skipped ({100 * tally.skipped / max(1, total):.0f} %)"
    if tally.windowed:
        return f"{line}; {tally.windowed} ran in context windows, which are not cached"
    reason = "" if tally.skipped else _why_never(config, tally.steps)
    return f"{line}; {reason}" if reason else line


def _target(config: CacheConfig) -> Path:
    return Path(folder_paths.get_folder_paths(FOLDER)[0], config.curve)


def _why_never(config: CacheConfig, steps: int) -> str:
    if config.kind == "teacache" and steps <= WARM_UP:
        return f"the first {WARM_UP} steps are always computed and this run has {steps}"
    if config.kind == "magcache" and int(steps * config.retention) >= steps:
        return f"retention {config.retention:g} computes all {steps} steps"
    return f"threshold {config.threshold:g} was always exceeded"


def other_cache(model) -> str:
    """A line on the host's own step cache on `model`, whose skipped forwards only the host counts; "" without one."""
    other = model.model_options.get("transformer_options", {}).get("easycache")
    return "" if other is None else f"{other.name} counts what it skips in ComfyUI's log"


def _refuse_other_caches(model_options: dict) -> None:
    other = model_options.get("transformer_options", {}).get("easycache")
    if other is not None:
        raise InputError(
            f"cache: the model already carries {other.name}; two caches would each take the other's skipped "
            "forwards for real ones.",
            f"Remove {other.name} or InfiniteTalk Step Cache.",
        )


def check_curve(kind: str, name: str) -> None:
    """Refuse a name of a curve that cannot be used with `kind`; a curve that is read must be a good file."""
    CacheConfig(kind=kind, curve=name)
    if kind == "magcache":
        _read(name)


def curve_fingerprint(kind: str, name: str) -> object:
    """What changes when the curve that `kind` reads does."""
    path = folder_paths.get_full_path(FOLDER, name) if kind == "magcache" else None
    return fingerprint(path) if path else None


def _read(name: str) -> Curve:
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise InputError(f"curve: models/{FOLDER}/{name} does not exist.", MEASURE_AGAIN)
    return read_curve(path)


def _curve(model, config: CacheConfig) -> Curve | None:
    if config.kind != "magcache":
        return None
    curve = _read(config.curve)
    if curve.model != _label(model):
        raise InputError(
            f"curve: {config.curve} was measured on {curve.model}, the model is {_label(model)}.", MEASURE_AGAIN
        )
    return curve


def _label(model) -> str:
    dit = model.get_model_object("diffusion_model")
    return f"{len(dit.blocks)} blocks of width {dit.dim}"


def _outer_sample(config: CacheConfig, curve: Curve | None, tally: Tally, executor, *args, **kwargs):
    guider = executor.class_obj
    before = guider.model_options
    _refuse_other_caches(before)
    tally.sigmas = tuple(args[3].tolist())
    tally.steps, tally.model = len(tally.sigmas) - 1, _label(guider.model_patcher)
    if curve is not None:
        _check_sigmas(curve, config.curve, tally.sigmas)
    cache = BlockCache(_decider(config, curve, tally.sigmas), tally, calibrate=config.kind == "calibrate")
    guider.model_options = comfy.model_patcher.create_model_options_clone(before)
    blocks = guider.model_patcher.get_model_object("diffusion_model").blocks
    install(guider.model_options["transformer_options"], len(blocks), cache)
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_options = before
        cache.residuals.clear()


def _decider(config: CacheConfig, curve: Curve | None, sigmas: Sequence[float]) -> Decide:
    """A fresh rule, asked in the terms of the host."""
    if config.kind == "teacache":
        return by_embedding(TeaCache(config.threshold, POLYNOMIALS[config.coefficients]))
    if config.kind == "magcache":
        rule = MagCache(curve.at(sigmas), config.threshold, config.max_skips, config.retention)

        def decide(branches: dict[Hashable, str], e0: torch.Tensor, options: dict) -> bool:
            _check_branches(curve, config.curve, branches.values())
            return rule.decide(branches, step_of(options["sigmas"], options)[0])

        return decide
    return lambda branches, e0, options: True


def by_embedding(rule: TeaCache) -> Decide:
    """TeaCache in the terms of the host: e0 [branches * B, ...] is cut into the branches' rows."""
    return lambda branches, e0, options: rule.decide(dict(zip(branches, e0.chunk(len(branches)), strict=True)))
