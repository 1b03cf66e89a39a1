"""The sound of an mp4, read in pieces and encoded to AAC as far as the picture has come.

What is heard is the sound as it is: no loudness change, no mixing; resampled only when AAC has no such rate.
Knows no frames, only seconds. Pieces are float32 [C, n], -1..1, C 1 or 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import av.container
import numpy as np
import torch

from .errors import InputError
from .sound import Sound, pieces

FALLBACK_RATE = 48_000
_LAYOUTS = {1: "mono", 2: "stereo"}
_BITS_PER_CHANNEL = 128_000  # per second: transparent for speech and for most music
_BITS_PER_SAMPLE = 6  # AAC's own limit, 6144 bits in a frame of 1024 samples


def check_soundtrack(sound: Sound) -> None:
    """Refuse sound that an mp4 cannot hold: more than two channels, NaN. Reads it once. Raises InputError."""
    if sound.channels not in _LAYOUTS or sound.rate < 1:
        raise InputError(
            f"audio: {sound.channels} channels at {sound.rate} Hz are not one mono or stereo recording.",
            "Give one recording of one or two channels; mix more channels down first.",
        )
    if not all(torch.isfinite(piece).all() for piece in pieces(sound)):
        raise InputError(
            "audio: it holds values that are not numbers (NaN or infinite).",
            "Look at the node that made it, or load the recording again.",
        )


class Soundtrack:
    """An AAC stream in an output container, of sound that passed check_soundtrack().

    Make it before the first packet is muxed. encode() in small steps interleaves it with the picture;
    the last step cuts or pads the sound to the picture's length, to the sample.
    """

    def __init__(self, container: av.container.OutputContainer, sound: Sound):
        known = sound.rate in av.Codec("aac", "w").audio_rates
        self.rate = sound.rate if known else FALLBACK_RATE
        self._reader = _Plain(sound) if known else _Resampling(sound, FALLBACK_RATE)
        self._layout = _LAYOUTS[sound.channels]
        self._done = 0
        self._stream = container.add_stream("aac", rate=self.rate)
        self._stream.layout = self._layout
        self._stream.bit_rate = sound.channels * min(_BITS_PER_CHANNEL, _BITS_PER_SAMPLE * self.rate)

    def encode(self, seconds: Fraction, last: bool = False) -> Iterator[av.Packet]:
        """The packets up to a time, in steps of at most a second; silence after the sound's end."""
        end = round(seconds * self.rate)
        while self._done < end:
            count = min(end - self._done, self.rate)
            yield from self._stream.encode(_frame(self._reader.next(count), self.rate, self._layout, self._done))
            self._done += count
        if last:
            yield from self._stream.encode(None)


class _Plain:
    """Reads a sound onwards from its start, float32 [C, count] at a time."""

    def __init__(self, sound: Sound):
        self._sound, self._done = sound, 0

    def next(self, count: int) -> np.ndarray:
        piece = self._sound.read(self._done, count).numpy()
        self._done += count
        return piece


class _Resampling:
    """The same at another rate, silence after the end; aligned at the start."""

    def __init__(self, sound: Sound, target: int):
        self._source, self._rate, self._layout = _Plain(sound), sound.rate, _LAYOUTS[sound.channels]
        self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=target)
        self._given = 0
        self._waiting = np.zeros((sound.channels, 0), np.float32)

    def next(self, count: int) -> np.ndarray:
        while self._waiting.shape[1] < count:
            given = _frame(self._source.next(self._rate), self._rate, self._layout, self._given)
            self._given += self._rate
            ready = [frame.to_ndarray() for frame in self._resampler.resample(given)]
            self._waiting = np.concatenate([self._waiting, *ready], axis=1)
        piece, self._waiting = self._waiting[:, :count], self._waiting[:, count:]
        return piece


def _frame(piece: np.ndarray, rate: int, layout: str, start: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame
