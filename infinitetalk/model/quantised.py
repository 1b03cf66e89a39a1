"""The markings of quantised files, brought to one: ComfyUI's own, so that its layers keep the weights.

A marked matrix is `X.weight` (8-bit), `X.weight_scale` (float32) and `X.comfy_quant` (JSON bytes: its format). Knows
keys, dtypes and tensors; no host, no file and no adapter.

| found in files | from | becomes |
|---|---|---|
| `scaled_fp8`, `X.scale_weight` | fp8-scaled repacks, older | float8_e4m3fn or float8_e5m2, by the weight |
| `X.weight_scale` alone, one number | fp8-scaled repacks, newer | the same |
| `X.comfy_quant`, or `_quantization_metadata` in the header | ComfyUI | as it says |
| `X.weight._data`, `X.weight._scale` of int8 [out, 1] | optimum-quanto | int8_tensorwise, a scale for each row |
| the same of fp8; `X.weight_scale` [out, 1] of fp8 | optimum-quanto; LightX2V | int8_tensorwise, quantised anew |

ComfyUI's fp8 has one scale for all rows, hence the last line: 16-bit floats would take twice the memory, and int8 with
a scale for each row is finer than fp8.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch

from .keys import plain_key

FORMATS = {
    torch.float8_e4m3fn: "float8_e4m3fn",
    torch.float8_e5m2: "float8_e5m2",
    torch.int8: "int8_tensorwise",
}
_DATA, _ROWS = ".weight._data", ".weight._scale"  # of quanto
_SCALES = (".scale_weight", ".weight_scale")
_NOTES = (
    ".comfy_quant", ".scale_input", ".input_scale", ".input_scale._data", ".output_scale", ".weight_scale_2",
    "scaled_fp8",
)  # fmt: skip
_TOLD = {"quanto": (_ROWS,), "ComfyUI's": (".comfy_quant",), "scaled": (*_SCALES, "scaled_fp8")}
_NUMBERS = {
    "F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8", "U8": "4-bit", "F8_E4M3": "fp8",
    "F8_E5M2": "fp8 (e5m2)",
}  # fmt: skip
_NO_NUMBER = {  # of 8-bit floats, by torch's names since not every torch has all: (mask, what of it is no number)
    "float8_e4m3fn": (0x7F, 0x7F), "float8_e5m2": (0x7C, 0x7C), "float8_e8m0fnu": (0xFF, 0xFF),
    "float8_e4m3fnuz": (0xFF, 0x80), "float8_e5m2fnuz": (0xFF, 0x80),
}  # fmt: skip
_HEADER = "_quantization_metadata"  # ComfyUI's, in the header
_CHUNK = 1024  # rows quantised at once: 56 MB in float32 of the widest matrix of 14B

Shapes = Mapping[str, tuple[int, ...]]


def plain_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's weights without their markings: scales and notes left out, quanto's names undone."""
    return {
        f"{key[: -len(_DATA)]}.weight" if key.endswith(_DATA) else key: shape
        for key, shape in shapes.items()
        if not key.endswith((*_SCALES, *_NOTES, _ROWS))
    }


def marking(shapes: Shapes, dtypes: Mapping[str, str] | None = None) -> str:
    """How a file's weights are stored, for people; "" where the header does not tell.

    dtypes: key -> dtype as the header names it. The commonest dtype by numbers of weights is the file's.
    """
    sizes: dict[str, int] = {}
    for key, shape in shapes.items():
        dtype = (dtypes or {}).get(key, "")
        sizes[dtype] = sizes.get(dtype, 0) + math.prod(shape)
    dtype = max(sizes, key=lambda name: sizes[name], default="")
    number = _NUMBERS.get(dtype, f"GGUF {dtype}" if dtype else "8-bit")
    for told, ends in _TOLD.items():
        if any(key.endswith(ends) for key in shapes):
            return f"{told} {number}"
    return number if dtype else ""


def is_scale(key: str) -> bool:
    """Whether a key is a weight's scale in any marking."""
    return key.endswith((*_SCALES, _ROWS))


def has_marks(shapes: Shapes) -> bool:
    """Whether any weight of a file has a scale."""
    return any(is_scale(key) for key in shapes)


def comfyui_reads(shapes: Shapes, dtypes: Mapping[str, str], metadata: Mapping[str, str]) -> bool:
    """Whether ComfyUI's loader understands every marking of a diffusion model's file by itself.

    dtypes: as a safetensors header names them. A marking that it does not know it would read as plain numbers without
    their scales, and float8_e5m2 of the older marking as float8_e4m3fn.
    """
    if any(key.endswith(_ROWS) for key in shapes):
        return False
    if not has_marks(shapes) or _HEADER in metadata:
        return True
    scaled = [key for key in shapes if key.endswith(_SCALES)]
    if all(f"{key.rpartition('.')[0]}.comfy_quant" in shapes for key in scaled):
        return True
    older = any(key.endswith("scaled_fp8") for key in shapes) and all(key.endswith(_SCALES[0]) for key in scaled)
    weights = [f"{key.rpartition('.')[0]}.weight" for key in scaled]
    return (
        older
        and all(shapes[key] in ((), (1,)) for key in scaled)
        and all(dtypes.get(key) == "F8_E4M3" for key in weights)
    )


