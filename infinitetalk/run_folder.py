"""The folder of one run on disk: what is finished in it, and how more is added so that no crash can spoil it.

Every file appears whole under its name: written beside it, synced, renamed. The record of a take is written
after the files that it vouches for, with their checksums; a take without a record that fits was never made.
A lock that the system drops with the process keeps two processes apart. No decision depends on a clock.
Knows takes, bytes and names; no video, no models and no host.

    run.json                     settings, plan and state, for people and for `runs`
    log.txt                      what happened when
    features-1.safetensors       what the model hears, one file for each voice
    windows/0007-first.mp4       the new frames of window 7
    windows/0007-first.*         .safetensors: what window 8 continues from; .json: the record
    live.mp4, video.mp4          the growing and the finished video
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors.torch import load, save

from . import disk
from .digests import digest, file_digest
from .run_json import read_json, sealed, unbroken, write_json
from .takes import Take


class RunFolder:
    """An opened and locked run; close it, or use it as a context manager.

    Raises InputError from every method when the disk is full or cannot be written.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock, head: dict[str, Any], new: bool):
        self.path, self._lock, self._head, self.new = path, lock, head, new
        self._checked: dict[str, dict[str, Any] | None] = {}

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def state(self) -> str:
        """One of STATES, as run.json says."""
        return self._head["state"]

    @property
    def shown(self) -> str | None:
        """The name of the finished video that was asked for last."""
        return self._head.get("video")

    @property
    def made_with(self) -> dict[str, Any]:
        """The versions and the device that the run began on."""
        return self._head["made_with"]

    def segment(self, take: Take) -> Path:
        """The video of a take's new frames."""
        return self._file(take, "mp4")

    def record(self, take: Take) -> dict[str, Any] | None:
        """The record of a take that is there, whole and unchanged; None for one that has to be sampled.

        The files are read once to compare their checksums; what does not fit is told in the log.
        """
        key = self._file(take, "json").name
        if key not in self._checked:
            self._checked[key] = self._verified(take)
        return self._checked[key]

    def continued(self, take: Take) -> dict[str, torch.Tensor]:
        """What `finish` kept of a take for the next window."""
        with disk.explained(self._file(take, "safetensors")):
            return load(self._file(take, "safetensors").read_bytes())

    def finish(
        self, take: Take, write: Callable[[Path], None], kept: dict[str, torch.Tensor], told: dict[str, Any]
    ) -> dict[str, Any]:
        """Make a take durable: its segment, what the next window continues from, and then the record.

        write: makes the segment at the path it is given. told: JSON values for the record, which is returned.
        """
        segment, state = self.segment(take), self._file(take, "safetensors")
        with disk.whole(segment) as part:
            write(part)
        with disk.explained(segment):
            disk.write_whole(state, save({name: tensor.contiguous() for name, tensor in kept.items()}))
            files = {file.name: file_digest(file) for file in (segment, state)}
            record = sealed({"window": take.number, "take": take.key, "seed": take.seed, **told, "files": files})
            write_json(self._file(take, "json"), record)
        self._checked[self._file(take, "json").name] = record
        return record

    def video(self, parts: dict[str, Any], plain: bool) -> Path | None:
        """The finished video made of `parts`, if it is there unchanged.

        plain: it is video.mp4; another one, of redone windows or with a start before it, has a name of its own,
        so that an earlier one is not replaced while somebody uses it.
        """
        path = self._video(parts, plain)
        record = read_json(path.with_suffix(".json"))
        if record is None or record.get("parts") != parts or not path.is_file():
            return None
        with disk.explained(path):
            return path if record.get("checksum") == file_digest(path) else None

    def finish_video(self, make: Callable[[Path], object], parts: dict[str, Any], plain: bool) -> Path:
        """Make the finished video of `parts` and record it. make: writes it whole."""
        path = self._video(parts, plain)
        make(path)
        with disk.explained(path):
            write_json(path.with_suffix(".json"), {"parts": parts, "checksum": file_digest(path)})
        return path

    def say(self, state: str, video: str | None = None) -> None:
        """Change the state, one of STATES; video: the name of the finished one, after which growing ones are gone."""
        self._head.update({"state": state}, **({"video": video} if video else {}))
        with disk.explained(self.path):
            write_json(self.path / "run.json", self._head)
        if video:
            for other in ("live.mp4", "unfinished.mp4"):
                disk.discard(self.path / other)

    def log(self, text: str) -> None:
        """A line in log.txt. A log that cannot be written stops nothing."""
        with contextlib.suppress(OSError), open(self.path / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def close(self) -> None:
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _file(self, take: Take, ending: str) -> Path:
        return self.path / "windows" / f"{take.number:04d}-{take.key}.{ending}"

    def _video(self, parts: dict[str, Any], plain: bool) -> Path:
        name = "video" if plain else f"video-{digest(parts)[:8]}"
        return self.path / f"{name}.mp4"

    def tidy(self) -> None:
        """Remove what a call that was killed had not finished."""
        for place in (self.path, self.path / "windows"):
            for left in [*place.glob("*.part*"), *place.glob("*.join.mp4")]:
                disk.discard(left)

    def _verified(self, take: Take) -> dict[str, Any] | None:
        path = self._file(take, "json")
        if not path.exists():
            return None
        record = read_json(path)
        if not unbroken(record):
            self.log(f"window {take.number}: its record {path.name} is damaged; it is sampled again")
            return None
        expected = {self.segment(take).name, self._file(take, "safetensors").name}
        if set(record.get("files") or ()) != expected:
            self.log(f"window {take.number}: its record {path.name} names other files; it is sampled again")
            return None
        for name, checksum in record["files"].items():
            file = path.parent / name
            if not _is(file, checksum):
                self.log(f"window {take.number}: {name} does not match its checksum; it is sampled again")
                return None
        return record


def _is(file: Path, checksum: str) -> bool:
    """Whether a file is there and unchanged; one that cannot be read is not."""
    try:
        return file.is_file() and file_digest(file) == checksum
    except OSError:
        return False
