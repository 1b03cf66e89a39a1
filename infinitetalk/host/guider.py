"""Text and audio guidance inside the host's sampling: one PREDICT_NOISE wrapper for every guider and KSampler.

The positive conditioning carries the speech, the negative the zero audio (`conditioning.py`); the
branches are made by exchanging the two. Knows nothing of windows.
"""

from __future__ import annotations

import uuid
from functools import partial

import comfy.model_patcher
import comfy.samplers
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP

from ..guidance import Apg, Project, combine, step_at, unchanged
from ..settings import ApgConfig, GuidanceConfig, StepScales
from .attach import APG_KEY, AUDIO, KEY, MOTION, hold

BRANCHES = "infinitetalk_branches"  # in transformer_options: names of the conds that one step calls


def with_guidance(model, config: GuidanceConfig, apart: bool = False):
    """A clone of `model` whose every sampling step is guided by `config`; the sampler's own cfg is then not used.

    The config's run is the sigmas that the sampler is given. apart: the branches are called one by one, never as
    the batch that the host makes of them where memory allows.
    """
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY)
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, APG_KEY)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, partial(_predict_noise, config, apart))
    if config.apg is not None:
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, APG_KEY, partial(_fresh_sums, config.apg))
    return model


def make_guider(model, positive, negative, config: GuidanceConfig, apart: bool = False):
    """A GUIDER for one window: the host's CFGGuider on the guided model; apart: as in `with_guidance`."""
    guider = comfy.samplers.CFGGuider(with_guidance(model, config, apart))
    guider.set_conds(positive, negative)
    guider.set_cfg(config.at(0, 1).text)
    return guider


def _fresh_sums(config: ApgConfig, executor, *args, **kwargs):
    """OUTER_SAMPLE: projected guidance starts anew with every sampling, and nothing of it stays behind."""
    guider = executor.class_obj
    before = guider.model_options
    guider.model_options = comfy.model_patcher.create_model_options_clone(before)
    guider.model_options.setdefault("transformer_options", {})[APG_KEY] = Apg(config)
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_options = before


def _predict_noise(config: GuidanceConfig, apart: bool, executor, x, timestep, model_options, seed):  # noqa: PLR0913  # host's
    guider = executor.class_obj
    if _audio_of(guider.conds.get("positive")) is None or _audio_of(guider.conds.get("negative")) is None:
        return executor(x, timestep, model_options, seed)
    # Ours takes the place of the host's function at the end of the chain: wrappers added later still run.
    chain = WrapperExecutor.new_class_executor(
        partial(_guided, config, apart, guider), guider, executor.wrappers, executor.idx + 1
    )
    return chain.execute(x, timestep, model_options, seed)


def _guided(config: GuidanceConfig, apart: bool, guider, x, timestep, model_options, seed=None) -> torch.Tensor:  # noqa: PLR0913  # host's
    """One guided prediction, as the host's `sampling_function` but with the branches of `config`."""
    positive, negative, model = guider.conds["positive"], guider.conds["negative"], guider.inner_model
    conds = {
        "cond": positive,
        "drop_text": _with_audio(negative, _audio_of(positive), "drop_text"),
        "drop_audio": _with_audio(positive, _audio_of(negative), "drop_audio"),
        "uncond": negative,
    }
    scales = scales_at(config, timestep, model_options["transformer_options"])
    names = scales.branches
    chosen = [conds[name] for name in names]
    given = {"input": x, "sigma": timestep, "model": model}
    out = []
    for calls in [(name,) for name in names] if apart else [names]:
        out += _called(given, [conds[name] for name in calls], _naming(model_options, calls))
    model_options = _naming(model_options, names)
    options = model_options["transformer_options"]
    common = {"conds": chosen, **given, "model_options": model_options}
    for function in model_options.get("sampler_pre_cfg_function", []):
        out = function({**common, "conds_out": out, "cond_scale": scales.text, "timestep": timestep})

    def blend(wanted: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
        # Through the host, so that nodes which replace or follow the text guidance keep working.
        return comfy.samplers.cfg_function(
            model, wanted, other, scale, x, timestep, model_options=model_options, cond=positive, uncond=chosen[-1]
        )

    if names == ("cond",):  # as the host does at cfg 1: the other prediction is zero and weighs nothing
        return blend(out[0], torch.zeros_like(out[0]), 1.0)
    project = _projection(options.get(APG_KEY), guider, x, timestep, out[0])
    return combine(dict(zip(names, out, strict=True)), scales, blend, project)


def _naming(model_options: dict, names: tuple[str, ...]) -> dict:
    """The options of a call, with the names of the branches that it makes."""
    options = {**model_options["transformer_options"], BRANCHES: names}
    return {**model_options, "transformer_options": options}


def _called(given: dict, conds: list, model_options: dict) -> list[torch.Tensor]:
    """The predictions of `conds`, in one batch where the host's free memory allows."""
    if "sampler_calc_cond_batch_function" in model_options:
        return model_options["sampler_calc_cond_batch_function"](
            {"conds": conds, **given, "model_options": model_options}
        )
    return comfy.samplers.calc_cond_batch(given["model"], conds, given["input"], given["sigma"], model_options)


def scales_at(config: GuidanceConfig, timestep: torch.Tensor, options: dict) -> StepScales:
    """The scales of the step that a sampler's call at sigma `timestep` [B] belongs to."""
    return config.at(*step_of(timestep, options))


def step_of(timestep: torch.Tensor, options: dict) -> tuple[int, int]:
    """(step, steps) of a call at sigma `timestep` [B], by the run's sigmas in transformer_options."""
    sigmas = options["sample_sigmas"].tolist()
    return step_at(timestep.flatten()[0].item(), sigmas), len(sigmas) - 1


def _projection(apg: Apg | None, guider, x, timestep, cond: torch.Tensor) -> Project:
    """The guidance's `project` for denoised pictures: they are x - sigma * velocity, of the x with the held latents."""
    if apg is None:
        return unchanged
    motion = _held(guider.conds["positive"])
    if motion is not None:
        x = hold(x, guider.inner_model.process_latent_in(motion.to(x)))
    sigma = timestep.reshape(-1, *[1] * (x.ndim - 1))
    velocity = (x - cond) / sigma

    def project(scale: str, difference: torch.Tensor) -> torch.Tensor:
        return -sigma * apg.project(scale, difference / -sigma, velocity)

    return project


def _held(conds) -> torch.Tensor | None:
    return next((c["model_conds"][MOTION].cond for c in conds if MOTION in c["model_conds"]), None)


def _audio_of(conds):
    return next((c["model_conds"][AUDIO] for c in conds or () if AUDIO in c["model_conds"]), None)


def _with_audio(conds, audio, branch: str):
    """The same conditions hearing `audio`; each keeps one identity over all steps, as the host's step caches need."""
    return [
        {**c, "model_conds": {**c["model_conds"], AUDIO: audio}, "uuid": uuid.uuid5(c["uuid"], branch)} for c in conds
    ]
