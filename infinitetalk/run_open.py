"""Finding the run that is meant, or beginning it: the one way to a RunFolder.

Everything that cannot be continued is refused here, with nothing touched. No decision depends on a clock.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from . import disk
from .errors import InputError
from .run_folder import RunFolder
from .run_json import FORMAT, read_head
from .run_names import folder_name, is_link, run_folder_path, run_folders


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
    while (path if wanted.afresh else _path(output, wanted, attempt + 1)).exists():
        attempt += 1  # also over one whose run.json is damaged, which is then refused below
        path = _path(output, wanted, attempt)
    for place in ("windows", "live", "lock"):
        if is_link(path / place):
            raise InputError(
                f"run: {path / place} is a link, and a run stays in its folder.",
                "Remove the link; nothing was written.",
            )
    with disk.explained(path):
        (path / "windows").mkdir(parents=True, exist_ok=True)
        disk.sync_folder(path.parent)
        disk.sync_folder(path)
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
    folder = RunFolder(path, lock, head, new)
    if new:
        folder.say("running")
    else:
        folder.tidy()
    return folder


def _same(head: dict[str, Any], wanted: Wanted) -> bool:
    return head["inputs"] == wanted.inputs and head.get("name") == wanted.name
