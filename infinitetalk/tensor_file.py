"""What a model says about itself before any tensor is loaded: of one file, safetensors or GGUF, or of all its parts.

By its content, whatever its name; what people save in place of a model is refused by name, and nothing is unpickled.
Knows no host and no kind of model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from .errors import InputError
from .gguf_file import NotGguf, gguf_header, is_gguf
from .safetensors_header import Header, NotSafetensors
from .safetensors_header import read_header as safetensors_header

# .../diffusion_pytorch_model-00002-of-00007.safetensors
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.safetensors)$", re.DOTALL)


def read_header(path: str | Path, label: str) -> Header:
    """Of one file, or of all parts of a model when `path` is one of them; label: the input, for errors.

    Raises InputError for a file that is absent, cut off or something else, and for missing parts.
    """
    headers = [_read_one(Path(part), label) for part in model_parts(path, label)]
    whole = headers[0]
    for header in headers[1:]:
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


def model_bytes(path: str | Path, label: str) -> int:
    """Of a file, or of all parts of a model."""
    return sum(os.path.getsize(part) for part in model_parts(path, label))


def _read_one(path: Path, label: str) -> Header:
    try:
        if is_gguf(path):
            return Header(*gguf_header(path), {})
        return safetensors_header(path)
    except (OSError, NotGguf, NotSafetensors) as error:
        raise InputError(
            f"{label}: {path.name} is not a readable safetensors or GGUF file ({error}).",
            "The download is incomplete or the file is of another format: fetch it again.",
        ) from error
