"""Small model files in the layouts of the real ones, made by a rule from a seed: python -m demo.small_model MODELS_DIR

Sizes: Wan I2V DiT of dim 256 (2 heads of 128), 3 blocks; Wan 2.1 VAE of base width 8 with 16 latent channels;
wav2vec2 of 12 layers and hidden 48; the adapter that fits both; text and CLIP embeddings at their full widths.
Key names are those of the published checkpoints. Weights are random at the scale of a fresh initialisation, so
activations stay finite and pictures are noise. Every machine gets the same values. Knows no ComfyUI.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

VERSION = "1"  # raise it when any value below changes: files of another version are made anew
SEED = 20250819

DIM, FFN, BLOCKS = 256, 512, 3
VAE_WIDTH = 8
SPEECH = {"hidden": 48, "layers": 12, "heads": 4, "ffn": 96, "conv": 32}
AUDIO_HIDDEN, AUDIO_TOKENS, AUDIO_WIDTH = 128, 32, 64

DIT = "diffusion_models/infinitetalk_small_i2v.safetensors"
VAE = "vae/infinitetalk_small_vae.safetensors"
WAV2VEC_FOLDER = "audio_encoders/infinitetalk_small_wav2vec2"
ADAPTER = "model_patches/infinitetalk_small_adapter.safetensors"
EMBEDS = "infinitetalk/infinitetalk_small_embeds.safetensors"

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def conv(name: str, out: int, into: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def dit_shapes() -> Shapes:
    """Wan2.1 image-to-video: 36 input channels, 16 output channels, patches of 1x2x2."""
    shapes = conv("patch_embedding", DIM, 36, 1, 2, 2)
    shapes |= linear("text_embedding.0", DIM, 4096) | linear("text_embedding.2", DIM, DIM)
    shapes |= linear("time_embedding.0", DIM, 256) | linear("time_embedding.2", DIM, DIM)
    shapes |= linear("time_projection.1", 6 * DIM, DIM)
    shapes |= norm("img_emb.proj.0", 1280) | linear("img_emb.proj.1", 1280, 1280)
    shapes |= linear("img_emb.proj.3", DIM, 1280) | norm("img_emb.proj.4", DIM)
    for n in range(BLOCKS):
        for attention, parts in (("self_attn", "qkvo"), ("cross_attn", ("q", "k", "v", "o", "k_img", "v_img"))):
            for part in parts:
                shapes |= linear(f"blocks.{n}.{attention}.{part}", DIM, DIM)
        for name in ("self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k",
                     "cross_attn.norm_k_img"):  # fmt: skip
            shapes[f"blocks.{n}.{name}.weight"] = (DIM,)
        shapes |= norm(f"blocks.{n}.norm3", DIM)
        shapes |= linear(f"blocks.{n}.ffn.0", FFN, DIM) | linear(f"blocks.{n}.ffn.2", DIM, FFN)
        shapes[f"blocks.{n}.modulation"] = (1, 6, DIM)
    shapes |= linear("head.head", 64, DIM)
    shapes["head.modulation"] = (1, 2, DIM)
    return shapes


def residual(name: str, into: int, out: int) -> Shapes:
    shapes = {f"{name}.residual.0.gamma": (into, 1, 1, 1), f"{name}.residual.3.gamma": (out, 1, 1, 1)}
    shapes |= conv(f"{name}.residual.2", out, into, 3, 3, 3) | conv(f"{name}.residual.6", out, out, 3, 3, 3)
    return shapes | (conv(f"{name}.shortcut", out, into, 1, 1, 1) if into != out else {})


def middle(name: str, width: int) -> Shapes:
    shapes = residual(f"{name}.0", width, width) | residual(f"{name}.2", width, width)
    shapes |= {f"{name}.1.norm.gamma": (width, 1, 1)}
    return shapes | conv(f"{name}.1.to_qkv", 3 * width, width, 1, 1) | conv(f"{name}.1.proj", width, width, 1, 1)


def vae_shapes() -> Shapes:
    """Wan 2.1 VAE: width times 1, 2, 4, 4; time is halved after the second and third level."""
    widths = [VAE_WIDTH * factor for factor in (1, 2, 4, 4)]
    shapes = conv("encoder.conv1", widths[0], 3, 3, 3, 3)
    index, into = 0, widths[0]
    for level, width in enumerate(widths):
        for _ in range(2):
            shapes |= residual(f"encoder.downsamples.{index}", into, width)
            index, into = index + 1, width
        if level < 3:
            shapes |= conv(f"encoder.downsamples.{index}.resample.1", width, width, 3, 3)
            if level > 0:
                shapes |= conv(f"encoder.downsamples.{index}.time_conv", width, width, 3, 1, 1)
            index += 1
    shapes |= middle("encoder.middle", into) | {"encoder.head.0.gamma": (into, 1, 1, 1)}
    shapes |= conv("encoder.head.2", 32, into, 3, 3, 3) | conv("conv1", 32, 32, 1, 1, 1)
    shapes |= conv("conv2", 16, 16, 1, 1, 1)
    shapes |= conv("decoder.conv1", into, 16, 3, 3, 3) | middle("decoder.middle", into)
    index = 0
    for level, width in enumerate(widths[::-1]):
        for _ in range(3):
            shapes |= residual(f"decoder.upsamples.{index}", into, width)
            index, into = index + 1, width
        if level < 3:
            shapes |= conv(f"decoder.upsamples.{index}.resample.1", width // 2, width, 3, 3)
            if level < 2:
                shapes |= conv(f"decoder.upsamples.{index}.time_conv", 2 * width, width, 3, 1, 1)
            index += 1
        into = width // 2
    return shapes | {"decoder.head.0.gamma": (widths[0], 1, 1, 1)} | conv("decoder.head.2", 3, widths[0], 3, 3, 3)


def wav2vec_shapes() -> Shapes:
    """wav2vec2 base layout: group norm on the first convolution, layer norm after each sub-layer."""
    hidden, width = SPEECH["hidden"], SPEECH["conv"]
    shapes = {"masked_spec_embed": (hidden,)} | norm("feature_extractor.conv_layers.0.layer_norm", width)
    for n, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        shapes[f"feature_extractor.conv_layers.{n}.conv.weight"] = (width, width if n else 1, kernel)
    shapes |= norm("feature_projection.layer_norm", width) | linear("feature_projection.projection", hidden, width)
    position = "encoder.pos_conv_embed.conv"
    shapes |= {f"{position}.weight_g": (1, 1, 128), f"{position}.weight_v": (hidden, hidden // 16, 128)}
    shapes |= {f"{position}.bias": (hidden,)} | norm("encoder.layer_norm", hidden)
    for n in range(SPEECH["layers"]):
        layer = f"encoder.layers.{n}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.attention.{part}", hidden, hidden)
        shapes |= norm(f"{layer}.layer_norm", hidden) | norm(f"{layer}.final_layer_norm", hidden)
        shapes |= linear(f"{layer}.feed_forward.intermediate_dense", SPEECH["ffn"], hidden)
        shapes |= linear(f"{layer}.feed_forward.output_dense", hidden, SPEECH["ffn"])
    return shapes


def adapter_shapes() -> Shapes:
    """The published InfiniteTalk adapter: an audio projection, and an audio attention for every DiT block."""
    features = SPEECH["layers"] * SPEECH["hidden"]
    shapes = linear("audio_proj.proj1", AUDIO_HIDDEN, 5 * features)
    shapes |= linear("audio_proj.proj1_vf", AUDIO_HIDDEN, 8 * features)
    shapes |= linear("audio_proj.proj2", AUDIO_HIDDEN, AUDIO_HIDDEN)
    shapes |= linear("audio_proj.proj3", AUDIO_TOKENS * AUDIO_WIDTH, AUDIO_HIDDEN)
    shapes |= norm("audio_proj.norm", AUDIO_WIDTH)
    for n in range(BLOCKS):
        shapes |= norm(f"blocks.{n}.norm_x", DIM) | linear(f"blocks.{n}.audio_cross_attn.q_linear", DIM, DIM)
        shapes |= linear(f"blocks.{n}.audio_cross_attn.kv_linear", 2 * DIM, AUDIO_WIDTH)
        shapes |= linear(f"blocks.{n}.audio_cross_attn.proj", DIM, DIM)
    return shapes


def normal(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers that depend on the key and the seed alone (numpy keeps this generator's stream fixed)."""
    generator = np.random.RandomState((zlib.crc32(key.encode()) + SEED) % 2**32)
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def weights(shapes: Shapes, dtype: torch.dtype, scales: dict[str, float] | None = None) -> dict[str, torch.Tensor]:
    """Gains near 1, matrices and kernels of fan-in scale, modulations of width scale, everything else near 0."""
    tensors = {}
    for key, shape in shapes.items():
        value = normal(key, shape)
        if key.endswith((".gamma", ".weight_g")) or (len(shape) == 1 and key.endswith(".weight")):
            value = 1 + 0.1 * value
        elif key.endswith("modulation"):
            value = value / shape[-1] ** 0.5
        elif len(shape) > 1:
            value = value / np.prod(shape[1:]) ** 0.5
        else:
            value = 0.02 * value
        tensors[key] = (value * (scales or {}).get(key, 1.0)).to(dtype).contiguous()
    return tensors


