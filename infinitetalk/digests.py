"""sha256 of values and files: two equal inputs of a run have equal digests, in every process.

Knows tensors, plain values and dataclasses, not what they are for.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

BLOCK = 1 << 20  # bytes read or hashed at once
WHOLE = 256 << 20  # bytes; larger files are only sampled by `sampled_digest`
SAMPLES = 64  # blocks of a larger file, evenly spread, its first and last included


def digest(*values: Any) -> str:
    """sha256 hex of plain values, tensors (kind, shape and bytes), containers and dataclasses of them.

    An object with a text `identity` counts as that; of anything else only the type counts, because nothing
    about it is known to be the same in another process.
    """
    result = hashlib.sha256()
    _update(result, values)
    return result.hexdigest()


def file_digest(path: str | Path) -> str:
    """sha256 hex of a file's bytes. Raises OSError."""
    result = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            result.update(block)
    return result.hexdigest()


def sampled_digest(path: str | Path) -> str:
    """As file_digest; of a file above 256 MB its size and 64 blocks of 1 MB, so that 30 GB take no minute.

    The first block holds the header of a model file; two trainings of one model differ everywhere.
    """
    size = os.path.getsize(path)
    if size <= WHOLE:
        return file_digest(path)
    result = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for index in range(SAMPLES):
            file.seek((size - BLOCK) * index // (SAMPLES - 1))
            result.update(file.read(BLOCK))
    return result.hexdigest()


def _update(result: Any, value: Any) -> None:
    """Every value is preceded by its kind, every container by its length, so that different nestings differ."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().contiguous()
        result.update(f"tensor {tensor.dtype} {tuple(tensor.shape)}:".encode())
        flat = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else tensor.reshape(-1).to(torch.uint8)
        for start in range(0, len(flat), BLOCK):
            result.update(flat[start : start + BLOCK].numpy().tobytes())
    elif value is None or isinstance(value, (bool, int, float, str)):
        text = repr(value)
        result.update(f"{type(value).__name__} {len(text)}:{text}".encode(errors="surrogatepass"))
    elif isinstance(value, bytes):
        result.update(f"bytes {len(value)}:".encode() + value)
    elif isinstance(value, (list, tuple)):
        result.update(f"list {len(value)}:".encode())
        for one in value:
            _update(result, one)
    elif isinstance(value, dict):
        result.update(f"dict {len(value)}:".encode())
        for key in sorted(value, key=str):
            _update(result, str(key))
            _update(result, value[key])
    elif isinstance(getattr(value, "identity", None), str):
        _update(result, value.identity)
    elif is_dataclass(value) and not isinstance(value, type):
        result.update(type(value).__qualname__.encode())
        _update(result, {field.name: getattr(value, field.name) for field in fields(value)})
    else:
        result.update(f"object {type(value).__module__}.{type(value).__qualname__}".encode())
