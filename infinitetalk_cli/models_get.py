"""Fetching the model files that are missing, each to its place below the models folder.

Everything that can be refused is refused before the first byte: a file that is another one, a file that the hub lacks
or describes otherwise than the table, a disk that is too small. A file has its name only when it is whole.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

from infinitetalk.disk import discard, explained, publish, write_whole
from infinitetalk.errors import InputError
from infinitetalk.sizes import size_text

from . import hub
from .models_check import DAMAGED, FROM_HUB, FROM_TABLE, MISSING, inspect, record_path, sha256_of
from .models_table import ModelFile, Table


def say(text: str) -> None:
    print(text, flush=True)


def get(table: Table, names: list[str], folder: Path) -> int:
    """Fetch what is missing of profiles and files; 0. Raises InputError."""
    files = table.chosen(names)
    missing = [file for file in files if not is_there(file, folder)]
    remotes = {file: agreed(file) for file in missing}
    check_space(remotes, folder)
    fetched = 0
    for number, (file, remote) in enumerate(remotes.items(), 1):
        say(f"{number} of {len(missing)}: {file.place}, {size_text(remote.size)}")
        fetched += obtain(file, remote, folder)
    say(f"{len(files)} files are in {folder}: {fetched} fetched, {len(files) - fetched} were there.")
    return 0


def is_there(file: ModelFile, folder: Path) -> bool:
    """Whether a whole file lies in its place. InputError for another one of its name, which stays untouched."""
    finding = inspect(file, folder)
    if finding.state == DAMAGED:
        raise InputError(f"{folder / file.place}: {finding.detail}.", "Move it away or remove it, then run this again.")
    if finding.state != MISSING:
        say(f"is there: {file.place} ({finding.detail})")
    return finding.state != MISSING


def agreed(file: ModelFile) -> hub.Remote:
    """What the hub says of a file. InputError where the table says otherwise, before anything is fetched."""
    remote = hub.look(file.repository, file.path, file.revision)
    for what, ours, theirs in (("bytes", file.size, remote.size), ("SHA-256", file.sha256, remote.sha256)):
        if None not in (ours, theirs) and ours != theirs:
            raise InputError(
                f"{file.repository}: {file.path}: {what} {theirs} at {hub.constants.ENDPOINT}, {ours} in the table.",
                "The file there is another one than this pack was written for. Look for a newer version of the pack, "
                "give a corrected table with --table, or try without HF_ENDPOINT.",
            )
    return remote


def check_space(remotes: dict[ModelFile, hub.Remote], folder: Path) -> None:
    """InputError when a disk has less room than what is still to come to it; folders of models may be on several."""
    needed, places = defaultdict(int), {}
    for file, remote in remotes.items():
        target = folder / file.place
        there = next(parent for parent in target.parents if parent.exists())
        disk = there.stat().st_dev
        needed[disk] += remote.size - min(hub.arrived(hub.part_path(target, remote)), remote.size)
        places[disk] = there
    for disk, place in places.items():
        free = shutil.disk_usage(place).free
        if free < needed[disk]:
            raise InputError(
                f"{place}: {size_text(free)} left on the disk, {size_text(needed[disk])} are to be fetched.",
                "Free some space, choose a smaller profile, or give a folder on another disk with --to.",
            )


def obtain(file: ModelFile, remote: hub.Remote, folder: Path) -> bool:
    """Fetch one file; it has its name only when it is whole and its checksum is right.

    False where another process has fetched it since it was missing.
    """
    target = folder / file.place
    lock = FileLock(f"{target}.lock", timeout=0)
    try:
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with lock:
                try:
                    if is_there(file, folder):
                        return False
                    obtain_alone(file, remote, target)
                    return True
                finally:
                    discard(Path(lock.lock_file))
    except Timeout as error:
        raise InputError(f"{file.place}: another process is fetching it.", "Wait for its end, or end it.") from error


def obtain_alone(file: ModelFile, remote: hub.Remote, target: Path) -> None:
    part = hub.part_path(target, remote)
    for other in target.parent.glob(f"{escape(target.name)}.*.part"):
        if other != part:
            other.unlink()  # of another version of the file
    hub.fetch(remote, part, file.name)
    digest = sha256_of(part)
    wanted, source = (file.sha256, FROM_TABLE) if file.sha256 else (remote.sha256, FROM_HUB)
    if wanted and digest != wanted:
        part.unlink()
        raise InputError(
            f"{file.place}: what {hub.constants.ENDPOINT} sent has SHA-256 {digest}, by {source} it is {wanted}.",
            f"It was removed. Run the same command again; if it stays so, another file is served. {hub.MIRROR}",
        )
    if not file.sha256:
        write_whole(record_path(target), f"{digest}  {file.name}\n".encode())
    publish(part, target)
