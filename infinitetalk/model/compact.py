"""An adapter's tensors made small: matrices in fp8 with one scale each, or everything in a 16-bit type.

fp8 is written in ComfyUI's own marking (`quantised.py`), so that its layers, and ours, keep it in 8 bits. Knows
tensors and keys; no files, no host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import torch

COMPACT = ("fp8", "bf16", "fp16")
FP8, LARGEST = torch.float8_e4m3fn, 448.0
NOTE = json.dumps({"format": "float8_e4m3fn"}).encode()
WIDE = {"bf16": torch.bfloat16, "fp16": torch.float16}


def fp8_matrix(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(float8_e4m3fn [out, in], float32 scale): the product is each number to 2^-4 of itself or 2^-18 of the most."""
    weight = weight.float()
    most = weight.abs().max()
    scale = torch.where(most > 0, most / LARGEST, torch.ones_like(most))
    return (weight / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


def compact(tensors: Mapping[str, torch.Tensor], form: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Key by key what is to be written; one tensor is in float32 at a time.

    tensors: as `quantised.one_marking` gives them. form: one of COMPACT. With fp8 what is no matrix is kept in the
    file's own 16-bit type, bfloat16 if it has none, and a matrix that is fp8 already stays as it is. Raises
    ValueError for a number that fp16 cannot hold.
    """
    wide = WIDE.get(form) or _sixteen(tensors)
    for key, value in tensors.items():
        name = key.removesuffix(".weight")
        if key.endswith((".weight_scale", ".comfy_quant")):
            continue
        scale = tensors.get(f"{name}.weight_scale")
        if form == "fp8" and key.endswith(".weight") and value.ndim == 2:
            quantised = (value, scale) if value.dtype == FP8 else fp8_matrix(_plain(value, scale))
            yield key, quantised[0]
            yield f"{name}.weight_scale", quantised[1].float()
            yield f"{name}.comfy_quant", torch.tensor(list(NOTE), dtype=torch.uint8)
            continue
        value = _plain(value, scale)
        found = value.to(wide)
        if wide == torch.float16 and not torch.isfinite(found).all() and torch.isfinite(value).all():
            raise ValueError(f"{key} holds {value.abs().max().item():.4g}, more than fp16 can")
        yield key, found


def compact_bytes(shapes: Mapping[str, tuple[int, ...]], form: str) -> int:
    """Bytes of what `compact` writes for plain weights of these shapes."""
    total = 0
    for key, shape in shapes.items():
        count = torch.Size(shape).numel()
        small = form == "fp8" and key.endswith(".weight") and len(shape) == 2
        total += count + 4 + len(NOTE) if small else 2 * count
    return total


def _plain(value: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    return value if scale is None else value.float() * scale


def _sixteen(tensors: Mapping[str, torch.Tensor]) -> torch.dtype:
    kinds = [value.dtype for value in tensors.values() if value.dtype in WIDE.values()]
    return kinds[0] if kinds else torch.bfloat16
