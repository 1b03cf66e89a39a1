"""What throats, rooms and microphones do to a voice: its size, a tone colour, even loudness and a little echo.

The synthetic voices come as from no room at all, and all alike; people and their recordings do not.
Shapes: N samples at 16 kHz, float32 [N].
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, resample_poly

RATE = 16_000
COLOURED, ECHOED, EVENED = 0.6, 0.3, 0.4  # shares of the recordings
THROATS = range(16, 26)  # twentieths by which a voice is stretched: 20 % shorter to 25 % longer throats
EVEN = (0.2, 0.6)  # how much of the loudness' changes a compressor takes away
HINGES = np.array((0, 150, 400, 1000, 2500, 5000, 8000.0))  # Hz between which the tone colour runs straight
COLOUR = 4.0  # dB, deviation at each
CUTS = ((40.0, 250.0), (4500.0, 8000.0))  # Hz: where a microphone begins and where it ends
ECHO_SECONDS, ECHO_LEVEL = (0.1, 0.4), (-26.0, -12.0)  # until it is 60 dB down; dB of the direct sound


def throat(said: np.ndarray, twentieths: int) -> np.ndarray:
    """A voice from a larger or smaller throat: stretched by twentieths / 20, all its frequencies lowered by as much."""
    return said if twentieths == 20 else resample_poly(said, twentieths, 20).astype(said.dtype)


def recorded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The voice as some microphone in some room gives it; as it was in a part of the cases."""
    if rng.random() < COLOURED:
        wave = _coloured(wave, rng)
    if rng.random() < ECHOED:
        wave = _echoed(wave, rng)
    if rng.random() < EVENED:
        wave = evened(wave, rng.uniform(*EVEN))
    return wave.astype(np.float32)


def evened(wave: np.ndarray, amount: float) -> np.ndarray:
    """What compressors of broadcasts and prompts do: loud parts softer, soft ones louder, over about 0.1 s."""
    window = np.hanning(RATE // 10)
    size = np.sqrt(fftconvolve(wave.astype(np.float64) ** 2, window / window.sum(), mode="same").clip(0))
    loud = np.quantile(size, 0.95) + 1e-9
    return wave * np.maximum(size / loud, 0.05) ** -amount  # below -26 dB all is raised alike


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
