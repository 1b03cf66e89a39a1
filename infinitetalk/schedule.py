"""The reference's noise schedule: evenly spaced flow times bent by the shift.

Knows no model and no sampler; the values are those of any host SIGMAS.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .errors import InputError

MAX_STEPS = 1000  # the training times 1000, 999, ... 1: more steps would visit times between them


def flow_sigmas(steps: int, shift: float) -> torch.Tensor:
    """Sigmas of `steps` sampling steps: float32 [steps + 1] in 0..1, descending, the first 1, the last 0.

    steps: 1 to 1000. shift: above 0; the reference's are 7 at 480p and 11 at 720p, the base Wan
    model's own 3 and 5. Times 1000 these are the reference's timesteps: `steps` points from 1000 to 1,
    each x = t/1000 mapped to shift*x / (1 + (shift - 1)*x), then 0.
    Source: the sampling loop of the public InfiniteTalk implementation; the mapping is the resolution
    shift of Stable Diffusion 3 (Esser et al. 2024, eq. 23). Raises InputError.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise InputError(
            f"steps: {steps!r} is not a whole number from 1 to {MAX_STEPS}.",
            "Use 40, or 4 to 8 with a distillation LoRA.",
        )
    if not (isinstance(shift, (int, float)) and math.isfinite(shift) and shift > 0):
        raise InputError(f"shift: {shift!r} is not above 0.", "Use 7 at 480p or 11 at 720p.")
    times = torch.from_numpy(np.linspace(1000.0, 1.0, steps, dtype=np.float32)) / 1000.0
    bent = shift * times / (1.0 + (shift - 1.0) * times)
    return torch.cat([bent, bent.new_zeros(1)])


def last_steps(sigmas: torch.Tensor, share: float) -> torch.Tensor:
    """The last `share` (above 0, up to 1) of a schedule: [steps + 1] -> [kept + 1].

    Begins between two sigmas where the share ends between two steps, so that few steps obey it too. With
    SDEdit (Meng et al. 2021) the source, noised to the first of these sigmas, takes the place of pure noise.
    """
    steps = len(sigmas) - 1
    position = min(round((1.0 - share) * steps, 6), steps - 1e-3)  # rounded: 0.7 of 10 steps begins at step 3
    step = int(position)
    first = torch.lerp(sigmas[step], sigmas[step + 1], position - step)
    return torch.cat([first[None], sigmas[step + 1 :]])
