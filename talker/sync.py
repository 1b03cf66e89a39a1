"""Lip-sync: how well a measured mouth follows the truth of a speech, and whether it follows that speech alone.

Works on curves at 25 frames a second, measured (talker/measure.py) and true (talker/truth.py); knows no pixels, no
sound and no goal. Correlations are Pearson's, so neither the unit nor the gain of a curve matters to them.

Legend: T frames, G latent frames (frame 0, then one for every four), N clips or speakers. unit: px in the picture of
what is one px in a face 80 px high (Scene.unit).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .measure import Mouth

GROUP = 4  # frames of one latent frame of the Wan VAE
MOST_LAG = 10  # frames that a lag is searched for, to both sides; 0.4 s
FLAT = 1e-3  # standard deviation below which a curve says nothing, in its own unit (pixels, or 0..1)
CLOSED = 1.0  # units of dark height; the smallest true opening, 0.06, is drawn 0.9-1.2 units high
SPOKEN = 0.1  # true opening from which the width is heard and seen; the truth only holds its value below


@dataclass(frozen=True)
class Score:
    """One mouth against one speech.

    opening, width: correlation per frame; latent: of the opening per latent frame; lag: frames by which the mouth
    is late at its best correlation (negative: early); closed: share of the silent frames in which the mouth is shut.
    nan where the speech leaves it undefined: it is silent all the time, or never.
    """

    opening: float
    latent: float
    width: float
    lag: int
    closed: float

    def as_dict(self) -> dict[str, float]:
        """For tables and files."""
        return asdict(self)


def score(mouth: Mouth, opening: np.ndarray, width: np.ndarray, unit: float = 1.0) -> Score:
    """A measured mouth [T] against the true opening and width [T] (0..1)."""
    return Score(
        opening=correlation(mouth.opening, opening),
        latent=correlation(latent_means(mouth.opening), latent_means(opening)),
        width=width_correlation(mouth.width, width, opening),
        lag=best_lag(mouth.opening, opening),
        closed=closed_share(mouth.opening, opening, unit),
    )


def correlation(measured: np.ndarray, truth: np.ndarray) -> float:
    """Pearson's r of two curves [n]. 0 if only the measured one is flat, as it follows nothing; nan if the truth is."""
    return float(correlations(np.asarray(measured)[None], np.asarray(truth)[None])[0, 0])


def correlations(measured: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Every measured curve [N, T] against every true one [M, T] -> [N, M], as in `correlation`."""
    (first, spread), (second, true_spread) = _centred(measured), _centred(truths)
    flat, undefined = spread < FLAT, true_spread < FLAT
    scale = np.where(flat, 1, spread)[:, None] * np.where(undefined, 1, true_spread)
    found = first @ second.T / scale / first.shape[1]
    found[flat] = 0
    found[:, undefined] = np.nan
    return found


def latent_means(curve: np.ndarray) -> np.ndarray:
    """[..., T] -> [..., G]: frame 0, then the mean of every four whole frames; what is left at the end is dropped.

    Right for a video of many windows too, as each begins 4n + 1 frames after the first.
    """
    curve = np.asarray(curve, dtype=np.float64)
    count = (curve.shape[-1] - 1) // GROUP
    groups = curve[..., 1 : 1 + count * GROUP].reshape(*curve.shape[:-1], count, GROUP)
    return np.concatenate([curve[..., :1], groups.mean(axis=-1)], axis=-1)


def within_latents(curve: np.ndarray) -> np.ndarray:
    """What is left of [1 + 4 n] when each latent frame's mean is taken away, without frame 0: [4 n]."""
    groups = np.asarray(curve)[1:].reshape(-1, GROUP)
    return (groups - groups.mean(axis=1, keepdims=True)).ravel()


def best_lag(measured: np.ndarray, truth: np.ndarray, most: int = MOST_LAG) -> int:
    """Frames by which the measured curve [T] is late, -most..most: where the shifted truth correlates best.

    The nearest to 0 of several; 0 where nothing correlates. Clips of one length only: T > 2 * most + 1.
    """
    measured, truth = np.asarray(measured), np.asarray(truth)
    if len(measured) <= 2 * most + 1:
        raise ValueError(
            f"A lag of up to {most} frames cannot be found in {len(measured)} frames.\nGive a longer clip."
        )
    # the same measured frames are compared at every lag, so that no lag wins by what it leaves out
    shifts = sorted(range(-most, most + 1), key=abs)
    end = len(measured) - most
    shifted = np.stack([truth[most - shift : end - shift] for shift in shifts])
    found = correlations(measured[None, most:end], shifted)[0]
    found = np.nan_to_num(found, nan=-1.0)
    return shifts[int(np.argmax(found > found.max() - 1e-9))] if found.max() > 0 else 0


def width_correlation(measured: np.ndarray, width: np.ndarray, opening: np.ndarray) -> float:
    """Correlation of the width [T] over the frames in which the true mouth is open; nan where it hardly ever is."""
    spoken = np.asarray(opening) > SPOKEN
    if spoken.sum() < 3:
        return float("nan")
    return correlation(np.asarray(measured)[spoken], np.asarray(width)[spoken])


def closed_share(measured: np.ndarray, opening: np.ndarray, unit: float = 1.0) -> float:
    """Share of the frames of true opening 0 whose measured opening [T] (px) is that of shut lips; nan without any."""
    silent = np.asarray(opening) <= 0
    if not silent.any():
        return float("nan")
    return float((np.asarray(measured)[silent] < CLOSED * unit).mean())


@dataclass(frozen=True)
class Swap:
    """own [N]: correlation of each mouth with its own speech; other [N]: the mean of those with the others'."""

    own: np.ndarray
    other: np.ndarray


def swap(measured: np.ndarray, truths: np.ndarray) -> Swap:
    """Mouths [N, T] against speeches [N, T], each against its own and all others (N >= 2).

    For clips: that a mouth follows its audio and not a habit. For the speakers of one picture: who says what.
    """
    table = correlations(measured, truths)
    if table.shape[0] != table.shape[1] or len(table) < 2:
        raise ValueError(f"Swapping needs two or more mouths, a speech each; got {table.shape}.\nGive as many of both.")
    own = np.diagonal(table).copy()
    heard = ~np.isnan(table) & ~np.eye(len(table), dtype=bool)
    count = heard.sum(axis=1)
    other = np.where(heard, table, 0).sum(axis=1) / np.maximum(count, 1)
    return Swap(own=own, other=np.where(count > 0, other, np.nan))


def _centred(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(curves less their means, their standard deviations) of [N, T]."""
    curves = np.asarray(curves, dtype=np.float64)
    curves = curves - curves.mean(axis=1, keepdims=True)
    return curves, np.sqrt(np.square(curves).mean(axis=1))
