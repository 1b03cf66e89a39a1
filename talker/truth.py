"""What a mouth does when it says a sound: opening and width, 25 times a second, from the sound alone.

The rule that the drawn faces follow and that generated ones are measured against. The opening follows the loudness on
a fixed scale, since the speech comes at -23 LUFS; the width follows the balance of low and high sound: round and
narrow for "oo", wide for "ee" and "s". Knows no picture, no encoder and no synthetic voice.

Shapes: N samples at 16 kHz, F frames of 640 samples; a leading "..." stands for any batch.
"""

from __future__ import annotations

import torch
from torch.nn.functional import conv1d, pad

SAMPLES = 640  # of a frame: 16 kHz at 25 frames a second
FLOOR, RANGE = -39.0, 21.0  # dB of full scale at which the mouth opens, and from there to wide open
VOICE = (150.0, 4000.0)  # Hz that the loudness is taken over: rumble and the hiss of an "s" open no mouth
EXPONENT = 1.5
SHUT = 0.06  # smaller openings are none
VOWELS = (700.0, 3000.0)  # Hz that the centroid is taken over: where "oo" and "ee" differ, whoever speaks
LOW, HIGH = 1150.0, 2250.0  # Hz: centroids of the narrowest and the widest mouth
JAW = (1, 4, 6, 4, 1)  # smoothing of the opening: a jaw hardly moves above 6 Hz
LIPS = (1, 2, 3, 2, 1)  # of the width
NODS = 10  # frames: deviation of the smoothing that turns openings into the energy of head and brows


def mouth_of_sound(wave: torch.Tensor, frames: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Opening and width, each float32 [F] in 0..1, of a wave [N] at 16 kHz and -23 LUFS, a frame or more.

    frames: cut to so many, or lengthened by a shut mouth; by default F = N // 640. Frame i is what is heard from
    i/25 s to (i+1)/25 s. A shut mouth keeps the width it had.
    """
    opening, width = mouth(*measures(torch.as_tensor(wave, dtype=torch.float32)))
    if frames is None:
        return opening, width
    more = max(frames - len(opening), 0)
    return pad(opening, (0, more))[:frames], torch.cat((width, width[-1:].expand(more)))[:frames]


def measures(wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Level of the voice in dB of full scale and spectral centroid in Hz of each frame: [..., N] -> two of [..., F]."""
    count = wave.shape[-1] // SAMPLES
    rows = wave[..., : count * SAMPLES].unflatten(-1, (count, SAMPLES))
    hertz = torch.fft.rfftfreq(SAMPLES, 1 / (SAMPLES * 25), device=wave.device)
    size = torch.fft.rfft(rows).abs()
    power = 2 * (size * _within(hertz, VOICE) / SAMPLES).square().sum(-1)  # of a sine: half its amplitude squared
    size = size * _within(hertz, VOWELS)
    return 10 * torch.log10(power + 1e-10), (size * hertz).sum(-1) / (size.sum(-1) + 1e-6)


def mouth(level: torch.Tensor, centroid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Opening and width from the two measures of each frame, all [..., F]."""
    raw = ((level - FLOOR) / RANGE).clamp(0, 1) ** EXPONENT
    opening = _smooth(raw, JAW)
    opening = torch.where(opening < SHUT, 0.0, opening)
    # Weighted by the opening: what is heard around a shut mouth says nothing about the lips.
    weight = _smooth(raw, LIPS, "constant")
    width = _smooth(raw * ((centroid - LOW) / (HIGH - LOW)).clamp(0, 1), LIPS, "constant") / weight.clamp(min=1e-6)
    return opening, _smooth(_held(width, opening > 0), JAW)  # a new word has its lips ready, without a jump


def energy_of(opening: torch.Tensor) -> torch.Tensor:
    """How lively somebody speaks, [..., F] in 0..1: the opening smoothed over a second. For nods and brows."""
    time = torch.arange(-3 * NODS, 3 * NODS + 1, dtype=torch.float32)
    return _smooth(opening, torch.exp(-0.5 * (time / NODS) ** 2).tolist(), "constant")


def _within(hertz: torch.Tensor, band: tuple[float, float]) -> torch.Tensor:
    return ((hertz >= band[0]) & (hertz <= band[1])).to(hertz.dtype)


def _smooth(values: torch.Tensor, kernel: tuple[float, ...] | list[float], mode: str = "replicate") -> torch.Tensor:
    """values [..., F] under a centred kernel of sum one. mode: how the ends go on, see torch's pad()."""
    weights = torch.tensor(kernel, dtype=values.dtype, device=values.device)
    flat = pad(values.reshape(-1, 1, values.shape[-1]), (len(kernel) // 2,) * 2, mode)
    return conv1d(flat, (weights / weights.sum())[None, None]).reshape(values.shape)


def _held(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """[..., F]: where not valid, the last valid value, before the first one the first, and 0.5 if there is none."""
    at = torch.arange(values.shape[-1], device=values.device).expand(values.shape)
    last = torch.where(valid, at, -1).cummax(-1).values
    first = torch.where(valid, at, values.shape[-1] - 1).amin(-1, keepdim=True)
    held = values.gather(-1, torch.where(last < 0, first, last))
    return torch.where(valid.any(-1, keepdim=True), held, 0.5)
