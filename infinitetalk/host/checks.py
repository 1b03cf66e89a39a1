"""Everything of a run that can be refused before the first model call. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ..config import StreamConfig
from ..errors import InputError
from ..reference import check_still
from ..regions import check_regions
from ..schedule import last_steps
from ..takes import Take
from ..voice_activity import check_gate
from .conditioning import check_features
from .denoise import Inputs, guidance_of
from .step_cache import check_cache
from .vae import check_vae


def check_run(inputs: Inputs, config: StreamConfig) -> None:
    """Refuse inputs that cannot work together, or not with the settings."""
    check_features(inputs.model, inputs.features)
    check_regions(inputs.features, inputs.reference)
    inputs.reference.conditioning(config.window.frames)
    check_vae(inputs.vae)
    if inputs.reference.still:
        check_still(config.source_strength, len(config.cuts))
    if inputs.sigmas.ndim != 1 or len(inputs.sigmas) < 2 or not torch.isfinite(inputs.sigmas).all():
        raise InputError(
            f"sigmas: {tuple(inputs.sigmas.shape)} is not a schedule of at least one step in plain numbers.",
            "Connect InfiniteTalk Schedule, or a scheduler with 1 or more steps and denoise above 0.",
        )
    check_cache(inputs.model, config.cache, config.guidance, sampled_sigmas(inputs, config))
    if config.silence_gate:
        check_gate(inputs.features)
    check_text(inputs, "positive", inputs.positive)
    check_text(inputs, "negative", inputs.negative)


def check_takes(inputs: Inputs, config: StreamConfig, takes: Iterable[Take]) -> None:
    """Refuse what a table or a redo changes when it does not fit the run."""
    checked: set[int] = set()
    for take in takes:
        changed = take.overrides
        if id(changed) in checked:
            continue
        checked.add(id(changed))
        guidance = guidance_of(take, config)
        if guidance != config.guidance:
            check_cache(inputs.model, config.cache, guidance, sampled_sigmas(inputs, config))
        if changed.positive is not None:
            check_text(inputs, f"prompt of window {take.number}", changed.positive)
        if changed.reference is not None:
            _check_reference(inputs, config, take)


def check_text(inputs: Inputs, name: str, conditioning: Sequence) -> None:
    """Refuse CONDITIONING that is empty or of another text encoder."""
    if not conditioning:
        raise InputError(f"{name}: the conditioning is empty.", "Connect a CLIP Text Encode.")
    wanted = inputs.model.get_model_object("diffusion_model").text_dim
    for embedding, _ in conditioning:
        if embedding.shape[-1] != wanted:
            raise InputError(
                f"{name}: the text embeddings are {embedding.shape[-1]} wide, the model takes {wanted}.",
                "Encode the prompt with umt5_xxl (Load CLIP, type wan).",
            )


def sampled_sigmas(inputs: Inputs, config: StreamConfig) -> torch.Tensor:
    """Of the steps that a window samples."""
    return last_steps(inputs.sigmas, config.source_strength)


def _check_reference(inputs: Inputs, config: StreamConfig, take: Take) -> None:
    given, run = take.overrides.reference, inputs.reference
    if (given.height, given.width) != (run.height, run.width):
        raise InputError(
            f"reference of window {take.number}: {given.width}x{given.height} pixels, "
            f"the run's has {run.width}x{run.height}.",
            "Make it with the same size, custom width and height if need be.",
        )
    given.conditioning(config.window.frames)
