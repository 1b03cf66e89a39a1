"""Sample one window's latent with any host SAMPLER and SIGMAS.

Holds the models of one run and nothing of a window; made by the node that runs it and dropped with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import comfy.sample
import comfy.utils
import torch

from ..config import StreamConfig
from ..errors import InputError
from ..features import AudioFeatures
from ..memory import MemoryConfig
from ..reference import Reference, latent_shape
from ..schedule import last_steps
from ..settings import GuidanceConfig
from ..takes import Take
from ..timeline import Window
from .conditioning import window_conditioning, window_tokens
from .first_look import with_look
from .guider import make_guider
from .prompts import for_window
from .video_reference import References, VideoReference

Report = Callable[[Take, int, torch.Tensor], None]  # (take, finished steps, predicted latent)


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


def guidance_of(take: Take, config: StreamConfig) -> GuidanceConfig:
    """The guidance of one take: the run's, with what a table or a redo changes."""
    changed = take.overrides
    scales = {"text": changed.text_scale, "audio": changed.audio_scale}
    given = {name: scale for name, scale in scales.items() if scale is not None}
    return replace(changed.guidance or config.guidance, **given)


def most_branches(takes: Iterable[Take], config: StreamConfig, steps: int) -> int:
    """The most branches that a step of some take calls."""
    return max(len(guidance_of(take, config).branches(steps)) for take in takes)


@dataclass(frozen=True)
class Denoiser:
    """references: of the run's windows; noise: (empty latent, seed) -> starting noise; report is called
    after every step. memory: settled; where weights lie and what the VAE does is not decided here. first: the take
    whose first step is looked at, since no later one can tell more of the loaded files.
    """

    inputs: Inputs
    config: StreamConfig
    references: References
    report: Report
    noise: Callable[[torch.Tensor, int], torch.Tensor] = comfy.sample.prepare_noise
    memory: MemoryConfig = MemoryConfig()
    first: Take | None = None

    def __call__(self, take: Take, held: torch.Tensor) -> torch.Tensor:
        """The denoised latent of a take, [1, 16, T, h, w], whose first latent frames equal `held`."""
        run, window, changed = self.inputs, take.window, take.overrides
        reference = self.references.of(take)
        tokens = window_tokens(run.model, run.features, window, self.config.tail)
        positive = run.positive if changed.positive is None else changed.positive
        texts = for_window(positive, window), for_window(run.negative, window)
        conds = window_conditioning(*texts, reference, held, tokens)
        apart = self.memory.branches == "one by one"
        model = with_look(run.model) if take is self.first else run.model
        guider = make_guider(model, *conds, guidance_of(take, self.config), apart)
        start = self._start(window)

        def after_step(step, x0, x, total):
            self.report(take, step + 1, x0)

        latent = guider.sample(
            self.noise(start, take.seed),
            start,
            run.sampler,
            last_steps(run.sigmas, self.config.source_strength),
            callback=after_step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=take.seed,
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
