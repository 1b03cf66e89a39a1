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
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors.torch import load, save

from . import disk
from .digests import file_digest
from .errors import InputError
from .run_json import FORMAT, read_head, read_json, sealed, unbroken, write_json
from .run_names import folder_name, run_folder_path, run_folders
from .takes import Take


@dataclass(frozen=True)
class Wanted:
    """Which run is meant.

    name: given by the user, or "". inputs: sha256 hex of all that determines the pictures but the maths;
    maths: the version of our own. afresh: a new one even if there is one. described: what run.json tells
    about it beside that, JSON values.
    """

    name: str
    inputs: str
    maths: int
    afresh: bool
    described: dict[str, Any]

    def identity(self, attempt: int) -> str:
        return hashlib.sha256(f"{self.inputs} {self.maths} {attempt}".encode()).hexdigest()


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
        part = segment.with_suffix(".part.mp4")
        with disk.explained(segment):
            try:
                write(part)
                disk.publish(part, segment)
            finally:
                disk.discard(part)
            disk.write_whole(state, save({name: tensor.contiguous() for name, tensor in kept.items()}))
            files = {file.name: file_digest(file) for file in (segment, state)}
            record = sealed({"window": take.number, "take": take.key, "seed": take.seed, **told, "files": files})
            write_json(self._file(take, "json"), record)
        self._checked[self._file(take, "json").name] = record
        return record

    def video(self, parts: dict[str, Any]) -> Path | None:
        """The finished video, if it is there unchanged and was made of `parts`."""
        path, record = self.path / "video.mp4", read_json(self.path / "video.json")
        if record is None or record.get("parts") != parts or not path.is_file():
            return None
        return path if record.get("checksum") == file_digest(path) else None

    def finish_video(self, make: Callable[[Path], object], parts: dict[str, Any]) -> Path:
        """Make the finished video of `parts` and record it; the growing files have served. make: writes it whole."""
        path = self.path / "video.mp4"
        make(path)
        with disk.explained(path):
            write_json(self.path / "video.json", {"parts": parts, "checksum": file_digest(path)})
        for other in ("live.mp4", "unfinished.mp4"):
            disk.discard(self.path / other)
        return path

    def say(self, state: str | None = None, **told: Any) -> None:
        """Change the state, one of STATES, and other entries of run.json."""
        self._head.update(told, **({"state": state} if state else {}))
        with disk.explained(self.path):
            write_json(self.path / "run.json", self._head)

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
            if not file.is_file() or file_digest(file) != checksum:
                self.log(f"window {take.number}: {name} does not match its checksum; it is sampled again")
                return None
        return record


def open_run(output: Path, wanted: Wanted) -> RunFolder:
    """Open the run that is meant, or begin it.

    Of several made afresh the last one is continued. Raises InputError, and touches nothing, when another process
    works on it, when its run.json is damaged, and when another version of the maths made it.
    """
    known = [head for head in map(read_head, run_folders(output)) if head and _same(head, wanted)]
    ours = [head for head in known if head["maths"] == wanted.maths]
    last = max(ours, key=lambda head: head["attempt"], default=None)
    if not wanted.afresh and last is None and known:
        other = known[-1]
        raise InputError(
            f"run: {other['run']} was made by version {other['maths']} of the maths, this is {wanted.maths}; "
            "their windows do not fit together.",
            "Set existing of the sampler to afresh to make it again beside the old one, or go back to the version "
            "of this pack that made it.",
        )
    attempt = last["attempt"] if last else 1
    path = _path(output, wanted, attempt)
    while wanted.afresh and path.exists():
        attempt += 1
        path = _path(output, wanted, attempt)
    with disk.explained(path):
        (path / "windows").mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise InputError(
                f"run: {path.name} is being made by another process right now.",
                "Wait until it has ended, or stop it; two must not write the same run.",
            ) from error
    try:
        return _opened(path, lock, wanted, attempt)
    except BaseException:
        lock.release()
        raise


def _path(output: Path, wanted: Wanted, attempt: int) -> Path:
    return run_folder_path(output, folder_name(wanted.name, wanted.identity(attempt)))


def _opened(path: Path, lock: filelock.BaseFileLock, wanted: Wanted, attempt: int) -> RunFolder:
    new = not (path / "run.json").exists() and not any((path / "windows").glob("*.json"))
    if new:
        head = {
            "format": FORMAT,
            "run": path.name,
            "name": wanted.name,
            "identity": wanted.identity(attempt),
            "inputs": wanted.inputs,
            "maths": wanted.maths,
            "attempt": attempt,
            "state": "running",
            "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **wanted.described,
        }
    else:
        head = read_head(path)
        if head is None or head["identity"] != wanted.identity(attempt):
            raise InputError(
                f"run: {path / 'run.json'} is {'damaged' if head is None else 'that of another run'}.",
                "Put it back from a copy, move the folder away, or set existing of the sampler to afresh; "
                "nothing was changed in it.",
            )
    return RunFolder(path, lock, head, new)


def _same(head: dict[str, Any], wanted: Wanted) -> bool:
    return head["inputs"] == wanted.inputs and head.get("name") == wanted.name
