"""Sound and features of long recordings in the host's temp folder, which the host empties when it starts.

Names follow from content, so the same recording finds its file again instead of making another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import folder_paths

from ..disk import check_writable
from ..sound import MemorySound, Sound, SpooledSound, is_long, pieces, reopen, spool

FOLDER = "InfiniteTalk"
_ITEM = 4  # bytes of a sample


def kept_path(kind: str, told: str, ending: str, room: int = 0) -> Path:
    """Where a file of this kind made of what `told` says belongs. room: bytes it needs. Raises InputError."""
    folder = Path(folder_paths.get_temp_directory()) / FOLDER
    path = folder / f"{kind}-{hashlib.sha256(told.encode()).hexdigest()[:24]}.{ending}"
    check_writable(folder, None if path.exists() else room)
    return path


def settled(sound: Sound, kind: str, told: str) -> MemorySound | SpooledSound:
    """The sound as plain samples: in memory, or on disk when it is long. told: what determines it."""
    if isinstance(sound, (MemorySound, SpooledSound)):
        return sound
    if not is_long(sound):
        return MemorySound(sound.read(0, sound.samples)[None], sound.rate)
    path = kept_path(kind, told, "f32", sound.samples * sound.channels * _ITEM)
    return reopen(path) or spool(pieces(sound), sound.rate, path)


def as_audio(sound: MemorySound | SpooledSound) -> dict:
    """A host AUDIO; of a sound on disk its samples stay there until somebody looks at them."""
    waveform = sound.mapped() if isinstance(sound, SpooledSound) else sound.waveform
    return {"waveform": waveform, "sample_rate": sound.rate}


def spooled_file(path: str, open_file: Callable[[str, Path], SpooledSound]) -> SpooledSound:
    """The sound of a file, decoded by `open_file` once for each state of the file."""
    stat = os.stat(path)
    target = kept_path("speech", f"{os.path.abspath(path)} {stat.st_size} {stat.st_mtime_ns}", "f32")
    return reopen(target) or open_file(path, target)
