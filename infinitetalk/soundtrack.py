"""The sound of an mp4: a waveform in memory, encoded to AAC as far as the picture has come.

Shapes: waveform [1, C, T] float, -1..1, C 1 or 2, any rate. What is heard is the waveform as it is: no
loudness change, no mixing; resampled only when AAC has no such rate. Knows no frames, only seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import av.container
import numpy as np
import torch

from .errors import InputError

FALLBACK_RATE = 48_000
_LAYOUTS = {1: "mono", 2: "stereo"}
_BITS_PER_CHANNEL = 128_000  # per second: transparent for speech and for most music
_BITS_PER_SAMPLE = 6  # AAC's own limit, 6144 bits in a frame of 1024 samples


def check_soundtrack(waveform: torch.Tensor, sample_rate: int) -> None:
    """Refuse sound that an mp4 cannot hold: not [1, C, T], more than two channels, NaN. Raises InputError."""
    if waveform.ndim != 3 or waveform.shape[0] != 1 or waveform.shape[1] not in _LAYOUTS or sample_rate < 1:
        raise InputError(
            f"audio: {list(waveform.shape)} at {sample_rate} Hz is not one mono or stereo recording.",
            "Give one recording of one or two channels; mix more channels down first.",
        )
    if not torch.isfinite(waveform).all():
        raise InputError(
            "audio: it holds values that are not numbers (NaN or infinite).",
            "Look at the node that made it, or load the recording again.",
        )


class Soundtrack:
    """An AAC stream in an output container, of sound that passed check_soundtrack().

    Make it before the first packet is muxed. encode() in small steps interleaves it with the picture;
    the last step cuts or pads the sound to the picture's length, to the sample.
    """

    def __init__(self, container: av.container.OutputContainer, waveform: torch.Tensor, sample_rate: int):
        samples = waveform[0].detach()
        self.rate = int(sample_rate)
        if self.rate not in av.Codec("aac", "w").audio_rates:
            samples, self.rate = _resample(samples, self.rate, FALLBACK_RATE), FALLBACK_RATE
        self._samples = samples
        self._layout = _LAYOUTS[samples.shape[0]]
        self._done = 0
        self._stream = container.add_stream("aac", rate=self.rate)
        self._stream.layout = self._layout
        self._stream.bit_rate = samples.shape[0] * min(_BITS_PER_CHANNEL, _BITS_PER_SAMPLE * self.rate)

    def encode(self, seconds: Fraction, last: bool = False) -> Iterator[av.Packet]:
        """The packets up to a time, in steps of at most a second; silence after the waveform's end."""
        end = round(seconds * self.rate)
        while self._done < end:
            count = min(end - self._done, self.rate)
            yield from self._stream.encode(_frame(self._piece(count), self.rate, self._layout, self._done))
            self._done += count
        if last:
            yield from self._stream.encode(None)

    def _piece(self, count: int) -> np.ndarray:
        """The next `count` samples, float32 [C, count]."""
        piece = self._samples[:, self._done : self._done + count].float().cpu().numpy()
        return np.pad(piece, ((0, 0), (0, count - piece.shape[1])))


def _frame(piece: np.ndarray, rate: int, layout: str, start: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame


def _resample(samples: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """[C, T] at `rate` -> [C, T'] at `target` Hz, a second at a time, aligned at the start."""
    layout = _LAYOUTS[samples.shape[0]]
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=target)
    result, filled = torch.zeros(samples.shape[0], round(samples.shape[1] * target / rate)), 0
    pieces = [*range(0, samples.shape[1], rate), None]
    for start in pieces:
        given = None
        if start is not None:
            given = _frame(samples[:, start : start + rate].float().cpu().numpy(), rate, layout, start)
        for frame in resampler.resample(given):
            piece = torch.from_numpy(frame.to_ndarray())[:, : result.shape[1] - filled]
            result[:, filled : filled + piece.shape[1]] = piece
            filled += piece.shape[1]
    return result
