"""Files of the published layouts from float tensors: each way in which people's repacks mark quantised weights.

Every function takes a state dict and gives (tensors, metadata of the header). Which matrices are quantised follows the
published files: those in the blocks; quanto and the adapters' repacks also the audio projection.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]
File = tuple[Tensors, dict[str, str]]
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
MOST = {E4M3: 448, E5M2: 57344, torch.int8: 127}


def is_matrix(key: str, value: torch.Tensor) -> bool:
    return value.ndim == 2 and key.endswith(".weight") and ("blocks." in key or "audio_proj." in key)


def plain(tensors: Tensors, dtype: torch.dtype) -> File:
    return {key: value.to(dtype) for key, value in tensors.items()}, {"format": "pt"}


def half_with_float_vectors(tensors: Tensors) -> File:
    """fp16 weights beside fp32 biases and audio projection, as WanVideoWrapper's repack has by its size."""
    wide = {key: "audio_proj." in key or key.endswith("bias") and "norm_x" not in key for key in tensors}
    return {key: value if wide[key] else value.half() for key, value in tensors.items()}, {}


def quantised(value: torch.Tensor, kind: torch.dtype, by_row: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(value in 8 bits, its scale: [out, 1] or a single number)."""
    most = value.abs().amax(dim=1, keepdim=True) if by_row else value.abs().max()
    scale = most / MOST[kind]
    whole = value / scale
    return (whole.round() if kind == torch.int8 else whole).to(kind), scale


def fp8(tensors: Tensors, marking: str, kind: torch.dtype = E4M3, prefix: str = "") -> File:
    """A scale for each matrix, marked as "older", "newer" (no mark of the file), "comfy" or "header"."""
    found, layers = {}, {}
    for key, value in tensors.items():
        name = prefix + key.removesuffix(".weight")
        if not is_matrix(key, value):
            found[prefix + key] = value
            continue
        found[prefix + key], scale = quantised(value, kind, by_row=False)
        found[f"{name}.scale_weight" if marking == "older" else f"{name}.weight_scale"] = scale.reshape(())
        layers[name] = {"format": "float8_e4m3fn" if kind == E4M3 else "float8_e5m2"}
        if marking == "comfy":
            found[f"{name}.comfy_quant"] = torch.tensor(list(json.dumps(layers[name]).encode()), dtype=torch.uint8)
    if marking == "older":
        found[f"{prefix}scaled_fp8"] = torch.zeros(0, dtype=kind)
    return found, {"_quantization_metadata": json.dumps({"layers": layers})} if marking == "header" else {}


def rows(tensors: Tensors, kind: torch.dtype) -> File:
    """LightX2V: `weight_scale` [out, 1] and nothing else; the audio projection stays plain."""
    found = {}
    for key, value in tensors.items():
        if is_matrix(key, value) and "audio_proj." not in key:
            found[key], found[f"{key.removesuffix('.weight')}.weight_scale"] = quantised(value, kind, by_row=True)
        else:
            found[key] = value
    return found, {}


def quanto(tensors: Tensors, kind: torch.dtype, dtype: torch.dtype = torch.float32, in_header: bool = False) -> File:
    """optimum-quanto, as the reference writes it; in_header: with Wan2GP's map of the modules.

    dtype: of scales and of what is not quantised.
    """
    found, modules = {}, {}
    for key, value in tensors.items():
        if not is_matrix(key, value):
            found[key] = value.to(dtype)
            continue
        name = key.removesuffix(".weight")
        found[f"{key}._data"], scale = quantised(value, kind, by_row=True)
        found[f"{key}._scale"] = scale.to(dtype)
        found |= {f"{name}.{end}": torch.ones((), dtype=dtype) for end in ("input_scale", "output_scale")}
        modules[name] = {"weights": "qint8" if kind == torch.int8 else "qfloat8_e4m3fn", "activations": "none"}
    told = base64.b64encode(json.dumps(modules).encode()).decode()
    return found, {"format": "pt", "quantization_map_base64": told, "config_base64": "e30="} if in_header else {}


def quanto_map(tensors: Tensors) -> str:
    """The JSON that the reference's quanto files lie beside."""
    names = (key.removesuffix(".weight._data") for key in tensors if key.endswith("._data"))
    return json.dumps({name: {"weights": "qint8", "activations": "none"} for name in names})


def save(path: Path, file: File) -> Path:
    tensors, metadata = file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata or None)
    return path


def save_parts(folder: Path, tensors: Tensors, count: int) -> list[Path]:
    """A model in parts with its index, as Wan-AI publishes it."""
    keys, places = list(tensors), {}
    paths = []
    for number in range(count):
        path = folder / f"diffusion_pytorch_model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {key: tensors[key] for key in keys[number::count]}
        places |= dict.fromkeys(part, path.name)
        paths.append(save(path, (part, {"format": "pt"})))
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    return paths


def save_gguf(path: Path, tensors: Tensors, kind: str) -> Path:
    """Matrices in a kind of GGUF, all else in float32, as the published files are."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    writer = GGUFWriter(path, "wan")
    for key, value in tensors.items():
        whole = GGMLQuantizationType[kind if is_matrix(key, value) and value.shape[1] % 32 == 0 else "F32"]
        writer.add_tensor(key, quants.quantize(value.float().numpy(), whole), raw_dtype=whole)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
