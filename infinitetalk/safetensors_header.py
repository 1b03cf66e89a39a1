"""The header of a safetensors file: names, dtypes and shapes, without mapping the file into memory.

The safetensors package maps the whole file, which a machine with less memory than the file may refuse. Knows no
model. Source: the published format, 8 bytes of length, JSON, then the numbers.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_HEADER = 100_000_000  # bytes; the format's own limit
POINTER = b"version https://git-lfs"


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
            entries = {key: value for key, value in found.items() if key != "__metadata__"}
            end = max((value["data_offsets"][1] for value in entries.values()), default=0)
            shapes = {key: tuple(value["shape"]) for key, value in entries.items()}
            dtypes = {key: value["dtype"] for key, value in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise NotSafetensors(f"its header cannot be read ({error})") from error
    if 8 + length + end != size:
        raise NotSafetensors(f"it has {size} bytes where its header says {8 + length + end}")
    return Header(shapes, dtypes, found.get("__metadata__") or {})


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
