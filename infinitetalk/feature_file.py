"""Features of a long recording on disk: written while they are made, read a window at a time.

A safetensors file of `speech` [frames, L, H] and `silence` [K, L, H] in float32, whose metadata holds `identity`, what
the features were made of, and `digest`, the sha256 of the numbers. It is opened for every read, so neither handles
nor mapped memory pile up. Knows no encoder and no window plan.

Shapes: L encoder layers, H encoder width, K silence frames.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from .disk import discard, explained, publish
from .errors import InputError

_ITEM = 4  # bytes of a number
_AT_ONCE = 1 << 22  # bytes
_FRAMES_AT_ONCE = 100
_LONGEST_HEADER = 1 << 16
Voice = TypeVar("Voice")  # features.AudioFeatures, or one that has its fields
REMEDY = "Remove it and queue again, so that the speech is encoded anew."


@dataclass(frozen=True)
class FeatureFile:
    """shape: (frames, L, H) of the speech; start: the byte its numbers begin at."""

    path: Path
    shape: tuple[int, int, int]
    silence_frames: int
    start: int
    identity: str
    digest: str

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def silence(self) -> torch.Tensor:
        """float32 [K, L, H]."""
        return self._read(self.shape[0], self.silence_frames)

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Frames of the speech: int64 [...], 0..frames-1 -> float32 [..., L, H]. Read as few stretches."""
        wanted, place = torch.unique(index, return_inverse=True)
        breaks = (wanted.diff() > 1).nonzero()[:, 0] + 1
        found = [self._read(int(run[0]), len(run)) for run in torch.tensor_split(wanted, breaks.tolist()) if len(run)]
        return torch.cat(found)[place] if found else torch.zeros(*index.shape, *self.shape[1:])

    def verify(self) -> None:
        """Read it all once; InputError when a number is not what was written."""
        content = hashlib.sha256()
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                while block := file.read(_AT_ONCE):
                    content.update(block)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if content.hexdigest() != self.digest:
            raise InputError(f"features: {self.path} was changed or damaged after it was written.", REMEDY)

    def _read(self, first: int, count: int) -> torch.Tensor:
        frame = self.shape[1] * self.shape[2]
        try:
            numbers = np.fromfile(self.path, np.float32, count * frame, offset=self.start + first * frame * _ITEM)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if len(numbers) != count * frame:
            raise InputError(f"features: {self.path} is cut off.", REMEDY)
        return torch.from_numpy(numbers).view(count, *self.shape[1:])


def open_features(path: str | Path) -> FeatureFile:
    """A file that FeatureWriter finished; its numbers are not looked at (see verify). Raises InputError."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= _LONGEST_HEADER else {}
        shapes = [tuple(header[name]["shape"]) for name in ("speech", "silence")]
        known = FeatureFile(
            path, shapes[0], shapes[1][0], 8 + length, *(header["__metadata__"][key] for key in ("identity", "digest"))
        )
        sizes = [math.prod(shape) * _ITEM for shape in shapes]
        offsets = [header["speech"]["data_offsets"], header["silence"]["data_offsets"]]
        whole = offsets == [[0, sizes[0]], [sizes[0], sum(sizes)]] and path.stat().st_size == known.start + sum(sizes)
        fits = len(shapes[0]) == 3 and shapes[0][1:] == shapes[1][1:]
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise InputError(f"features: {path} is no file of features.", REMEDY) from error
    if not whole or not fits:
        raise InputError(f"features: {path} is cut off or does not hold what it says.", REMEDY)
    return known


class FeatureWriter:
    """Writes a FeatureFile: add() rows until there are `frames`, then finish(); leaving `with` earlier leaves no file.

    identity: what the features are made of. Raises InputError for a disk that is full or closed.
    """

    def __init__(self, path: str | Path, frames: int, silence_frames: int, identity: str):
        self.path, self._frames, self._silence_frames, self._identity = Path(path), frames, silence_frames, identity
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._shape: tuple[int, ...] | None = None
        self._content, self._done = hashlib.sha256(), 0
        with explained(self.path):
            self._file = open(self._part, "wb")

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        discard(self._part)  # gone already when the file is finished

    def add(self, rows: torch.Tensor) -> None:
        """The next frames, [n, L, H]."""
        with explained(self.path):
            if self._shape is None:
                self._shape = tuple(rows.shape[1:])
                self._file.write(self._header("0" * 64))
            self._write(rows)
        self._done += len(rows)

    def finish(self, silence: torch.Tensor) -> FeatureFile:
        """Add the silence [K, L, H], and give the file its name when all of it is on the disk."""
        if self._done != self._frames or len(silence) != self._silence_frames:
            raise ValueError(f"{self._done} of {self._frames} frames and {len(silence)} of silence were given")
        with explained(self.path):
            self._write(silence)
            self._file.seek(0)
            self._file.write(self._header(self._content.hexdigest()))
            self._file.close()
            publish(self._part, self.path)
        return open_features(self.path)

    def _write(self, rows: torch.Tensor) -> None:
        data = rows.detach().to("cpu", torch.float32).contiguous().numpy().data
        self._file.write(data)
        self._content.update(data)

    def _header(self, digest: str) -> bytes:
        frame = math.prod(self._shape) * _ITEM
        ends = [0, self._frames * frame, (self._frames + self._silence_frames) * frame]
        header = {"__metadata__": {"identity": self._identity, "digest": digest}}
        for n, (name, frames) in enumerate((("speech", self._frames), ("silence", self._silence_frames))):
            offsets = [ends[n], ends[n + 1]]
            header[name] = {"dtype": "F32", "shape": [frames, *self._shape], "data_offsets": offsets}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text


def speech_rows(speech: torch.Tensor | FeatureFile, index: torch.Tensor) -> torch.Tensor:
    """Frames of the speech, in memory or on disk: int64 [...] -> a copy, float32 [..., L, H]."""
    return speech[index] if isinstance(speech, torch.Tensor) else speech.rows(index)


def save_features(voice: Voice, path: str | Path) -> FeatureFile:
    """Write a voice's features to `path`, which holds them whole or not at all.

    Features that are a file on the same disk get the name `path` too, without a copy. Raises InputError for a
    disk that is full or closed.
    """
    path = Path(path)
    own = voice.speech
    if isinstance(own, FeatureFile) and own.identity == voice.identity:
        linked = link_features(own, path)
        if linked.path == path:
            return linked
    with FeatureWriter(path, voice.frames, len(voice.silence), voice.identity) as writer:
        for start in range(0, voice.frames, _FRAMES_AT_ONCE):
            index = torch.arange(start, min(start + _FRAMES_AT_ONCE, voice.frames))
            writer.add(speech_rows(own, index))
        return writer.finish(voice.silence)


def load_features(voice: Voice, path: str | Path) -> Voice:
    """The voice with speech and silence of a file that `save_features` wrote.

    Reads all of it once. Raises InputError when it is of another voice, or not as it was written.
    """
    file = open_features(path)
    if file.identity != voice.identity:
        raise InputError(f"features: {path} were made from another recording or encoder.", REMEDY)
    file.verify()
    return replace(voice, speech=file, silence=file.silence)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"features: {path} cannot be read ({error.strerror}).", "Queue again; see that the file stays.")


def link_features(file: FeatureFile, path: Path) -> FeatureFile:
    """The file under a second name on its disk, which replaces a file that has it; itself where that cannot be."""
    part = path.with_name(f"{path.name}.part")
    try:
        discard(part)
        os.link(file.path, part)
        publish(part, path)
    except OSError:
        return file
    finally:
        discard(part)
    return replace(file, path=path)
