"""Sound of any length, read in pieces: from memory, from a file on disk, or one after the other.

Every sound answers `read` for any stretch and holds none of it beyond what it was given. What lies outside is
silence, so nobody who reads has to look for the ends. Knows no speech, no video and no host.

Shapes: C channels, T samples per channel; pieces are float32 [C, n] on the CPU, -1..1.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from .disk import discard, explained
from .resampling import Resampler

PIECE = 1 << 18  # samples per channel that are read at once: 5.5 s at 48 kHz, 2 MB in stereo
LONG_SECONDS = 60.0  # beyond this, sound and features are kept on disk and encoded in chunks
_ITEM = 4  # bytes of a sample


class Sound(Protocol):
    """rate: Hz; samples: per channel; digest: sha256 of the samples and the rate, equal for equal sounds."""

    rate: int
    channels: int
    samples: int

    @property
    def digest(self) -> str: ...

    def read(self, start: int, count: int) -> torch.Tensor:
        """float32 [channels, count] from sample `start`, which may lie anywhere; zeros where there is no sound."""
        ...


class Stretch(ABC):
    """A sound whose class only knows how to read inside its ends: `_inside(start, count)`."""

    def __init__(self, rate: int, channels: int, samples: int):
        self.rate, self.channels, self.samples = rate, channels, samples

    def read(self, start: int, count: int) -> torch.Tensor:
        """See Sound."""
        begin, end = max(start, 0), min(start + count, self.samples)
        if begin == start and end == start + count and count > 0:
            return self._inside(start, count)
        result = torch.zeros(self.channels, max(count, 0))
        if begin < end:
            result[:, begin - start : end - start] = self._inside(begin, end - begin)
        return result

    @cached_property
    def digest(self) -> str:
        """See Sound; reads the whole sound once."""
        content = hashlib.sha256()
        for piece in pieces(self):
            content.update(_interleaved(piece))
        return _ended(content, self.rate, self.channels)

    @abstractmethod
    def _inside(self, start: int, count: int) -> torch.Tensor:
        """float32 [channels, count] of samples that are all there."""


class MemorySound(Stretch):
    """A waveform [1, C, T] in memory, of any float type, as the host's AUDIO holds it."""

    def __init__(self, waveform: torch.Tensor, rate: int):
        super().__init__(int(rate), waveform.shape[1], waveform.shape[2])
        self.waveform = waveform.detach().cpu()

    def _inside(self, start: int, count: int) -> torch.Tensor:
        return self.waveform[0, :, start : start + count].to(torch.float32, copy=True)


class SpooledSound(Stretch):
    """Raw float32 on disk, sample by sample with the channels side by side ([T, C]), as `spool` writes it.

    The file is opened for every read, so neither handles nor mapped memory pile up.
    """

    def __init__(self, path: str | Path, rate: int, channels: int, samples: int, digest: str):
        super().__init__(rate, channels, samples)
        self.path = Path(path)
        self.digest = digest

    def _inside(self, start: int, count: int) -> torch.Tensor:
        wanted = count * self.channels
        read = np.fromfile(self.path, np.float32, wanted, offset=start * self.channels * _ITEM)
        if len(read) < wanted:
            raise OSError(f"{self.path} holds less than the {self.samples} samples that were written")
        return torch.from_numpy(read).view(count, self.channels).t().contiguous()

    def mapped(self) -> torch.Tensor:
        """The whole as a tensor [1, C, T] whose memory is the file: read from disk where it is touched."""
        flat = torch.from_file(str(self.path), shared=False, size=self.samples * self.channels, dtype=torch.float32)
        return flat.view(self.samples, self.channels).t()[None]


class Chain(Stretch):
    """Sounds one after the other at one rate and number of channels.

    parts: (sound, samples at `rate`) each; a sound is resampled, and cut or followed by silence, to exactly so many
    samples; None is silence. One channel is heard on all of them; more are mixed down where there are fewer.
    """

    def __init__(self, parts: Sequence[tuple[Sound | None, int]], rate: int, channels: int):
        super().__init__(rate, channels, sum(samples for _, samples in parts))
        self._parts = [(as_channels(at_rate(sound, rate), channels) if sound else None, n) for sound, n in parts]

    def _inside(self, start: int, count: int) -> torch.Tensor:
        result, first = torch.zeros(self.channels, count), 0
        for sound, samples in self._parts:
            begin, end = max(start, first), min(start + count, first + samples)
            if sound is not None and begin < end:
                result[:, begin - start : end - start] = sound.read(begin - first, end - begin)
            first += samples
        return result


