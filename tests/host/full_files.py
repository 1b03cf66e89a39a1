"""Model files of the published sizes with real headers and no numbers: sparse, so that 30 GB take no room on the disk.

For what looks at headers only. Loading one gives zeros.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from tests.host.layouts import adapter_tensors, base_tensors

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1}
Shapes = dict[str, tuple[int, ...]]


def sparse_file(path: Path, shapes: Shapes, kind: str = "F16", vectors: str | None = None) -> Path:
    """A safetensors file of `shapes`: matrices of dtype `kind`, all else of `vectors` (the same if None)."""
    header, position = {}, 0
    for key, shape in shapes.items():
        dtype = kind if vectors is None or len(shape) == 2 else vectors
        size = math.prod(shape) * BYTES[dtype]
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
    return path


def _grown(tensors: dict, sizes: dict[int, int]) -> Shapes:
    return {key: tuple(sizes.get(side, side) for side in value.shape) for key, value in tensors.items()}


def wan_shapes(**options) -> Shapes:
    """Wan 14B; options: of base_tensors."""
    small = base_tensors(128, 1, ffn=320, **options)
    first = _grown(small, {128: 5120, 320: 13824, 768: 30720})
    blocks = {key: shape for key, shape in first.items() if key.startswith("blocks.0.")}
    return first | {f"blocks.{n}{key[8:]}": shape for n in range(40) for key, shape in blocks.items()}


def infinitetalk_shapes() -> Shapes:
    """The published adapter."""
    first = _grown(adapter_tensors(128, 1, 12 * 768), {128: 5120, 256: 10240, 16: 512})
    blocks = {key: shape for key, shape in first.items() if key.startswith("blocks.0.")}
    return first | {f"blocks.{n}{key[8:]}": shape for n in range(40) for key, shape in blocks.items()}


def scaled(shapes: Shapes) -> Shapes:
    """With a scale for each matrix, and the mark, as the older fp8 files have them."""
    scales = {f"{key.removesuffix('.weight')}.scale_weight": (1,) for key, shape in shapes.items() if len(shape) == 2}
    return {**shapes, **scales, "scaled_fp8": (0,)}


def quanto(shapes: Shapes) -> Shapes:
    """As optimum-quanto names them."""
    named: Shapes = {}
    for key, shape in shapes.items():
        if len(shape) == 2:
            named |= {f"{key}._data": shape, f"{key}._scale": (shape[0], 1)}
        else:
            named[key] = shape
    return named


WAN_VAE = {
    "encoder.downsamples.0.residual.0.gamma": (96, 1, 1, 1),
    "decoder.head.0.gamma": (96, 1, 1, 1),
    "conv2.weight": (16, 16, 1, 1, 1),
}
WAN22_VAE = {**WAN_VAE, "decoder.head.0.gamma": (256, 1, 1, 1), "conv2.weight": (48, 48, 1, 1, 1)}
UMT5 = {
    "shared.weight": (256384, 4096),
    **{f"encoder.block.{n}.layer.0.SelfAttention.q.weight": (4096, 4096) for n in range(24)},
}
CLIP_H = {
    "vision_model.post_layernorm.weight": (1280,),
    **{f"vision_model.encoder.layers.{n}.mlp.fc1.weight": (5120, 1280) for n in range(32)},
}


def wav2vec_shapes(layers: int = 12, width: int = 768) -> Shapes:
    return {
        "wav2vec2.feature_extractor.conv_layers.0.conv.weight": (512, 1, 10),
        "wav2vec2.encoder.layer_norm.weight": (width,),
        **{f"wav2vec2.encoder.layers.{n}.attention.q_proj.weight": (width, width) for n in range(layers)},
    }


def published(models: Path) -> int:
    """Every file that a run of the published size needs, below `models`; their bytes together."""
    sparse_file(models / "diffusion_models" / "base.safetensors", scaled(wan_shapes()), "F8_E4M3", "F32")
    sparse_file(models / "model_patches" / "adapter.safetensors", infinitetalk_shapes(), "F16")
    sparse_file(models / "vae" / "vae.safetensors", WAN_VAE, "BF16")
    sparse_file(models / "text_encoders" / "umt5.safetensors", UMT5, "F8_E4M3")
    sparse_file(models / "clip_vision" / "clip.safetensors", CLIP_H, "F16")
    sparse_file(models / "audio_encoders" / "wav2vec.safetensors", wav2vec_shapes(), "F16")
    return sum(os.path.getsize(path) for path in models.rglob("*.safetensors"))
