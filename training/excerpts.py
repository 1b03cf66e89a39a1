"""Excerpts of a corpus as the speech encoder learns from them: of all lengths, with silences and noise put in.

The encoder hears every file at the loudness that the file has as a whole, so the truth of an excerpt is not a stretch
of the piece's: its loudness is measured anew and the mouth follows that. Knows no encoder.

Shapes: B excerpts, N samples at 16 kHz, F = N / 640 frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from pyloudnorm.iirfilter import IIRfilter
from scipy.signal import freqz

from infinitetalk.audio import TARGET_LUFS
from infinitetalk.loudness import ABSOLUTE_GATE, OFFSET, RELATIVE_GATE
from talker.truth import SAMPLES, mouth

from .espeak import RATE
from .speech import Corpus

FPS = RATE // SAMPLES
LENGTHS = (2, 2.56, 4, 6.4, 10.24, 16, 25, 40, 60)  # seconds; all alike often
BLOCK = 10  # frames of a gating block of 0.4 s
HOLES, HOLE = 0.3, (0.2, 8.0)  # share of the excerpts with a silence put in; its seconds, at most half of them
NOISY, NOISE = 0.25, (-65.0, -38.0)  # share with more noise; dB of full scale
NOTHING = -100.0  # dB, of a silent frame


@dataclass(frozen=True)
class Batch:
    """wave [B, N]; opening, width [B, F], 0..1."""

    wave: torch.Tensor
    opening: torch.Tensor
    width: torch.Tensor


def draw_batch(corpus: Corpus, seconds: float, length_seed: int, generator: torch.Generator) -> Batch:
    """About `seconds` of sound in excerpts of one length, which depends on length_seed alone."""
    length = float(np.random.default_rng(length_seed).choice(LENGTHS))
    frames = min(round(length * FPS), len(corpus.level))
    return excerpts(corpus, frames, max(1, round(seconds * FPS / frames)), generator)


def excerpts(corpus: Corpus, frames: int, count: int, generator: torch.Generator) -> Batch:
    """`count` excerpts of `frames` frames from anywhere, also across pieces. Computes where the corpus is."""
    device = corpus.wave.device

    def uniform(low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator, device=device)

    start = (uniform() * (len(corpus.level) - frames + 1)).long()
    at = start + torch.arange(frames, device=device)
    level, centroid = corpus.level[at], corpus.centroid[at]
    samples = torch.arange(frames * SAMPLES, device=device)
    wave = corpus.wave[start * SAMPLES + samples].float() / 32767

    longest = min(HOLE[1] * FPS, frames / 2)
    begin = uniform() * frames
    end = begin + uniform(HOLE[0] * FPS, longest) * (uniform() < HOLES)
    frame = torch.arange(frames, device=device)
    hole = (frame >= begin) & (frame < end)
    level = level.masked_fill(hole, NOTHING)
    wave = wave * ~hole.repeat_interleave(SAMPLES, dim=1)
    loudness = 10 ** (uniform(*NOISE) / 20) * (uniform() < NOISY)
    wave = wave + loudness * torch.randn(wave.shape, generator=generator, device=device)

    gain = gain_to_target(wave)
    opening, width = mouth(level + gain, centroid)
    return Batch(wave * 10 ** (gain / 20), opening, width)


def gain_to_target(wave: torch.Tensor) -> torch.Tensor:
    """Gain in dB [B, 1] that brings waves [B, N] of 0.4 s or longer to the product's loudness; 0 below the gate.

    The gated loudness of infinitetalk/loudness.py, weighted in the spectrum of frames instead of by filters, for many
    waves at once: within 0.5 dB of it in 2 s, nearer in longer ones.
    """
    rows = wave.unflatten(1, (-1, SAMPLES))
    power = 2 * (torch.fft.rfft(rows).abs() / SAMPLES).square() @ _weights(wave.device)
    blocks = power.unfold(1, BLOCK, 1).mean(-1)
    heard = blocks > 10 ** ((ABSOLUTE_GATE - OFFSET) / 10)
    relative = _mean(blocks, heard) * 10 ** (RELATIVE_GATE / 10)
    loudness = OFFSET + 10 * torch.log10(_mean(blocks, heard & (blocks > relative)) + 1e-12)
    return torch.where(heard.any(1, keepdim=True), TARGET_LUFS - loudness, 0.0)


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum(1, keepdim=True) / where.sum(1, keepdim=True).clamp(min=1)


@cache
def _weights(device: torch.device) -> torch.Tensor:
    """The K-weighting of power at the frequencies of a frame's spectrum: float32 [321]."""
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE)
    stages = (4.0, 1 / math.sqrt(2), 1500.0, RATE, "high_shelf"), (0.0, 0.5, 38.0, RATE, "high_pass")
    filters = [IIRfilter(*stage) for stage in stages]
    power = [np.abs(freqz(stage.b, stage.a, hertz, fs=RATE)[1]) ** 2 for stage in filters]
    return torch.tensor(np.prod(power, axis=0), dtype=torch.float32, device=device)
