"""Sample one window's latent with any host SAMPLER and SIGMAS.

Holds the models of one run and nothing of a window; made by the node that runs it and dropped with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.utils
import torch

from ..config import StreamConfig
from ..features import AudioFeatures
from ..reference import Reference, latent_shape
from ..timeline import Window
from .conditioning import window_conditioning, window_tokens
from .guider import make_guider

Report = Callable[[Window, int, torch.Tensor], None]  # (window, finished steps, predicted latent)


@dataclass(frozen=True)
class Denoiser:
    """Everything that all windows of a run share.

    model: a host MODEL with the adapter attached; sampler, sigmas: host SAMPLER and SIGMAS;
    noise: (shape, seed) -> starting noise; report is called after every step.
    """

    model: Any
    positive: list
    negative: list
    features: AudioFeatures
    reference: Reference
    sampler: Any
    sigmas: torch.Tensor
    config: StreamConfig
    report: Report
    noise: Callable[[torch.Tensor, int], torch.Tensor] = comfy.sample.prepare_noise

    def __call__(self, window: Window, motion: torch.Tensor) -> torch.Tensor:
        """The denoised latent of `window`, [1, 16, T, h, w], whose first latent frames equal `motion`."""
        tokens = window_tokens(self.model, self.features, window, self.config.tail)
        conds = window_conditioning(self.positive, self.negative, self.reference, motion, tokens)
        guider = make_guider(self.model, *conds, self.config.guidance)
        empty = torch.zeros(latent_shape(self.reference, window.frames))

        def after_step(step, x0, x, total):
            self.report(window, step + 1, x0)

        return guider.sample(
            self.noise(empty, window.seed),
            empty,
            self.sampler,
            self.sigmas,
            callback=after_step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=window.seed,
        )
