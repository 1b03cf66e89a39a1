"""The stages of a take on the host's models: what `stream` is given. Knows no folders and no progress."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..colour import match_colour
from ..stream import Stages
from ..takes import Take
from .denoise import Denoiser
from .vae import WanVae


def make_stages(denoiser: Denoiser, vae: WanVae, continued: Callable[[Take], torch.Tensor]) -> Stages:
    """The stages of the run that `denoiser` belongs to.

    continued(take): the latent of the motion frames before a take that does not start afresh.
    """
    references, config = denoiser.references, denoiser.config
    anchor: dict[Take, torch.Tensor] = {}  # the picture that the current take's colours are pulled to

    def held(take: Take) -> torch.Tensor:
        return continued(take) if take.window.motion else references.of(take).first

    def denoise(take: Take, latent: torch.Tensor) -> torch.Tensor:
        sampled = denoiser(take, latent)
        references.settle()
        return sampled

    def grade(take: Take, frames: torch.Tensor) -> torch.Tensor:
        if take not in anchor:
            anchor.clear()
            anchor[take] = colour_anchor(denoiser, take)
        return match_colour(frames, anchor[take], config.colour)

    return Stages(held, denoise, vae.decode, grade, vae.encode)


def colour_anchor(denoiser: Denoiser, take: Take) -> torch.Tensor:
    """The picture [H, W, 3] that a take's colours are pulled to, and its drift is measured against."""
    window = take.window if denoiser.config.colour_reference == "window" else take.scene
    return (take.overrides.reference or denoiser.inputs.reference).shown(window)
