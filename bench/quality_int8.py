"""The talking model's diffusion model in int8, as ComfyUI keeps quantised files: one scale a tensor.

Made here with the host's own quantiser, because no weight_dtype of UNETLoader makes int8. Knows no measure.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FORMAT = {"format": "int8_tensorwise"}


def write_int8(source: Path, target: Path) -> Path:
    """Quantise the matrices of all blocks of `source` into `target`, if it is not there."""
    if target.exists():
        return target
    from comfy.quant_ops import TensorWiseINT8Layout

    told = torch.tensor(list(json.dumps(FORMAT).encode()), dtype=torch.uint8)
    tensors = {}
    for key, value in load_file(source).items():
        if not (key.startswith("blocks.") and key.endswith(".weight") and value.ndim == 2):
            tensors[key] = value
            continue
        whole, params = TensorWiseINT8Layout.quantize(value.float())
        name = key.removesuffix(".weight")
        tensors |= {key: whole, f"{name}.weight_scale": params.scale, f"{name}.comfy_quant": told.clone()}
    part = target.with_name(f"{target.name}.part")
    save_file(tensors, part, {"format": "pt"})
    part.replace(target)
    return target
