"""The output folder: is it writable, has it room, and what an error while writing means for the user.

Knows paths and errno only: no video, no tensors.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError
from .sizes import size_text

_PRIVATE = 0o600  # of a file that mkstemp or the safetensors library has made
_MASK = os.umask(0o077)  # it can only be read by setting it
os.umask(_MASK)

# EFBIG is a file size limit (quota by ulimit, FAT32's 4 GB); EDQUOT does not exist on Windows.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.EEXIST}


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Around the writing of `path`: turns an error that the disk is the cause of into an InputError."""
    try:
        yield
    except Exception as error:
        known = _explain(error, Path(path))
        if known is None:
            raise
        raise known from error


def _explain(error: Exception, path: Path) -> InputError | None:
    number = getattr(error, "errno", None)  # PyAV's errors carry errno, not all of them are OSErrors
    if number in _FULL:
        return InputError(
            f"{path}: the disk is full ({size_text(_free(path.parent))} left).",
            "Free some space or choose a folder on another disk, then run again.",
        )
    if number in _CLOSED:
        return InputError(
            f"{path}: it cannot be written ({os.strerror(number)}).",
            "Choose another folder, or give the user that runs this program the right to write there.",
        )
    return None


def check_writable(folder: str | Path, expected_bytes: int | None = None) -> None:
    """Make sure that files can be written in `folder` (made if missing), and that it has room.

    Writes a small file and removes it again. expected_bytes: room needed, not checked when None.
    Raises InputError.
    """
    folder = Path(folder)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
    free = _free(folder)
    if expected_bytes is not None and free < expected_bytes:
        raise InputError(
            f"{folder}: {size_text(free)} left on the disk, this video may need {size_text(expected_bytes)}.",
            "Free some space or choose a folder on another disk.",
        )


def publish(part: Path, final: Path) -> None:
    """Give a finished file its final name, whole on disk before it has it. An older file there is replaced.

    It may be read by whoever may read other new files, however it was made. Raises OSError.
    """
    with open(part, "rb+") as file:
        if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) == _PRIVATE:
            os.fchmod(file.fileno(), 0o666 & ~_MASK)
        os.fsync(file.fileno())
    os.replace(part, final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows cannot open a folder for this. Raises OSError."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def whole(path: Path, mark: str = "part") -> Iterator[Path]:
    """A path beside `path` to write to, NAME.mark.ENDING, which gets its name when the block ends well.

    Until then, and after an error, nothing appears and nothing is left. Raises InputError for a disk that is full
    or cannot be written.
    """
    part = path.with_name(f"{path.stem}.{mark}{path.suffix}")
    try:
        with explained(path):
            yield part
            publish(part, path)
    finally:
        discard(part)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all, also after a power loss. Raises OSError."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        publish(part, path)
    finally:
        discard(part)


def discard(path: Path) -> None:
    """Remove a file if it is there; a folder that is gone or closed is no error."""
    with contextlib.suppress(OSError):
        path.unlink()


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0  # only for the text of a message; the folder itself is what is wrong
