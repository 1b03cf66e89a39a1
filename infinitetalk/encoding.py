"""Speech through a wav2vec2: features at 25 a second and what a silence sounds like after it.

Up to LONG_SECONDS the transformer hears the speech in one pass, as the reference does. Beyond, it hears chunks of at
most so long with CONTEXT frames before and after, whose own outputs are dropped: time and memory then grow with the
chunk, not with the recording. The convolutions before it are exact at any length (convolution.py).

Why 10 s of context: the position convolution reaches 64 frames (2.6 s) to either side; beyond that only attention
does, which was taught on excerpts of at most 30 s. Against one pass over 200 s, all layers, chunks differ by 3.0 %
(norm of the difference by norm) with the small model of random weights, by 1.7 % with one of base size, and by 6.3 %
where its queries are made four times as large; 5 s of context give 3.5, 1.9 and 6.9 %, 20 s 2.8, 1.5 and 5.4 %. Random
weights attend to everything alike, which is the worst case; no step between frames grows where chunks meet.

Knows no checkpoint, no window plan and no host. Source of the rules: the audio path of the public InfiniteTalk
implementation.

Shapes: N samples at 16 kHz, F video frames, L encoder layers, H encoder width, K silence frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .config import FPS, SAMPLE_RATE
from .convolution import PIECE, ConvStack, Norm, interpolate, positions
from .errors import InputError
from .feature_file import FeatureFile, FeatureWriter
from .sound import LONG_SECONDS, MemorySound, Sound, pieces
from .timeline import feature_frames

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
SILENCE_FRAMES = 4 * FPS  # a window's overhang is at most its length, 81 frames, and two taps
SILENCE_CONTEXT = 10 * FPS  # speech that the encoder hears before that silence
WHOLE_SAMPLES = 20 * SAMPLE_RATE  # the convolutions take so much in one pass: 385 MB in a base model
CHUNK = int(LONG_SECONDS) * FPS  # frames of a chunk without its context
CONTEXT = 10 * FPS  # frames that a chunk hears before and after itself
BOUND = 0.05  # of chunks against one pass, relative, with the small model; see above
VERSION = 1  # of what is computed here; part of every identity

Layers = Callable[[torch.Tensor], Sequence[torch.Tensor]]
Report = Callable[[int, int], None]  # (done, of all): called often, may raise to end the work


@dataclass(frozen=True)
class Encoder:
    """A wav2vec2 in two halves. layers: [1, T, C] -> one [1, T, H] per layer; device: where both compute."""

    conv: ConvStack
    layers: Layers
    device: torch.device | str = "cpu"


def normalize_wave(wave: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance over the whole waveform [N] (biased variance, epsilon 1e-7)."""
    return (wave - wave.mean()) / torch.sqrt(wave.var(unbiased=False) + 1e-7)


def to_25hz(conv: torch.Tensor, frames: int) -> torch.Tensor:
    """Convolution features [1, C, T] resampled in time to [1, frames, C], linearly, first and last frame kept."""
    return torch.nn.functional.interpolate(conv, size=frames, mode="linear", align_corners=True).transpose(1, 2)


def encode_features(
    wave: Sound,
    encoder: Encoder,
    normalize: bool,
    path: Path | None = None,
    identity: str = "",
    report: Report | None = None,
) -> tuple[torch.Tensor | FeatureFile, torch.Tensor]:
    """Speech features [frames, L, H] and silence features [K, L, H], float32 on the CPU.

    wave: mono at 16 kHz, loudness already normalised. normalize: give the encoder the waveform at zero mean and
    unit variance. path, identity: write the features there while they are made, in place of memory. The
    convolution features are brought to 25 Hz before the transformer, which therefore runs at the video's rate. The
    silence is encoded behind the last 10 s of the speech, so that it starts as the encoder hears a voice end, not as
    a file of zeros begins.
    """
    frames = feature_frames(wave.samples)
    if frames < 1:
        raise InputError(f"audio: {wave.samples} samples at 16 kHz are less than one frame.", "Give at least 0.1 s.")
    shift, scale = _moments(wave) if normalize else (0.0, 1.0)
    parts = _Parts(encoder, shift, scale, report or (lambda done, total: None))
    context = min(frames, SILENCE_CONTEXT)
    total = (context + SILENCE_FRAMES) * SAMPLES_PER_FRAME
    followed = wave.read((frames - context) * SAMPLES_PER_FRAME, total)
    silence = torch.cat(list(parts.rows(MemorySound(followed[None], SAMPLE_RATE), False)))[context:].clone()
    if path is None:
        return torch.cat(list(parts.rows(wave, True))), silence
    with FeatureWriter(path, frames, len(silence), identity) as writer:
        for rows in parts.rows(wave, True):
            writer.add(rows)
        return writer.finish(silence), silence


