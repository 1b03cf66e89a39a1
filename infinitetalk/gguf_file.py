"""The tensors of a GGUF file, dequantised.

GGUF stores matrices in blocks of 32 or 256 numbers with scales of their own; the `gguf` package knows every kind.
Knows keys and numbers; no host, no adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .errors import InputError
from .gguf_header import stored_tensors


def gguf_tensors(
    path: str | Path, dtype: torch.dtype, wanted: Callable[[str], bool] = lambda key: True, label: str = "adapter"
) -> dict[str, torch.Tensor]:
    """Key -> tensor in `dtype`, dequantised one after the other, so that only one is in float32 at a time.

    wanted: of a key; the rest of the file is left on the disk. label: the input, for errors. Raises NotGguf.
    """
    package = gguf_package(label)
    found = {}
    for key, tensor in stored_tensors(path).items():
        if not wanted(key):
            continue
        blocks = np.fromfile(path, np.uint8, tensor.bytes, offset=tensor.start).reshape(-1, max(1, tensor.row_bytes))
        try:
            values = package.quants.dequantize(blocks, package.GGMLQuantizationType[tensor.kind])
        except (NotImplementedError, KeyError) as error:
            raise InputError(
                f"{label}: {Path(path).name}: {key} is stored as {tensor.kind}, which the gguf package cannot decode.",
                "Choose one in Q8_0, Q6_K, Q5_K, Q4_K or F16, or a .safetensors file.",
            ) from error
        found[key] = torch.from_numpy(values).to(dtype).reshape(tensor.shape)
    return found


def gguf_package(label: str):
    """The package, imported when the first such file is chosen: without it all other files load."""
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            f"{label}: GGUF files are read by the package gguf, which cannot be imported ({error}).",
            'Run pip install "gguf>=0.17,<1" with ComfyUI\'s Python, or choose a .safetensors file.',
        ) from error
    return gguf