def embeds() -> dict[str, torch.Tensor]:
    """Text embeddings of a prompt and a negative prompt, zero after the last token as UMT5's are, and CLIP features."""
    text = {"positive": 24, "negative": 80}
    tensors = {key: torch.zeros(1, 512, 4096, dtype=torch.float16) for key in text}
    for key, tokens in text.items():
        tensors[key][:, :tokens] = normal(key, (1, tokens, 4096))
    return tensors | {"clip_vision": normal("clip_vision", (1, 257, 1280)).half()}


def wav2vec_config() -> dict[str, dict]:
    """The settings files of a Hugging Face wav2vec2 folder."""
    model = {
        "architectures": ["Wav2Vec2Model"],
        "model_type": "wav2vec2",
        "hidden_size": SPEECH["hidden"],
        "num_hidden_layers": SPEECH["layers"],
        "num_attention_heads": SPEECH["heads"],
        "intermediate_size": SPEECH["ffn"],
        "conv_dim": [SPEECH["conv"]] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_bias": False,
        "num_feat_extract_layers": 7,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
        "vocab_size": 32,
    }
    listener = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16000,
        "padding_value": 0.0,
        "do_normalize": True,
        "return_attention_mask": False,
    }
    return {"config.json": model, "preprocessor_config.json": listener}