def evenly(frames: int, at_most: int) -> list[tuple[int, int]]:
    """`frames` divided into ranges (first, end) of nearly one length, none longer than `at_most`."""
    count = math.ceil(frames / at_most)
    edges = [frames * n // count for n in range(count + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


@dataclass(frozen=True)
class _Parts:
    """One run of the encoder. shift, scale: of the waveform, see normalize_wave()."""

    encoder: Encoder
    shift: float
    scale: float
    report: Report

    def rows(self, wave: Sound, report: bool) -> Iterator[torch.Tensor]:
        """The layers' outputs, float32 [n, L, H], chunk by chunk."""
        frames = feature_frames(wave.samples)
        waiting, first = [], 0  # features at 25 Hz from frame `first` on
        arriving = self._at_25hz(wave, report)
        for begin, end in evenly(frames, CHUNK):
            start, stop = max(begin - CONTEXT, 0), min(end + CONTEXT, frames)
            while first + sum(piece.shape[1] for piece in waiting) < stop:
                waiting.append(next(arriving))
            held = torch.cat(waiting, dim=1)
            outputs = self.encoder.layers(held[:, start - first : stop - first])
            stacked = torch.empty(end - begin, len(outputs), outputs[0].shape[-1])
            for i, output in enumerate(outputs):
                stacked[:, i] = output[0, begin - start : end - start]
            del outputs
            keep = max(end - CONTEXT, 0)
            waiting, first = [held[:, keep - first :].clone()], keep
            del held
            yield stacked
            del stacked  # before the next chunk takes its memory
        if report:
            self.report(frames, frames)

    def _at_25hz(self, wave: Sound, report: bool) -> Iterator[torch.Tensor]:
        """Convolution features at 25 Hz, [1, n, C], one piece after the other."""
        conv, frames = self.encoder.conv, feature_frames(wave.samples)

        def read(start: int, count: int) -> torch.Tensor:
            return (wave.read(start, count).to(self.encoder.device) - self.shift) * self.scale

        if wave.samples <= WHOLE_SAMPLES:
            yield to_25hz(conv.whole(read(0, wave.samples)), frames)
            return
        norm = conv.norm(read, wave.samples, lambda: self.report(0, frames))
        where = positions(frames, conv.frames(wave.samples))
        for begin, end in evenly(frames, PIECE // 2):
            if report:
                self.report(begin, frames)
            yield self._span(read, norm, where[begin:end])

    def _span(self, read: Callable, norm: Norm | None, where: torch.Tensor) -> torch.Tensor:
        low, high = math.floor(where[0]), math.ceil(where[-1])
        conv = self.encoder.conv.span(read, low, max(high, low) + 1, norm)
        return interpolate(conv, where - low)


def _moments(wave: Sound) -> tuple[float, float]:
    """Mean, and one over the deviation as normalize_wave() has it, of a mono sound; in two passes."""
    mean = sum(piece.double().sum().item() for piece in pieces(wave)) / wave.samples
    variance = sum((piece.double() - mean).square().sum().item() for piece in pieces(wave)) / wave.samples
    return mean, (variance + 1e-7) ** -0.5
