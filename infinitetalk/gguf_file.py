"""GGUF files: what is in them, from the header alone, and their tensors dequantised.

GGUF stores widths before heights, and matrices in blocks of 32 or 256 numbers with scales of their own; the `gguf`
package knows every kind. Knows keys, shapes and numbers; no host, no adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from .errors import InputError

MAGIC = b"GGUF"


class NotGguf(Exception):
    """A file that begins as GGUF does and is cut off or of no known kind."""


def is_gguf(path: str | Path) -> bool:
    """Whether a file begins as GGUF does, whatever its name. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def gguf_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """(key -> shape as torch has it, key -> how it is stored: "F32", "Q8_0", "Q4_K" ...). Raises NotGguf."""
    reader = _reader(path)
    shapes = {tensor.name: _shape(tensor, reader) for tensor in reader.tensors}
    return shapes, {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}


def gguf_tensors(
    path: str | Path, dtype: torch.dtype, wanted: Callable[[str], bool] = lambda key: True
) -> dict[str, torch.Tensor]:
    """Key -> tensor in `dtype`, dequantised one after the other, so that only one is in float32 at a time.

    wanted: of a key; the rest of the file is left on the disk.
    """
    dequantize = _package().quants.dequantize
    found, reader = {}, _reader(path)
    for tensor in filter(lambda tensor: wanted(tensor.name), reader.tensors):
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        found[tensor.name] = values.to(dtype).reshape(_shape(tensor, reader))
    return found


def _shape(tensor, reader) -> tuple[int, ...]:
    """As torch has it: a tensor of more sides than GGUF allows is stored flat, with its shape beside it."""
    field = reader.get_field(f"comfy.gguf.orig_shape.{tensor.name}")
    if field is not None:
        return tuple(int(field.parts[part][0]) for part in field.data)
    return tuple(int(side) for side in reversed(tensor.shape))


def _reader(path: str | Path):
    package = _package()
    try:
        return package.GGUFReader(path)
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise NotGguf(f"it is no whole GGUF file ({type(error).__name__}: {error})") from error


def _package():
    """The package, imported when the first such file is read: without it all other files load."""
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            f"adapter: GGUF files are read by the package gguf, which cannot be imported ({error}).",
            'Run pip install "gguf>=0.17,<1" with ComfyUI\'s Python, or choose a .safetensors file.',
        ) from error
    return gguf
