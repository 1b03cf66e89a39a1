"""Integrated loudness (ITU-R BS.1770-4, gated) of a sound of any length, in one pass.

The K-weighting and the rule of blocks are those of pyloudnorm's Meter, which the reference uses; only that the
filters carry their state from piece to piece. Knows no encoder and no target.

Shapes: N samples of one channel.
"""

from __future__ import annotations

import math

import numpy as np
from pyloudnorm.iirfilter import IIRfilter
from scipy.signal import lfilter

from .sound import Sound, pieces

BLOCK_SECONDS = 0.4  # of a gating block
STEP = 0.25  # of a block, from one to the next
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below the mean of the blocks above the absolute gate
OFFSET = -0.691  # dB, of the standard


def integrated_loudness(sound: Sound) -> float:
    """Loudness in LUFS of a mono sound of 0.4 s or longer; minus infinity when all of it is below the gate."""
    powers = _block_powers(sound)
    with np.errstate(divide="ignore"):
        loudness = OFFSET + 10 * np.log10(powers)
    heard = loudness >= ABSOLUTE_GATE
    if not heard.any():
        return -math.inf
    relative = OFFSET + 10 * math.log10(powers[heard].mean()) + RELATIVE_GATE
    counted = powers[(loudness > relative) & (loudness > ABSOLUTE_GATE)]
    return OFFSET + 10 * math.log10(counted.mean()) if len(counted) else -math.inf


def _block_powers(sound: Sound) -> np.ndarray:
    """Mean square of every gating block after the K-weighting, float64."""
    rate = sound.rate
    last = (sound.samples / rate - BLOCK_SECONDS) / (BLOCK_SECONDS * STEP)
    powers = np.zeros(int(np.round(last)) + 1)
    # Times are turned to samples as pyloudnorm does it: rounding is part of the measure.
    bounds = [[int(BLOCK_SECONDS * (j * STEP + k) * rate) for k in (0, 1)] for j in range(len(powers))]
    held, first, done = np.zeros(0), 0, 0  # squares from sample `first` on; blocks measured
    for squares in _weighted_squares(sound):
        held = np.concatenate((held, squares))
        end = first + len(held)
        while done < len(powers) and (bounds[done][1] <= end or end == sound.samples):
            start, stop = bounds[done]
            powers[done] = held[start - first : stop - first].sum() / (BLOCK_SECONDS * rate)
            done += 1
        if done < len(powers):
            held, first = held[bounds[done][0] - first :], bounds[done][0]
    return powers


def _weighted_squares(sound: Sound):
    shelf = IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, sound.rate, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, sound.rate, "high_pass")
    stages = [(stage.b, stage.a) for stage in (shelf, high_pass)]
    states = [np.zeros(2) for _ in stages]
    for piece in pieces(sound):
        wave = piece[0].double().numpy()
        for n, (b, a) in enumerate(stages):
            wave, states[n] = lfilter(b, a, wave, zi=states[n])
        yield np.square(wave)
