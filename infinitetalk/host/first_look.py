"""One look at what a loaded model makes of its first step: damaged weights stop a run there, not after a window.

To look through 14 billion weights for one NaN would take longer than to load them; one NaN among them spoils every
number of the first prediction. Costs one wait for the device in a sampling. Knows nothing of windows.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ..errors import InputError
from .attach import LOOK_KEY, attached


def with_look(model):
    """A clone of `model` whose sampling ends with an InputError when its first step gives NaN or an infinity."""
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, LOOK_KEY)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, LOOK_KEY, _outer_sample)
    return model


def _outer_sample(executor, noise, latent, sampler, sigmas, mask=None, callback=None, *args, **kwargs):  # noqa: PLR0913  # host's
    model, looked = executor.class_obj.model_patcher, False

    def look(step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
        nonlocal looked
        if not looked:
            looked = True
            _check(x0, model)
        if callback is not None:
            callback(step, x0, x, total)

    return executor(noise, latent, sampler, sigmas, mask, look, *args, **kwargs)


def _check(predicted: torch.Tensor, model) -> None:
    if torch.isfinite(predicted).all():
        return
    patch = attached(model)
    adapter = f" with adapter {_name(patch)}" if patch is not None else ""
    raise InputError(
        f"model: {_name(model)}{adapter}: the first step gives values that are no numbers (NaN or infinite).",
        "A file may be damaged: fetch both again. Or use another precision (bf16 instead of fp16), another attention "
        "(without sage), or look at the LoRAs.",
    )


def _name(patcher: Any) -> str:
    """The file that a model or an adapter was loaded from, as its loader noted for making copies."""
    _, arguments = (getattr(patcher, "cached_patcher_init", None) or (None, ()))[:2]
    path = arguments[0] if arguments and isinstance(arguments[0], str) else ""
    return os.path.basename(path) or "of an unknown file"
