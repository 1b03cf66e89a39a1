"""The header of a safetensors file: names, dtypes and shapes, without mapping the file into memory.

The safetensors package maps the whole file, which a machine with less memory than the file may refuse. What it
demands of a header is demanded here: tensors one after the other, each as long as its shape says, names and notes in
text. Knows no model. Source: the published format, 8 bytes of length, JSON, then the numbers.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_HEADER = 100_000_000  # bytes; the format's own limit
MAX_SIDES = 64  # more than torch has
POINTER = b"version https://git-lfs"
_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class NotSafetensors(Exception):
    """A file that is no whole safetensors file; the text says why."""


@dataclass(frozen=True)
class Header:
    """shapes, dtypes (as the format names them, such as "F8_E4M3"): by key. metadata: what the writer noted."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]


def read_header(path: str | Path) -> Header:
    """Raises NotSafetensors, also for a file that ends before its numbers do, and OSError."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > MAX_HEADER or 8 + length > size:
            raise NotSafetensors(what_is(start + file.read(56)))
        try:
            found = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise NotSafetensors(f"its header cannot be read ({error})") from error
    metadata = _metadata(found)
    end = _end_of(found)
    if 8 + length + end != size:
        raise NotSafetensors(f"it has {size} bytes where its header says {8 + length + end}")
    shapes = {key: tuple(value["shape"]) for key, value in found.items()}
    return Header(shapes, {key: value["dtype"] for key, value in found.items()}, metadata)


def _metadata(found: object) -> dict[str, str]:
    """What the writer noted, taken out of the entries."""
    if not isinstance(found, dict):
        raise NotSafetensors(f"its header is a {type(found).__name__}, no table of tensors")
    metadata = found.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotSafetensors("the notes in its header are not all text")
    return metadata


def _end_of(entries: dict[str, object]) -> int:
    """Bytes of all tensors, which have to lie one after the other."""
    end = 0
    for start, stop, key in sorted((*_place(key, entry), key) for key, entry in entries.items()):
        if start != end:
            raise _damaged(key, f"begins at byte {start} where {end} is due")
        end = stop
    return end


def _place(key: str, entry: object) -> tuple[int, int]:
    """Where a tensor begins and ends, when all that its entry says holds together."""
    if not isinstance(entry, dict):
        raise _damaged(key, f"is described by a {type(entry).__name__}")
    dtype, shape, place = (entry.get(name) for name in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str):
        raise _damaged(key, "has no dtype")
    if not _whole(shape) or len(shape) > MAX_SIDES:
        raise _damaged(key, f"has the shape {str(shape)[:60]}")
    if not _whole(place) or len(place) != 2 or place[0] > place[1]:
        raise _damaged(key, f"has the place {str(place)[:60]}")
    bits = _BITS.get(dtype)  # of a dtype that is not known nobody can say how much it takes
    if bits is not None and math.prod(shape) * bits != 8 * (place[1] - place[0]):
        raise _damaged(key, f"has {place[1] - place[0]} bytes for {dtype} of shape {str(shape)[:60]}")
    return place[0], place[1]


def _whole(numbers: object) -> bool:
    """Whether it is a list of whole numbers, none below zero."""
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)


def _damaged(key: str, what: str) -> NotSafetensors:
    return NotSafetensors(f"its header is damaged: {key[:80]!r} {what}")


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is one of PyTorch's, which may run code when it is unpickled."""
    return start.startswith(b"PK\x03\x04") or re.match(rb"\x80[\x02-\x05]", start) is not None


def what_is(start: bytes) -> str:
    """What a file that begins so and is no safetensors file probably is; 64 bytes are enough."""
    if not start:
        return "it is empty"
    if start.startswith(POINTER):
        return "it is a Git LFS pointer, not the file itself"
    if start.lstrip()[:1] == b"<":
        return "it is a web page"
    if is_pickle(start):
        return "it is a pickled file under another name, which could run code"
    if start.lstrip()[:1] in (b"{", b"["):
        return "it is text (JSON)"
    return "it begins as no safetensors file does"