def is_current(path: Path) -> bool:
    """Whether a safetensors file is complete and of this version."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("infinitetalk_small") == VERSION
    except (OSError, SafetensorError):
        return False


def make(models: Path) -> list[Path]:
    """Put the small model into a host's models folder and return its files. What is there and current stays.

    Files appear under their names only when they are complete.
    """
    scales = {"decoder.head.2.weight": 0.7}  # standard deviation about 0.4 in -1..1: pictures are not saturated
    recipes = {
        DIT: lambda: weights(dit_shapes(), torch.float16),
        VAE: lambda: weights(vae_shapes(), torch.float32, scales),
        f"{WAV2VEC_FOLDER}/model.safetensors": lambda: weights(wav2vec_shapes(), torch.float32),
        ADAPTER: lambda: weights(adapter_shapes(), torch.float16),
        EMBEDS: embeds,
    }
    for name, text in wav2vec_config().items():
        path = models / WAV2VEC_FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    for name, recipe in recipes.items():
        path = models / name
        if is_current(path):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        save_file(recipe(), part, {"format": "pt", "infinitetalk_small": VERSION})
        os.replace(part, path)
    return [models / name for name in recipes]


if __name__ == "__main__":
    for made in make(Path(sys.argv[1])):
        print(made, made.stat().st_size)
