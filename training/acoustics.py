"""What rooms and microphones do to a voice: a random tone colour and a little echo.

The synthetic voices come as from no room at all, and all alike; recordings of people do not.
Shapes: N samples at 16 kHz, float32 [N].
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

RATE = 16_000
COLOURED, ECHOED = 0.6, 0.3  # shares of the recordings
HINGES = np.array((0, 150, 400, 1000, 2500, 5000, 8000.0))  # Hz between which the tone colour runs straight
COLOUR = 4.0  # dB, deviation at each
CUTS = ((40.0, 250.0), (4500.0, 8000.0))  # Hz: where a microphone begins and where it ends
ECHO_SECONDS, ECHO_LEVEL = (0.1, 0.4), (-26.0, -12.0)  # until it is 60 dB down; dB of the direct sound


def recorded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The voice as some microphone in some room gives it; as it was in a part of the cases."""
    if rng.random() < COLOURED:
        wave = _coloured(wave, rng)
    if rng.random() < ECHOED:
        wave = _echoed(wave, rng)
    return wave.astype(np.float32)


def _coloured(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = 512  # taps: the lowest hinge is resolved
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    low, high = (rng.uniform(*cut) for cut in CUTS)
    gain = np.interp(hertz, HINGES, rng.normal(0, COLOUR, len(HINGES)))
    gain -= 12 * np.clip(np.log2(low / np.maximum(hertz, 1)), 0, 3) + 24 * np.clip(np.log2(hertz / high + 1e-9), 0, 3)
    taps = np.roll(np.fft.irfft(10 ** (gain / 20)), size // 2) * np.hanning(size)
    return fftconvolve(wave, taps)[size // 2 : size // 2 + len(wave)]  # as long as it was and no later


def _echoed(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    seconds = rng.uniform(*ECHO_SECONDS)
    time = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail[: RATE // 200] = 0  # nothing comes back within 5 ms
    tail *= 10 ** (rng.uniform(*ECHO_LEVEL) / 20) / np.sqrt((tail**2).sum())
    return wave + fftconvolve(wave, tail)[: len(wave)]
