"""Sound that nobody speaks: noise, hum, knocks and made-up music, to which a mouth must stay shut.

Shapes: N samples at 16 kHz; everything is float64 [N] at about unit power.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

RATE = 16_000
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9))  # semitones: major, minor, pentatonic


def any_sound(samples: int, rng: np.random.Generator) -> np.ndarray:
    """One of the kinds below, by chance; its ends fade in and out over 50 ms."""
    kind = rng.choice((noise, hum, knocks, music), p=(0.3, 0.15, 0.15, 0.4))
    wave = kind(samples, rng)
    ramp = np.clip(np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (0.05 * RATE), 0, 1)
    return ramp * wave / (np.sqrt(np.mean(wave**2)) + 1e-9)


def noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """White to brown noise whose level slowly comes and goes."""
    white = rng.standard_normal(samples)
    coloured = lfilter([1.0], [1.0, -rng.uniform(0.0, 0.98)], white)
    wander = np.interp(np.arange(samples), np.linspace(0, samples, 12), rng.uniform(0.5, 1.0, 12))
    return _unit(coloured) * wander


def hum(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum or a motor: a low tone with harmonics."""
    time = np.arange(samples) / RATE
    base = rng.choice((50.0, 60.0, rng.uniform(30, 140)))
    waves = [np.sin(2 * np.pi * base * n * time + rng.uniform(0, 6)) * rng.uniform(0, 1) / n for n in range(1, 9)]
    return np.sum(waves, axis=0) + 0.02 * rng.standard_normal(samples)


def knocks(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Short bursts of noise, as of a door, steps or keys."""
    wave = np.zeros(samples)
    for _ in range(max(1, int(samples / RATE * rng.uniform(1, 6)))):
        length = int(rng.uniform(0.02, 0.2) * RATE)
        burst = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.2 * length))
        _add(wave, lfilter([1.0], [1.0, -rng.uniform(0, 0.95)], burst), int(rng.integers(samples)))
    return wave + 1e-3 * rng.standard_normal(samples)


def music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A melody over chords on a made-up instrument, with a beat now and then."""
    scale, root = SCALES[rng.integers(len(SCALES))], rng.integers(36, 60)
    beat = rng.uniform(0.18, 0.6)
    colour = rng.uniform(0.4, 2.0)
    wave, at, drums = np.zeros(samples), 0.0, rng.random() < 0.4
    while at * RATE < samples:
        step = int(rng.integers(len(scale)))
        notes = [root + 12 + scale[step]]
        if rng.random() < 0.4:
            notes += [root + scale[(step + third) % len(scale)] for third in (0, 2, 4)]
        for note in notes:
            _add(wave, _note(440 * 2 ** ((note - 69) / 12), beat * rng.choice((1, 2, 4)), colour, rng), int(at * RATE))
        if drums:
            hit = rng.standard_normal(1600) * np.exp(-np.arange(1600) / 250)
            _add(wave, 0.5 * hit, int(at * RATE))
        at += beat * rng.choice((0.5, 1, 1, 2))
    return wave


def _note(hertz: float, seconds: float, colour: float, rng: np.random.Generator) -> np.ndarray:
    """A tone whose harmonics fall off as n ** -colour, plucked or bowed."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = [n for n in range(1, 12) if n * hertz < 7000]
    tone = np.sum([np.sin(2 * np.pi * hertz * n * time + rng.uniform(0, 6)) * n**-colour for n in harmonics], axis=0)
    attack = np.minimum(time / rng.uniform(0.005, 0.08), 1)
    return tone * attack * np.exp(-time / (seconds * rng.uniform(0.2, 1.0)))


def _add(wave: np.ndarray, part: np.ndarray, start: int) -> None:
    end = min(start + len(part), len(wave))
    wave[start:end] += part[: end - start]


def _unit(wave: np.ndarray) -> np.ndarray:
    return wave / (wave.std() + 1e-9)
