"""Whether a model file that lies in its place is whole: its size, and its checksum by the best source there is.

The table's checksum is asked first; then the one that was recorded beside the file when it was fetched (NAME.sha256,
as `sha256sum -c` reads it); then the hub's own, for which alone a package is needed. Changes no file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from infinitetalk.sizes import size_text

from .models_table import ModelFile
from .packages import needed

OK, MISSING, DAMAGED, UNKNOWN = "ok", "missing", "damaged", "unknown"
FROM_TABLE, FROM_RECORD, FROM_HUB = "the table", "the record beside it", "the hub"
BLOCK = 1 << 20


class Finding(NamedTuple):
    """state: of a file, one of OK, MISSING, DAMAGED (or another file) and UNKNOWN; detail: why, in a few words."""

    state: str
    detail: str


class Expected(NamedTuple):
    """What a file should be. sha256 None: nobody knows."""

    size: int | None
    sha256: str | None
    source: str


def record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def sha256_of(path: Path) -> str:
    result = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            result.update(block)
    return result.hexdigest()


def expected(file: ModelFile, target: Path) -> Expected:
    """Size and checksum by the table, the record beside the file, or the hub, which can fail (InputError)."""
    if file.sha256:
        return Expected(file.size, file.sha256, FROM_TABLE)
    record = record_path(target)
    match = re.match(r"([0-9a-f]{64})\s", record.read_text(encoding="utf-8")) if record.is_file() else None
    if match:
        return Expected(file.size, match[1], FROM_RECORD)
    with needed():
        from . import hub
    remote = hub.look(file.repository, file.path, file.revision)
    return Expected(file.size or remote.size, remote.sha256, FROM_HUB)


def inspect(file: ModelFile, folder: Path) -> Finding:
    """What there is of a file below the models folder; reads all of it.

    Raises OSError where it cannot be read, InputError where only the hub knows a checksum and cannot be asked.
    """
    target = folder / file.place
    if target.is_dir():
        return Finding(DAMAGED, "is a folder, where a file of this name belongs")
    above = next(parent for parent in target.parents if parent.exists())
    if not above.is_dir():
        return Finding(DAMAGED, f"{above} is a file, where a folder of this name belongs")
    if not target.is_file():
        return Finding(MISSING, "")
    size = target.stat().st_size
    if file.size and size != file.size:
        return Finding(DAMAGED, f"has {size:,} bytes, by {FROM_TABLE} {file.size:,}")
    wanted = expected(file, target)
    if wanted.size and size != wanted.size:
        return Finding(DAMAGED, f"has {size:,} bytes, by {wanted.source} {wanted.size:,}")
    if not wanted.sha256:
        return Finding(UNKNOWN, f"{size_text(size)} as {wanted.source} tells, which has no checksum of it")
    digest = sha256_of(target)
    if digest != wanted.sha256:
        return Finding(DAMAGED, f"has SHA-256 {digest}, by {wanted.source} {wanted.sha256}")
    return Finding(OK, f"{size_text(size)}, checksum of {wanted.source}")
