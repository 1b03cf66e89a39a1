"""The markings of quantised adapter files, brought to one: ComfyUI's own, so that its layers keep the weights.

A marked matrix is `X.weight` (8-bit), `X.weight_scale` (float32) and `X.comfy_quant` (JSON bytes: its format). Knows
keys, dtypes and tensors; no host, no file and no adapter.

| found in files | from | becomes |
|---|---|---|
| `scaled_fp8`, `X.scale_weight` | fp8-scaled repacks, older | float8_e4m3fn or float8_e5m2, by the weight |
| `X.weight_scale` alone | fp8-scaled repacks, newer | the same |
| `X.comfy_quant`, or `_quantization_metadata` in the header | ComfyUI | as it says |
| `X.weight._data`, `X.weight._scale` of int8 [out, 1] | optimum-quanto | int8_tensorwise, a scale for each row |
| the same of fp8 | optimum-quanto | a float weight: ComfyUI's fp8 has one scale for all rows |
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

FORMATS = {
    torch.float8_e4m3fn: "float8_e4m3fn",
    torch.float8_e5m2: "float8_e5m2",
    torch.int8: "int8_tensorwise",
}
_DATA, _ROWS = ".weight._data", ".weight._scale"  # of quanto
_SCALES = (".scale_weight", ".weight_scale")
_TOLD = {"quanto 8-bit": (_DATA,), "ComfyUI 8-bit": (".comfy_quant",), "scaled 8-bit": (*_SCALES, "scaled_fp8")}
_NOTES = (".comfy_quant", ".scale_input", ".input_scale", ".input_scale._data", ".output_scale", "scaled_fp8")


def plain_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's weights without their markings: scales and notes left out, quanto's names undone."""
    return {
        f"{key[: -len(_DATA)]}.weight" if key.endswith(_DATA) else key: shape
        for key, shape in shapes.items()
        if not key.endswith((*_SCALES, *_NOTES, _ROWS))
    }


def marking(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """How a file's weights are stored, for people; "" for plain numbers."""
    for told, ends in _TOLD.items():
        if any(key.endswith(ends) for key in shapes):
            return told
    return ""


def one_marking(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None, wide: torch.dtype
) -> tuple[dict[str, torch.Tensor], bool]:
    """(tensors in the one marking, whether any weight is quantised).

    metadata: of the file's header. wide: the dtype of what is not quantised. Activation scales are dropped: the product
    multiplies in `wide`. Raises ValueError naming the weight for 8-bit data without its scale
    or in a format of another name (with rotated or finer scaled blocks).
    """
    told = json.loads((metadata or {}).get("_quantization_metadata", "{}")).get("layers", {})
    found: dict[str, torch.Tensor] = {}
    quantised = False
    for key, value in tensors.items():
        if key.endswith((*_SCALES, *_NOTES, _ROWS)):
            continue
        name = key.removesuffix(_DATA) if key.endswith(_DATA) else key.removesuffix(".weight")
        scale = next((tensors[name + mark] for mark in (*_SCALES, _ROWS) if name + mark in tensors), None)
        if scale is None or value.dtype not in FORMATS:
            if value.dtype in (torch.int8, torch.uint8):
                raise ValueError(f"{key} is {str(value.dtype).removeprefix('torch.')} without a scale")
            found[key] = value.to(wide)
            continue
        given = tensors.get(f"{name}.comfy_quant")
        note = told.get(name) or (None if given is None else json.loads(bytes(given.tolist()))) or {}
        form = FORMATS[value.dtype]
        if note.get("format", form) != form or note.get("convrot"):
            raise ValueError(f"{key} is quantised as {json.dumps(note)}, which is not known here")
        scale = scale.float()
        if value.dtype != torch.int8 and scale.numel() > 1:
            found[f"{name}.weight"] = (value.float() * scale.reshape(-1, 1)).to(wide)
            continue
        found[f"{name}.weight"] = value
        found[f"{name}.weight_scale"] = scale.reshape(-1, 1) if scale.numel() > 1 else scale.reshape(())
        found[f"{name}.comfy_quant"] = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
        quantised = True
    return found, quantised
