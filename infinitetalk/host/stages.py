"""The stages of a take on the host's models: what `stream` is given. Knows no folders and no progress."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..colour import match_colour
from ..stream import Stages
from ..takes import Take
from .denoise import Denoiser
from .vae import WanVae


class Anchor:
    """The picture that a take's colours are pulled to and its drift is measured against; the last one is kept."""

    def __init__(self, denoiser: Denoiser):
        self._denoiser = denoiser
        self._last: tuple[Take, torch.Tensor] | None = None

    def of(self, take: Take) -> torch.Tensor:
        """[H, W, 3]: of the take's scene or window, from the take's own reference where it has one."""
        if self._last is None or self._last[0] is not take:
            window = take.window if self._denoiser.config.colour_reference == "window" else take.scene
            reference = take.overrides.reference or self._denoiser.inputs.reference
            self._last = (take, reference.shown(window))
        return self._last[1]


def make_stages(denoiser: Denoiser, vae: WanVae, anchor: Anchor, continued: Callable[[Take], torch.Tensor]) -> Stages:
    """The stages of the run that `denoiser` belongs to.

    continued(take): the latent of the motion frames before a take that does not start afresh.
    """
    references = denoiser.references

    def held(take: Take) -> torch.Tensor:
        return continued(take) if take.window.motion else references.of(take).first

    def denoise(take: Take, latent: torch.Tensor) -> torch.Tensor:
        sampled = denoiser(take, latent)
        references.settle()
        return sampled

    def grade(take: Take, frames: torch.Tensor) -> torch.Tensor:
        return match_colour(frames, anchor.of(take), denoiser.config.colour)

    return Stages(held, denoise, vae.decode, grade, vae.encode)