class Part(Stretch):
    """A stretch of a sound, from a sample that may lie before its beginning; silence where there is none."""

    def __init__(self, sound: Sound, first: int, samples: int):
        super().__init__(sound.rate, sound.channels, samples)
        self._sound, self._first = sound, first

    def _inside(self, start: int, count: int) -> torch.Tensor:
        return self._sound.read(self._first + start, count)


class Resampled(Stretch):
    """A sound at another rate, round(samples * rate / its rate) samples long."""

    def __init__(self, sound: Sound, rate: int):
        super().__init__(rate, sound.channels, round(sound.samples * rate / sound.rate))
        self._sound, self._resampler = sound, Resampler(sound.rate, rate)

    def _inside(self, start: int, count: int) -> torch.Tensor:
        return self._resampler.span(self._sound.read, start, count)


class Remixed(Stretch):
    """A sound on another number of channels: the mean on all of them, or one channel on many."""

    def __init__(self, sound: Sound, channels: int):
        super().__init__(sound.rate, channels, sound.samples)
        self._sound = sound

    def _inside(self, start: int, count: int) -> torch.Tensor:
        return self._sound.read(start, count).mean(dim=0, keepdim=True).repeat(self.channels, 1)


class Amplified(Stretch):
    """A sound times a gain; may exceed 1, nothing is clipped."""

    def __init__(self, sound: Sound, gain: float):
        super().__init__(sound.rate, sound.channels, sound.samples)
        self._sound, self.gain = sound, gain

    def _inside(self, start: int, count: int) -> torch.Tensor:
        return self._sound.read(start, count) * self.gain


def at_rate(sound: Sound, rate: int) -> Sound:
    """The sound at `rate` Hz; itself where that is its rate."""
    return sound if sound.rate == rate else Resampled(sound, rate)


def as_channels(sound: Sound, channels: int) -> Sound:
    """The sound on so many channels; itself where it has them."""
    return sound if sound.channels == channels else Remixed(sound, channels)


def pieces(sound: Sound, count: int = PIECE) -> Iterator[torch.Tensor]:
    """The whole sound from start to end, at most `count` samples at a time."""
    for start in range(0, sound.samples, count):
        yield sound.read(start, min(count, sound.samples - start))


def seconds(sound: Sound) -> float:
    """How long a sound is heard."""
    return sound.samples / sound.rate


def is_long(sound: Sound) -> bool:
    """Whether a sound is to be kept on disk."""
    return seconds(sound) > LONG_SECONDS


def spool(given: Iterable[torch.Tensor], rate: int, path: str | Path) -> SpooledSound:
    """Write pieces [C, n] to a file as they come; a file of the name is replaced when all is written.

    Beside it lies NAME.json with what `reopen` needs. Raises InputError for a disk that is full or closed and
    ValueError when there is nothing to write; what the pieces raise passes through. Then no file is left.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    content, channels, samples = hashlib.sha256(), 0, 0
    try:
        with explained(path), open(part, "wb") as file:
            for piece in given:
                data = _interleaved(piece)
                file.write(data)
                content.update(data)
                channels, samples = piece.shape[0], samples + piece.shape[1]
        if not samples:
            raise ValueError(f"{path.name}: no sound was given")
        digest = _ended(content, rate, channels)
        with explained(path):
            described = {"rate": rate, "channels": channels, "samples": samples, "digest": digest}
            _sidecar(path).write_text(json.dumps(described), encoding="utf-8")
            os.replace(part, path)
    finally:
        discard(part)
    return SpooledSound(path, **described)


def reopen(path: str | Path) -> SpooledSound | None:
    """The sound that `spool` wrote under this name, if it is there and whole."""
    path = Path(path)
    try:
        sound = SpooledSound(path, **json.loads(_sidecar(path).read_text(encoding="utf-8")))
        whole = path.stat().st_size == sound.samples * sound.channels * _ITEM
    except (OSError, ValueError, TypeError):
        return None
    return sound if whole else None


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _interleaved(piece: torch.Tensor) -> bytes:
    return piece.detach().to("cpu", torch.float32).t().contiguous().numpy().tobytes()


def _ended(content, rate: int, channels: int) -> str:
    content.update(f"{rate} Hz, {channels} channels".encode())
    return content.hexdigest()
