"""How well the mouths of clips follow what is said, as figures for a table. Knows no model and no host.

Shapes: F frames, P people, N mouths (those that speak, of all clips).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from talker.measure import Mouth, mouth
from talker.sync import Score, closed_share, correlation, latent_means, score, swap

from .quality_cases import Case


@dataclass(frozen=True)
class Seen:
    """One person of one clip: the measured mouth, the true one [F], and pixels per unit."""

    mouth: Mouth
    opening: np.ndarray
    width: np.ndarray
    unit: float

    @property
    def score(self) -> Score:
        return score(self.mouth, self.opening, self.width, self.unit)

    @property
    def speaks(self) -> bool:
        return bool((self.opening > 0).any())


def seen(frames: np.ndarray, case: Case) -> list[Seen]:
    """Everybody in uint8 [F, H, W, 3], in the order of the case's people."""
    return [
        Seen(mouth(frames, box), opening, width, case.scene.unit)
        for box, (opening, width) in zip(case.boxes, case.truth, strict=True)
    ]


def lips(people: Sequence[Seen]) -> dict[str, float | int | list[int]]:
    """The figures of mouths that speak, in clips of one length, one mouth a clip.

    opening, latent, width: mean correlations; latent is that of the latent frames that are made: the first one is the
    given picture with its shut mouth, which `latent_all` counts too (`opening` does, as one frame of many).
    worst, worst_latent: of a single clip; lags: frames, of each clip;
    other, other_worst: correlation with the speech of the other clips, mean and largest mean of a clip; closed: share
    of all silent frames in which the mouth is shut; silent: how many these are; clips: how many.
    """
    scores = [one.score for one in people]
    openings, every, widths = (
        np.array([getattr(each, name) for each in scores]) for name in ("opening", "latent", "width")
    )
    latents = np.array([made_latents(one) for one in people])
    figures = {
        "clips": len(scores),
        "opening": float(openings.mean()),
        "worst": float(openings.min()),
        "latent": float(latents.mean()),
        "worst_latent": float(latents.min()),
        "latent_all": float(every.mean()),
        "width": float(np.nanmean(widths)),
        "lags": [each.lag for each in scores],
        "openings": openings.tolist(),
        **closed(people),
    }
    if len(people) > 1:
        exchanged = swap(np.stack([one.mouth.opening for one in people]), np.stack([one.opening for one in people]))
        figures |= {"other": float(np.nanmean(exchanged.other)), "other_worst": float(np.nanmax(exchanged.other))}
    return figures


def made_latents(one: Seen) -> float:
    """Correlation of the opening over the latent frames but the first."""
    return correlation(*(latent_means(curve)[1:] for curve in (one.mouth.opening, one.opening)))


def closed(people: Sequence[Seen]) -> dict[str, float | int]:
    """closed: share of the silent frames of all people in which the mouth is shut; silent: how many these are."""
    measured = np.concatenate([one.mouth.opening / one.unit for one in people])
    true = np.concatenate([one.opening for one in people])
    return {"closed": closed_share(measured, true), "silent": int((true <= 0).sum())}


def together(clips: Sequence[Sequence[Seen]]) -> dict[str, float]:
    """People who speak at once, clip by clip: how each follows the own voice and those of the others beside."""
    own, other = [], []
    for people in clips:
        exchanged = swap(np.stack([one.mouth.opening for one in people]), np.stack([one.opening for one in people]))
        own += exchanged.own.tolist()
        other += exchanged.other.tolist()
    everybody = [one for people in clips for one in people]
    return {
        "clips": len(clips),
        "own": float(np.mean(own)),
        "own_worst": float(np.min(own)),
        "latent": float(np.mean([made_latents(one) for one in everybody])),
        "owns": own,
        "others": other,
        "other": float(np.mean(other)),
        "other_worst": float(np.max(other)),
        "width": float(np.nanmean([one.score.width for one in everybody])),
        "lags": [one.score.lag for one in everybody],
        **closed(everybody),
    }
