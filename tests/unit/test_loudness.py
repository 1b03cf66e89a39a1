"""The streaming loudness against pyloudnorm's, which holds the whole recording."""

from __future__ import annotations

import math

import pyloudnorm
import pytest
import torch

from infinitetalk import sound
from infinitetalk.loudness import integrated_loudness
from infinitetalk.sound import MemorySound


def speech(samples: int, rate: int = 16_000, quiet: float = 0.01) -> torch.Tensor:
    """Syllables of noise with a soft second half, so that both gates have something to do."""
    time = torch.arange(samples) / rate
    wave = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * ((20 * time).sin() > -0.3)
    wave[samples // 2 :] *= quiet
    return wave


@pytest.mark.parametrize("samples", [6_400, 6_401, 7_000, 16_000, 99_999, 700_001])
@pytest.mark.parametrize("quiet", [1.0, 0.05, 0.0])
def test_it_is_pyloudnorms(samples, quiet, monkeypatch):
    wave = speech(samples, quiet=quiet)
    expected = pyloudnorm.Meter(16_000).integrated_loudness(wave.double().numpy())
    for piece in (1_013, 1 << 18):
        monkeypatch.setattr(sound.pieces, "__defaults__", (piece,))
        assert integrated_loudness(MemorySound(wave[None, None], 16_000)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_at_other_rates(rate):
    wave = speech(3 * rate + 17, rate)
    expected = pyloudnorm.Meter(rate).integrated_loudness(wave.double().numpy())
    assert integrated_loudness(MemorySound(wave[None, None], rate)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("amplitude", [0.0, 1e-6])
def test_below_the_gate_it_is_minus_infinity(amplitude):
    wave = amplitude * speech(32_000)
    assert integrated_loudness(MemorySound(wave[None, None], 16_000)) == -math.inf
