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
from ..errors import InputError
from ..features import AudioFeatures
from ..reference import Reference, latent_shape
from ..schedule import last_steps
from ..timeline import Window
from .conditioning import window_conditioning, window_tokens
from .guider import make_guider
from .prompts import for_window
from .video_reference import References, VideoReference

Report = Callable[[Window, int, torch.Tensor], None]  # (window, finished steps, predicted latent)


@dataclass(frozen=True)
class Inputs:
    """What all windows of a run share.

    model: a host MODEL with the adapter attached; vae: a host VAE; positive, negative: host
    CONDITIONING; features: one voice or several; reference: of a picture or of a video; sampler,
    sigmas: host SAMPLER and SIGMAS.
    """

    model: Any
    vae: Any
    positive: list
    negative: list
    features: AudioFeatures
    reference: Reference | VideoReference
    sampler: Any
    sigmas: torch.Tensor


@dataclass(frozen=True)
class Denoiser:
    """references: of the run's windows; noise: (empty latent, seed) -> starting noise; report is called
    after every step.
    """

    inputs: Inputs
    config: StreamConfig
    references: References
    report: Report
    noise: Callable[[torch.Tensor, int], torch.Tensor] = comfy.sample.prepare_noise

    def __call__(self, window: Window, held: torch.Tensor) -> torch.Tensor:
        """The denoised latent of `window`, [1, 16, T, h, w], whose first latent frames equal `held`."""
        run = self.inputs
        reference = self.references.at(window)
        tokens = window_tokens(run.model, run.features, window, self.config.tail)
        texts = for_window(run.positive, window), for_window(run.negative, window)
        conds = window_conditioning(*texts, reference, held, tokens)
        guider = make_guider(run.model, *conds, self.config.guidance)
        start = self._start(window)

        def after_step(step, x0, x, total):
            self.report(window, step + 1, x0)

        latent = guider.sample(
            self.noise(start, window.seed),
            start,
            run.sampler,
            last_steps(run.sigmas, self.config.source_strength),
            callback=after_step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=window.seed,
        )
        if not torch.isfinite(latent).all():  # it would spoil every later window too
            raise InputError(
                f"model: window {window.index + 1} (frames {window.start} to {window.end}) came out as NaN.",
                "Use bf16 instead of fp16, another attention (without sage), or look at the LoRAs and the sigmas.",
            )
        return latent

    def _start(self, window: Window) -> torch.Tensor:
        """What the noise is added to: nothing, or with SDEdit the source's own frames."""
        if self.config.source_strength == 1.0:
            return torch.zeros(latent_shape(self.inputs.reference, window.frames))
        return self.inputs.reference.latent(window)
