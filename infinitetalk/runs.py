"""The runs that are kept: what is there of each, and how one is removed.

Reads what run_folder.py writes and changes nothing but in `remove`. A damaged run is still a run. Knows no video,
no models and no host.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from .config import FPS
from .errors import InputError
from .run_json import read_head
from .run_names import find, is_link, run_folders, runs_root

DAMAGED = "damaged"
REMOVALS = ".removals"  # touched by every removal
HIDDEN = ".removed-"  # begins the name of a folder whose removal has begun

_VIDEO = re.compile(r"video(-[0-9a-f]{8})?\.mp4")
_RECORD = re.compile(r"(\d{4,})-[0-9A-Za-z]+\.json")


@dataclass(frozen=True)
class RunInfo:
    """A run as it is listed.

    state: running, stopped, finished or damaged; seconds: of the whole video; bytes: on the disk; made: ISO time
    at which the run began. windows, seconds and made of a damaged run are 0 and "".
    """

    folder: str
    state: str
    windows_done: int
    windows: int
    seconds: float
    bytes: int
    made: str


def list_runs(output: str | Path) -> list[RunInfo]:
    """All runs, the oldest first, damaged ones at the end. Raises InputError for a folder of runs that is a link."""
    infos = [read_run(path) for path in run_folders(output)]
    return sorted(infos, key=lambda info: (info.state == DAMAGED, info.made, info.folder))


def read_run(path: Path) -> RunInfo:
    """What a run's folder holds."""
    head = read_head(path)
    done = len(done_windows(path))
    size = sum(count for _, count in files_of(path))
    if head is None:
        return RunInfo(path.name, DAMAGED, done, 0, 0.0, size, "")
    windows = head["plan"]
    state = head["state"]
    if state == "running" and not in_use(path):
        state = "stopped"  # killed: nobody was left to say so
    seconds = sum(window["keep"] for window in windows) / FPS
    return RunInfo(path.name, state, min(done, len(windows)), len(windows), seconds, size, head["made"])


def done_windows(path: Path) -> set[int]:
    """The numbers, from 1, of the windows that have a record."""
    folder = path / "windows"
    if is_link(folder) or not folder.is_dir():
        return set()
    return {int(match[1]) for entry in os.scandir(folder) if (match := _RECORD.fullmatch(entry.name))}


def removals(output: str | Path) -> int:
    """A number that changes when a run is removed: what made a video must then not be taken for still there."""
    try:
        return (runs_root(output).parent / REMOVALS).stat().st_mtime_ns
    except OSError:
        return 0


def finished_video(path: Path) -> Path:
    """The finished video of a run. Raises InputError for a run that is damaged, in use or not finished."""
    head = read_head(path)
    if head is None:
        raise InputError(
            f"run: {path.name} is damaged: its run.json cannot be read.",
            "Put run.json back from a copy, or use the video file itself.",
        )
    missing = sorted(set(range(1, len(head["plan"]) + 1)) - done_windows(path))
    remedy = "Queue its graph again until it is finished, or use a video file."
    if missing:
        raise InputError(
            f"run: {path.name} is not finished, {numbers(missing)} of {len(head['plan'])} "
            f"{'is' if len(missing) == 1 else 'are'} missing.",
            remedy,
        )
    name = head.get("video")  # of the one that was asked for last: redone windows have one of their own
    video = path / (name if isinstance(name, str) and _VIDEO.fullmatch(name) else "video.mp4")
    if name is None or is_link(video) or not video.is_file():
        raise InputError(f"run: {path.name} has all its windows, and its video is not joined yet.", remedy)
    return video


def in_use(path: Path) -> bool:
    """Whether a process works on the run at this moment."""
    lock = path / "lock"
    if is_link(lock) or not lock.is_file():
        return False
    try:
        with filelock.FileLock(lock, timeout=0):
            return False
    except filelock.Timeout:
        return True
    except OSError:  # read-only: nobody can work there
        return False


def remove(output: str | Path, run: str) -> RunInfo:
    """Remove one run for good, and what earlier removals have left; links in it go, not what they lead to.

    The folder first gets a hidden name, so that it is listed whole or not at all. Raises InputError when `run` is
    not exactly one run, when a process works on it, and when it cannot be removed.
    """
    path = find(output, run, exact=True)
    info = read_run(path)
    try:
        hidden = _hide(path)
        _clean(runs_root(output), hidden)
        shutil.rmtree(hidden)
        (runs_root(output).parent / REMOVALS).write_bytes(b"")
    except OSError as error:
        left = "" if path.exists() else " The run is not listed any more; the next remove tries again."
        raise InputError(
            f"run: {path.name} cannot be removed ({error.strerror}: {error.filename}).",
            f"Give the user that runs this program the right to write there.{left}",
        ) from error
    return info


def _hide(path: Path) -> Path:
    """Rename a run that no process works on."""
    lock = filelock.FileLock(path / "lock", timeout=0)
    if is_link(path / "lock"):
        (path / "lock").unlink()
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"run: {path.name} is in use, a process works on it.", "Cancel it or wait until it has ended."
        ) from None
    try:
        if os.name == "nt":  # no folder is moved there while a file in it is open
            lock.release()
        number, hidden = 0, path.with_name(f"{HIDDEN}{path.name}")
        while os.path.lexists(hidden):
            number += 1
            hidden = path.with_name(f"{HIDDEN}{number}-{path.name}")
        path.rename(hidden)
    finally:
        lock.release()
    return hidden


def _clean(root: Path, but: Path) -> None:
    """Remove what a removal that was cut off has left."""
    for left in root.iterdir():
        if left.name.startswith(HIDDEN) and left != but and not is_link(left):
            with contextlib.suppress(OSError):
                shutil.rmtree(left)


def files_of(path: Path) -> Iterator[tuple[str, int]]:
    """(name below the folder, bytes) of every file; links are not followed, and what vanishes is left out."""
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            with contextlib.suppress(OSError):
                yield file.relative_to(path).as_posix(), file.lstat().st_size


def numbers(windows: list[int]) -> str:
    """window 7; windows 1-3, 9: rising numbers as ranges, at most ten of these."""
    ranges: list[list[int]] = []
    for number in windows:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:10]]
    more = " and more" if len(ranges) > 10 else ""
    return f"window{'s' * (len(windows) > 1)} {', '.join(shown)}{more}"
