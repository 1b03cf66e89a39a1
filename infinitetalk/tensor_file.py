"""What a model file says about itself before any tensor is loaded: shapes, dtypes, metadata; and what is no such file.

By its content, whatever its name: safetensors and GGUF are read; what people save in their place (a web page, a Git LFS
pointer, a pickle, half a download) is refused by name. Nothing is unpickled. Knows no host and no kind of model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from .errors import InputError
from .gguf_file import MAGIC, NotGguf, gguf_header

# .../diffusion_pytorch_model-00002-of-00007.safetensors
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.safetensors)$", re.DOTALL)
_HEAD = 64  # bytes that tell what a file is
_AGAIN = "Fetch it again."


@dataclass(frozen=True)
class Header:
    """Key -> shape; key -> dtype ("F32", "F8_E4M3", of GGUF "Q8_0"); the maker's notes; bytes on the disk."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    gguf: bool = False


def read_header(path: str | Path, label: str) -> Header:
    """Of one file, or of all parts of a model when `path` is one of them; label: the input, for errors.

    Raises InputError for a file that is absent, cut off or something else, and for missing parts.
    """
    headers = [_read_one(Path(part), label) for part in model_parts(path, label)]
    if len(headers) == 1:
        return headers[0]
    whole = Header(bytes=sum(header.bytes for header in headers))
    for header in headers:
        whole.shapes.update(header.shapes)
        whole.dtypes.update(header.dtypes)
        whole.metadata.update(header.metadata)
    return whole


def read_some(path: str | Path, label: str, wanted: Callable[[str, int], bool]) -> Iterator[tuple[str, torch.Tensor]]:
    """(key, tensor) of all parts of a safetensors model, one after the other; wanted: of a key and its sides."""
    for part in model_parts(path, label):
        with safe_open(part, framework="pt") as file:
            for key in file.keys():
                if wanted(key, len(file.get_slice(key).get_shape())):
                    yield key, file.get_tensor(key)


def model_parts(path: str | Path, label: str) -> list[str]:
    """The files of a model: `path` alone, or all its parts in order. Raises InputError naming the missing ones."""
    found = _PART.match(str(path))
    if not found:
        return [str(path)]
    stem, count, end = found["stem"], found["count"], found["end"]
    parts = [f"{stem}-{number:05d}-of-{count}{end}" for number in range(1, int(count) + 1)]
    missing = [Path(part).name for part in parts if not Path(part).is_file()]
    if missing:
        raise InputError(
            f"{label}: {len(missing)} of the model's {len(parts)} parts are missing: {', '.join(missing[:3])}.",
            f"Put them beside {Path(path).name}.",
        )
    return parts


def first_parts(names: Sequence[str]) -> list[str]:
    """File names of which a model in parts keeps the first one that is there."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for name in sorted(names, key=lambda name: (bool(_PART.match(name)), name)):
        part = _PART.match(name)
        if part is None or (part["stem"], part["count"]) not in seen:
            kept.append(name)
        if part:
            seen.add((part["stem"], part["count"]))
    return [name for name in names if name in set(kept)]


def is_part(path: str | Path) -> bool:
    """Whether a file is, by its name, one of several of a model."""
    return _PART.match(str(path)) is not None


def _read_one(path: Path, label: str) -> Header:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(_HEAD)
        stranger = _stranger(head)
        if stranger:
            raise InputError(f"{label}: {path.name} {stranger[0]}.", stranger[1])
        if head.startswith(MAGIC):
            return Header(*gguf_header(path), {}, size, gguf=True)
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = {key: part.get_dtype() for key, part in slices.items()}
            return Header(shapes, dtypes, file.metadata() or {}, size)
    except (SafetensorError, OSError, NotGguf) as error:
        raise InputError(
            f"{label}: {path.name} is not a readable safetensors or GGUF file ({error}).",
            "The download is incomplete or the file is of another format: fetch it again.",
        ) from error


def _stranger(head: bytes) -> tuple[str, str] | None:
    """(what a file is, what to do) when its first bytes are not a model's."""
    text = head.lstrip().lower()
    if not head:
        return "is empty", _AGAIN
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, a few lines of text in place of the file", "Run git lfs pull, or download it."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page that was saved in place of the file", "Use the page's download button."
    if head.startswith(b"PK\x03\x04") or re.match(rb"\x80[\x02-\x05]", head):
        return (
            "is a PyTorch pickle, which can run code when it is read, under another name",
            "Choose a .safetensors or .gguf file.",
        )
    if text.startswith((b"{", b"[")):
        return "is a text file (JSON)", "Choose the .safetensors file beside it."
    return None