def one_marking(
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None,
    wide: torch.dtype | None,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, torch.Tensor], bool]:
    """(tensors in the one marking, whether any weight is quantised).

    metadata: of the file's header. wide: the dtype of what is not quantised, None: as it is. device: where fp8 is
    quantised anew. Activation scales are dropped: the files' makers never multiply in 8 bits. Raises ValueError naming
    the weight for 8-bit data without its scale or in a format of another name (rotated, or with finer blocks).
    """
    told = {plain_key(name): note for name, note in noted_layers(metadata or {}).items()}
    exact = "scaled_fp8" in tensors and tensors["scaled_fp8"].numel() == 2  # the older mark for full precision
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
            found[key] = value if wide is None else value.to(wide)
            continue
        given = tensors.get(f"{name}.comfy_quant")
        note = told.get(name) or ({} if given is None else read_note(given, f"{name}.comfy_quant"))
        if note.get("format", FORMATS[value.dtype]) != FORMATS[value.dtype] or note.get("convrot"):
            raise ValueError(f"{key} is quantised as {json.dumps(note)}, which is not known here")
        if scale.numel() != 1 and (value.ndim != 2 or scale.numel() != value.shape[0]):
            raise ValueError(f"{key} has {scale.numel()} scales for shape {list(value.shape)}, which is not known here")
        found.update(_marked(name, value, scale.float(), exact, device))
        quantised = True
    return found, quantised


def noted_layers(metadata: Mapping[str, str]) -> dict[str, dict]:
    """Layer -> how it is quantised, by a file's header. Raises ValueError."""
    if _HEADER not in metadata:
        return {}
    layers = read_note(read_note(metadata[_HEADER], _HEADER).get("layers"), f"layers of {_HEADER}")
    return {name: read_note(note, f"{name} in {_HEADER}") for name, note in layers.items()}


def read_note(given: object, where: str) -> dict:
    """A note as a mapping: of JSON text, of JSON bytes in a tensor, or already read. Raises ValueError."""
    try:
        if isinstance(given, torch.Tensor):
            given = bytes(given.flatten().tolist())
        found = json.loads(given) if isinstance(given, str | bytes) else given
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {'a ' + type(found).__name__ if found is not None else 'empty'}, not a table")
    return found


def _marked(name: str, value: torch.Tensor, scale: torch.Tensor, exact: bool, device) -> dict[str, torch.Tensor]:
    rows = scale.numel() > 1
    if rows and value.dtype != torch.int8:
        value, scale = rows_in_int8(value, scale.reshape(-1, 1), device)
    note: dict[str, object] = {"format": FORMATS[value.dtype]}
    if exact or value.dtype == torch.int8:
        note["full_precision_matrix_mult"] = True  # weights only, as their makers do
    return {
        f"{name}.weight": value,
        f"{name}.weight_scale": scale.reshape(-1, 1) if rows else scale.reshape(()),
        f"{name}.comfy_quant": torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8),
    }


def rows_in_int8(
    data: torch.Tensor, scale: torch.Tensor, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """data [out, in] times scale [out, 1] as int8 [out, in] and its scale [out, 1], float32; both on the CPU."""
    whole = torch.empty(data.shape, dtype=torch.int8)
    scales = torch.empty(scale.shape, dtype=torch.float32)
    for start in range(0, len(data), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = data[part].to(device).float()
        step = rows.abs().amax(dim=1, keepdim=True) / 127
        whole[part] = rows.div_(step.clamp(min=torch.finfo(torch.float32).tiny)).round_().to(torch.int8)
        scales[part] = step.cpu() * scale[part]
    return whole, scales


def first_bad(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The first key whose tensor holds NaN or an infinity, or None. One pass, without a copy of any tensor."""
    return next((key for key, value in tensors.items() if not is_finite(value)), None)


def is_finite(value: torch.Tensor) -> bool:
    """Whether no number of a tensor of any dtype is NaN or infinite."""
    if value.numel() == 0 or not value.dtype.is_floating_point:
        return True
    if value.dtype.itemsize == 1:  # torch does not reduce these; of packed 4-bit numbers all are finite
        mask, bits = _NO_NUMBER.get(str(value.dtype).removeprefix("torch."), (0, 1))
        return not bool((value.view(torch.uint8) & mask == bits).any())
    least, most = torch.aminmax(value)  # NaN goes through
    return bool(torch.isfinite(least) & torch.isfinite(most))
