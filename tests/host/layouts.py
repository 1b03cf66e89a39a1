"""State dicts in the layouts of the published files, of any width and depth, random by a fixed seed.

Tensors are made on torch's default device, so that full-size ones can be made on a GPU.
"""

from __future__ import annotations

import torch


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def _linear(tensors: dict, name: str, out: int, into: int, generator) -> None:
    tensors[f"{name}.weight"] = torch.randn(out, into, generator=generator) / into**0.5
    tensors[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.02


def _norm(tensors: dict, name: str, width: int) -> None:
    tensors[f"{name}.weight"] = torch.ones(width)
    tensors[f"{name}.bias"] = torch.zeros(width)


def adapter_tensors(dim: int, layers: int, features: int, token_width: int = 768) -> dict[str, torch.Tensor]:
    """An InfiniteTalk adapter."""
    generator, tensors = _seeded(1), {}
    for name, out, into in (
        ("proj1", 16, 5 * features), ("proj1_vf", 16, 8 * features), ("proj2", 16, 16), ("proj3", 32 * token_width, 16)
    ):  # fmt: skip
        _linear(tensors, f"audio_proj.{name}", out, into, generator)
    _norm(tensors, "audio_proj.norm", token_width)
    for n in range(layers):
        _norm(tensors, f"blocks.{n}.norm_x", dim)
        _linear(tensors, f"blocks.{n}.audio_cross_attn.q_linear", dim, dim, generator)
        _linear(tensors, f"blocks.{n}.audio_cross_attn.kv_linear", 2 * dim, token_width, generator)
        _linear(tensors, f"blocks.{n}.audio_cross_attn.proj", dim, dim, generator)
    return tensors


def base_tensors(  # noqa: PLR0913  # one argument a property of the file
    dim: int, layers: int, in_dim: int = 36, out_dim: int = 16, clip: bool = True, vace: bool = False, ffn: int = 256
) -> dict[str, torch.Tensor]:
    """A Wan diffusion model; the defaults are Wan2.1 I2V."""
    generator, tensors = _seeded(2), {}
    tensors["patch_embedding.weight"] = torch.randn(dim, in_dim, 1, 2, 2, generator=generator) * 0.05
    tensors["patch_embedding.bias"] = torch.zeros(dim)
    for name, out, into in (
        ("text_embedding.0", dim, 4096), ("text_embedding.2", dim, dim), ("time_embedding.0", dim, 256),
        ("time_embedding.2", dim, dim), ("time_projection.1", 6 * dim, dim), ("head.head", 4 * out_dim, dim),
    ):  # fmt: skip
        _linear(tensors, name, out, into, generator)
    tensors["head.modulation"] = torch.zeros(1, 2, dim)
    if clip:
        _norm(tensors, "img_emb.proj.0", 1280)
        _linear(tensors, "img_emb.proj.1", 1280, 1280, generator)
        _linear(tensors, "img_emb.proj.3", dim, 1280, generator)
        _norm(tensors, "img_emb.proj.4", dim)
    for n in range(layers):
        _block(tensors, f"blocks.{n}", dim, ffn, clip, generator)
    if vace:
        _block(tensors, "vace_blocks.0", dim, ffn, clip, generator)
        _linear(tensors, "vace_blocks.0.before_proj", dim, dim, generator)
        _linear(tensors, "vace_blocks.0.after_proj", dim, dim, generator)
        tensors["vace_patch_embedding.weight"] = torch.randn(dim, 96, 1, 2, 2, generator=generator) * 0.05
        tensors["vace_patch_embedding.bias"] = torch.zeros(dim)
    return tensors


def _block(tensors: dict, name: str, dim: int, ffn: int, clip: bool, generator) -> None:
    for attention in ("self_attn", "cross_attn"):
        images = ("k_img", "v_img") if clip and attention == "cross_attn" else ()
        for part in ("q", "k", "v", "o", *images):
            _linear(tensors, f"{name}.{attention}.{part}", dim, dim, generator)
        for part in ("norm_q", "norm_k", *(("norm_k_img",) if images else ())):
            tensors[f"{name}.{attention}.{part}.weight"] = torch.ones(dim)
    _norm(tensors, f"{name}.norm3", dim)
    _linear(tensors, f"{name}.ffn.0", ffn, dim, generator)
    _linear(tensors, f"{name}.ffn.2", dim, ffn, generator)
    tensors[f"{name}.modulation"] = torch.zeros(1, 6, dim)
