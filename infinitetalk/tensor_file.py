"""What a model says about itself before any tensor is loaded: of one file, safetensors or GGUF, or of all its parts.

By its content, whatever its name; what people save in place of a model is refused by name, and nothing is unpickled.
Knows no host and no kind of model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from .errors import InputError
from .gguf_header import NotGguf, gguf_header, is_gguf
from .parts import model_parts
from .safetensors_header import Header, NotSafetensors
from .safetensors_header import read_header as safetensors_header


def read_header(path: str | Path, label: str, parts: bool = True) -> Header:
    """Of one file, or of all parts of a model when `path` is one of them; label: the input, for errors.

    parts: False reads `path` alone.

    Raises InputError for a file that is absent, cut off or something else, and for missing parts.
    """
    headers = [_read_one(Path(part), label) for part in (model_parts(path, label) if parts else [path])]
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
