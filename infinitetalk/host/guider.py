"""Text and audio guidance inside the host's sampling: one PREDICT_NOISE wrapper for every guider and KSampler.

The positive conditioning carries the speech, the negative the zero audio (`conditioning.py`); the
branches are made by exchanging the two. Knows nothing of windows.
"""

from __future__ import annotations

import uuid
from functools import partial

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ..config import GuidanceConfig
from ..guidance import combine
from .attach import AUDIO, KEY


def with_guidance(model, config: GuidanceConfig):
    """A clone of `model` whose every sampling step is guided by `config`; the sampler's own cfg is then not used."""
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, partial(_predict_noise, config))
    return model


def make_guider(model, positive, negative, config: GuidanceConfig):
    """A GUIDER for one window: the host's CFGGuider on the guided model."""
    guider = comfy.samplers.CFGGuider(with_guidance(model, config))
    guider.set_conds(positive, negative)
    guider.set_cfg(config.text)
    return guider


def _predict_noise(config: GuidanceConfig, executor, x, timestep, model_options, seed):
    guider = executor.class_obj
    positive, negative = guider.conds.get("positive"), guider.conds.get("negative")
    speech, silence = _audio_of(positive), _audio_of(negative)
    if speech is None or silence is None:
        return executor(x, timestep, model_options, seed)
    conds = {
        "cond": positive,
        "drop_text": _with_audio(negative, speech, "drop_text"),
        "drop_audio": _with_audio(positive, silence, "drop_audio"),
        "uncond": negative,
    }
    names = config.branches
    model = guider.inner_model
    out = comfy.samplers.calc_cond_batch(model, [conds[name] for name in names], x, timestep, model_options)
    for function in model_options.get("sampler_pre_cfg_function", []):
        args = {
            "conds": [conds[name] for name in names],
            "conds_out": out,
            "cond_scale": config.text,
            "timestep": timestep,
        }
        out = function({**args, "input": x, "sigma": timestep, "model": model, "model_options": model_options})

    def blend(wanted: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
        # Through the host, so that nodes which replace or follow the text guidance keep working.
        return comfy.samplers.cfg_function(
            model,
            wanted,
            other,
            scale,
            x,
            timestep,
            model_options=model_options,
            cond=positive,
            uncond=conds[names[-1]],
        )

    return combine(dict(zip(names, out, strict=True)), config, blend)


def _audio_of(conds):
    return next((c["model_conds"][AUDIO] for c in conds or () if AUDIO in c["model_conds"]), None)


def _with_audio(conds, audio, branch: str):
    """The same conditions hearing `audio`; each keeps one identity over all steps, as the host's step caches need."""
    return [
        {**c, "model_conds": {**c["model_conds"], AUDIO: audio}, "uuid": uuid.uuid5(c["uuid"], branch)} for c in conds
    ]
