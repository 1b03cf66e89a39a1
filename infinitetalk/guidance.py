"""Text and audio guidance: one prediction out of the branch predictions of a step, plain or projected.

The plain rule is linear and its weights add up to 1. With denoised = latent - sigma * velocity, the same
latent and sigma in every branch, combining velocities and combining denoised pictures therefore give
the same step; either may be passed in. Knows no model and no sampler; the only state between steps is
`Apg`, which the caller makes anew for every window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .settings import ApgConfig, StepScales

Blend = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
Project = Callable[[str, torch.Tensor], torch.Tensor]


def lerp(wanted: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """`other`, moved `scale` times the way to `wanted`."""
    return other + scale * (wanted - other)


def unchanged(scale: str, difference: torch.Tensor) -> torch.Tensor:
    """The plain guidance's `project`: differences count as they are."""
    return difference


def combine(
    predictions: dict[str, torch.Tensor], scales: StepScales, blend: Blend = lerp, project: Project = unchanged
) -> torch.Tensor:
    """The guided prediction of one step.

    predictions: one tensor of the same shape for each name in scales.branches, by what the model was
    given: "cond" text and audio, "drop_text" the negative text and audio, "drop_audio" text and zero
    audio, "uncond" the negative text and zero audio. Further entries are not read; a missing one is a
    KeyError. blend: how the conditional prediction and the one beside it are joined; the host's own
    guidance function goes in here. project: ("text" or "audio", difference) -> the difference that
    counts instead (see Apg). The result is predictions["cond"] itself when both scales are 1.
    Source: the guidance of the public InfiniteTalk implementation; the branch names say which calls
    StepScales found to cancel out.
    """
    cond = predictions["cond"]
    branches = scales.branches
    if branches == ("cond",):
        return cond

    def beside(scale: str, other: torch.Tensor) -> torch.Tensor:
        return other if project is unchanged else cond - project(scale, cond - other)

    if branches == ("cond", "drop_audio"):
        return blend(cond, beside("audio", predictions["drop_audio"]), scales.audio)
    drop_text = predictions["drop_text"]
    guided = blend(cond, beside("text", drop_text), scales.text)
    if branches == ("cond", "drop_text"):
        return guided
    # plain: uncond + text * (cond - drop_text) + audio * (drop_text - uncond), written around the blend
    return guided + (scales.audio - 1.0) * project("audio", drop_text - predictions["uncond"])


class Apg:
    """The running sums of projected guidance in one window, one for each scale.

    Every evaluation of the model adds to them once; a sampler that evaluates twice a step (heun) moves
    them twice a step.
    """

    def __init__(self, config: ApgConfig):
        self.config = config
        self.sums: dict[str, torch.Tensor] = {}

    def project(self, scale: str, difference: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        """The part of `scale`'s running sum that counts, for velocities [B, C, T, h, w].

        The sum takes in `difference`, is cut to the threshold's norm, and loses its component along
        `cond`; norm and component are those of one whole latent, held frames included.
        Source: Sadat et al. 2024, with eta 0.
        """
        if scale in self.sums:
            difference = difference + self.config.momentum * self.sums[scale]
        self.sums[scale] = difference
        every = tuple(range(1, difference.ndim))
        norm = torch.linalg.vector_norm(difference, dim=every, keepdim=True)
        difference = difference * (self.config.threshold / norm).clamp(max=1.0)  # a norm of 0 gives inf, then 1
        return _without(difference, cond, every)


def _without(difference: torch.Tensor, cond: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """`difference` without its component along `cond`, computed in float64 (on the CPU where a device has none)."""
    device, dtype = difference.device, difference.dtype
    where = torch.device("cpu") if device.type == "mps" else device
    a, b = (part.to(where).double() for part in (difference, cond))
    length = (b * b).sum(dim=dims, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    along = (a * b).sum(dim=dims, keepdim=True) / length
    return (a - along * b).to(dtype).to(device)


def step_at(sigma: float, sigmas: Sequence[float]) -> int:
    """The step that a model call at `sigma` belongs to: the one whose own sigma is nearest at or above.

    sigmas: of the run, [steps + 1], descending. A sampler may call between them, or above the first.
    """
    slack = 1e-5 * abs(sigma)  # the host casts sigmas to the model's device and back
    above = [step for step, own in enumerate(list(sigmas)[:-1]) if own >= sigma - slack]
    return above[-1] if above else 0
