"""When the transformer's blocks may be skipped: TeaCache and MagCache, each branch by itself.

A rule is asked once for every forward, with the keys of the branches that run in it together, and says
whether the blocks are computed. They are skipped only when every branch in the forward may be; a computed
forward renews all of them. The caller keeps the residuals (tokens after minus before the blocks) by the same
keys, and makes a new rule for every window. Knows no model, no sampler and no host.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import torch

WARM_UP = 5  # forwards of a branch that TeaCache always computes

# Distance of the residuals as a polynomial of the distance of the time embeddings, highest power first.
# Source: the coefficient sets of the public InfiniteTalk implementation, by the model's resolution.
POLYNOMIALS = {
    "480": (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
    "720": (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
}


def relative_change(new: torch.Tensor, old: torch.Tensor) -> float:
    """mean|new - old| / mean|old|, in float32 or better."""
    wide = torch.promote_types(old.dtype, torch.float32)
    new, old = new.to(wide), old.to(new.device, wide)
    return ((new - old).abs().mean() / old.abs().mean()).item()


def polynomial(coefficients: tuple[float, ...], x: float) -> float:
    """The value at x; coefficients with the highest power first."""
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@dataclass
class _Drift:
    """One branch under TeaCache: forwards seen, the last time embedding, distance since the last computed one."""

    forwards: int = 0
    previous: torch.Tensor | None = None
    accumulated: float = 0.0


@dataclass
class TeaCache:
    """Skips while the accumulated distance of the time embedding stays below the threshold.

    The distance of a forward is the polynomial of the relative change since the branch's forward before,
    skipped or not; it may be negative, and then the accumulated distance falls. A branch's first five
    forwards are computed. Source: Liu et al. 2024, "Timestep Embedding Tells: It's Time to Cache for Video
    Diffusion Model", with the rules of the public InfiniteTalk implementation.
    """

    threshold: float
    coefficients: tuple[float, ...]
    slots: dict[Hashable, _Drift] = field(default_factory=dict)

    def decide(self, embeddings: Mapping[Hashable, torch.Tensor]) -> bool:
        """Whether this forward is computed. embeddings: each branch's time embedding e0, by its key."""
        wishes = [self._may_skip(key, e0) for key, e0 in embeddings.items()]  # every branch must see its e0
        skip = all(wishes)
        if not skip:
            for key in embeddings:
                self.slots[key].accumulated = 0.0
        return not skip

    def _may_skip(self, key: Hashable, e0: torch.Tensor) -> bool:
        slot = self.slots.setdefault(key, _Drift())
        slot.forwards += 1
        previous, slot.previous = slot.previous, e0.detach().clone()
        if slot.forwards <= WARM_UP:
            return False
        slot.accumulated += polynomial(self.coefficients, relative_change(e0, previous))
        return slot.accumulated < self.threshold


@dataclass
class _Decay:
    """One branch under MagCache since its last computed forward; step: that of its last forward."""

    step: int
    ratio: float = 1.0
    error: float = 0.0
    skips: int = 0


@dataclass
class MagCache:
    """Skips while the residual, by the model's measured curve, has hardly changed its length.

    curve: for each branch, how long its residual is in a step compared with the step before, one number
    a step. A skipped forward adds |1 - product of the ratios since the last computed one| to the error;
    skipping goes on while the error is below the threshold and at most max_skips times in a row. The
    first `retention` of the steps is computed.
    Source: Ma et al. 2025, "MagCache: Fast Video Generation with Magnitude-Aware Cache".
    """

    curve: Mapping[str, tuple[float, ...]]
    threshold: float
    max_skips: int
    retention: float
    slots: dict[Hashable, _Decay] = field(default_factory=dict)

    def decide(self, branches: Mapping[Hashable, str], step: int) -> bool:
        """Whether this forward is computed. branches: each branch's name in the curve, by its key; step: from 0."""
        wishes = [self._may_skip(key, name, step) for key, name in branches.items()]  # every branch must see the step
        skip = all(wishes)
        if not skip:
            self.slots.update({key: _Decay(step) for key in branches})
        return not skip

    def _may_skip(self, key: Hashable, branch: str, step: int) -> bool:
        ratios = self.curve[branch]
        slot = self.slots.get(key)
        if slot is None or step < int(len(ratios) * self.retention):
            return False
        for passed in range(slot.step + 1, step + 1):  # none when a sampler calls twice in a step
            slot.ratio *= ratios[passed]
        slot.step = step
        slot.skips += 1
        slot.error += abs(1.0 - slot.ratio)
        return slot.error < self.threshold and slot.skips <= self.max_skips


def magnitude_ratio(residual: torch.Tensor, previous: torch.Tensor) -> float:
    """How long a branch's residual [B, L, D] is beside that of the step before: the mean over its tokens."""
    lengths = [torch.linalg.vector_norm(part, dim=-1, dtype=torch.float32) for part in (residual, previous)]
    return (lengths[0] / lengths[1].clamp(min=1e-12)).mean().item()


@dataclass
class Tally:
    """What the cache did over a whole run: forwards of single branches computed and skipped.

    steps, sigmas: of the last sampling; model: what the blocks are, in words; windowed: forwards computed
    because the host had cut the latent into context windows.
    """

    computed: int = 0
    skipped: int = 0
    windowed: int = 0
    steps: int = 0
    model: str = ""
    sigmas: tuple[float, ...] = ()
    ratios: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    def measure(self, branch: str, step: int, ratio: float) -> None:
        """Note one measured ratio, for the curve."""
        self.ratios.setdefault(branch, {}).setdefault(step, []).append(ratio)

    def curve(self) -> dict[str, tuple[float, ...]]:
        """The measured curve: for each branch that ran in every step, the mean ratio of each step (1 in the first)."""
        found = {}
        for branch, steps in sorted(self.ratios.items()):
            if set(steps) == set(range(1, self.steps)):
                means = (sum(steps[step]) / len(steps[step]) for step in range(1, self.steps))
                found[branch] = (1.0, *means)
        return found
