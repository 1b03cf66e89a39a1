"""Model files of the published sizes with random weights, in the precisions that users have them in.

Every tensor is made on the GPU where there is one, one at a time, and written as the published files are laid out:
bf16; fp8 with a scale for each matrix, in ComfyUI's marking; and GGUF Q4_0, whose random blocks have the spread that
quantised weights have. Knows no run and no cap.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from demo import small_model

FORMATS = ("bf16", "fp8", "int8", "q4")
BASES = {"bf16": "base_bf16.safetensors", "fp8": "base_fp8_scaled.safetensors", "int8": "base_int8.safetensors",
         "q4": "base_Q4_0.gguf"}  # fmt: skip
ADAPTERS = {form: f"adapter_{'fp8' if form == 'q4' else form}.safetensors" for form in FORMATS}
VAE = "vae.safetensors"
Q4_BLOCK, Q4_BYTES = 32, 18  # numbers in a block of Q4_0; a half-precision scale and 16 bytes of two numbers each
Q4_SPREAD = math.sqrt((15**2 - 1) / 12)  # standard deviation of a uniform whole number -7 to 7


def shapes_of(size: dict) -> tuple[dict, dict, dict]:
    """Shapes of the base, the adapter and the VAE for a size of `full_size`."""
    small_model.DIM, small_model.FFN, small_model.BLOCKS = size["dim"], size["ffn"], size["layers"]
    small_model.VAE_WIDTH = size["vae"]
    small_model.SPEECH = {**small_model.SPEECH, "hidden": 768}
    small_model.AUDIO_HIDDEN, small_model.AUDIO_TOKENS, small_model.AUDIO_WIDTH = 512, 32, 768
    return small_model.dit_shapes(), small_model.adapter_shapes(), small_model.vae_shapes()


def make_files(folder: Path, form: str, size: dict) -> None:
    """Write what a format needs; files that are there stay."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    base, adapter, vae = shapes_of(size)
    if not (folder / VAE).exists():
        save_file(small_model.weights(vae, torch.bfloat16), folder / VAE)
    for name, shapes, kind in ((BASES[form], base, form), (ADAPTERS[form], adapter, "fp8" if form == "q4" else form)):
        path = folder / name
        if path.exists():
            continue
        part = folder / f"{name}.part"
        _gguf(part, shapes) if kind == "q4" else save_file(_tensors(shapes, kind), part, {"format": "pt"})
        os.replace(part, path)


def _tensors(shapes: dict, kind: str) -> dict:
    import torch

    from infinitetalk.model.compact import compact

    found = {}
    for n, (key, shape) in enumerate(shapes.items()):
        value = _value(key, shape, n).to(torch.bfloat16)
        parts = quanto(key, value) if kind == "int8" else compact({key: value}, kind)
        found |= {name: part.cpu() for name, part in parts}
    return found


def quanto(key: str, value):
    """Key by key as optimum-quanto writes int8: a scale for each row of a matrix."""
    import torch

    if value.ndim != 2:
        yield key, value
        return
    scale = value.float().abs().amax(dim=1, keepdim=True) / 127
    yield f"{key}._data", (value.float() / scale).round().to(torch.int8)
    yield f"{key}._scale", scale


def _value(key: str, shape: tuple, seed: int):
    """Like `small_model.weights`, made on the device."""
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    value = torch.randn(shape, generator=torch.Generator(place).manual_seed(seed), device=place)
    if len(shape) == 1 and key.endswith(".weight"):
        return 1 + 0.1 * value
    if key.endswith("modulation"):
        return value / shape[-1] ** 0.5
    return value / math.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.02 * value


def _gguf(path: Path, shapes: dict) -> None:
    """Matrices as blocks of Q4_0, all else in float32, as converters write them."""
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, "wan")
    for n, (key, shape) in enumerate(shapes.items()):
        if len(shape) == 2 and shape[1] % Q4_BLOCK == 0 and key.endswith(".weight"):
            writer.add_tensor(key, _blocks(shape, n), raw_dtype=GGMLQuantizationType.Q4_0)
        else:
            if len(shape) > 4:  # more than GGUF counts: the loader's own note keeps the shape
                writer.add_array(f"comfy.gguf.orig_shape.{key}", tuple(shape))
            value = _value(key, shape, n).cpu().numpy()
            writer.add_tensor(key, value.reshape(shape[0], -1) if len(shape) > 4 else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _blocks(shape: tuple, seed: int):
    """Random Q4_0 bytes [out, in / 32 * 18] of a matrix whose numbers have the spread 1 / sqrt(in)."""
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(place).manual_seed(seed)
    count = shape[1] // Q4_BLOCK
    # 1 to 15, which stand for -7 to 7: with 0, the -8, a mean that is not 0 adds up over the layers to infinity.
    halves = torch.randint(1, 16, (2, shape[0], count, Q4_BYTES), generator=generator, device=place, dtype=torch.uint8)
    blocks = halves[0] | halves[1] << 4
    scale = torch.tensor([1 / (Q4_SPREAD * shape[1] ** 0.5)], dtype=torch.float16, device=place)
    blocks[..., :2] = scale.view(torch.uint8)
    return blocks.flatten(1).cpu().numpy()
