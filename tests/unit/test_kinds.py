"""Every known file is called what it is, by its telling keys and shapes alone, and how its weights are stored."""

from __future__ import annotations

import pytest

from infinitetalk.model.kinds import ADAPTER, LORA, MODEL, SPEECH, TEXT, VAE, WANTED, identify
from tests.host.layouts import adapter_tensors, base_tensors


def shapes(tensors: dict) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


PARTS = shapes(adapter_tensors(dim=256, layers=3, features=768, token_width=64))
BASE = shapes(base_tensors(dim=256, layers=3))
VISION, T5 = "vision_model.encoder.layers.0.mlp.fc1.bias", "encoder.block.0.layer.0.SelfAttention.q.weight"
CONV = "feature_extractor.conv_layers.0.conv.weight"
HEAD = {"decoder.head.0.gamma": (96, 1, 1, 1), "conv2.weight": (16, 16, 1, 1, 1)}

# telling keys -> (name, role); each is of the published files, the rest of which tells nothing more
KNOWN = [
    (PARTS, "an InfiniteTalk adapter", ADAPTER),
    (BASE, "Wan2.1 I2V", MODEL),
    ({**BASE, **PARTS}, "Wan I2V with an InfiniteTalk adapter inside", MODEL),
    ({**BASE, "img_emb.emb_pos": (1, 514, 1280)}, "Wan2.1 I2V", MODEL),
    (shapes(base_tensors(256, 2, in_dim=16, clip=False)), "a text-to-video model", ""),
    (shapes(base_tensors(256, 2, in_dim=48, out_dim=48, clip=False)), "the Wan2.2 5B model", ""),
    (shapes(base_tensors(256, 2, clip=False)), "a Wan model without the CLIP image branch (Wan2.2 I2V)", ""),
    (shapes(base_tensors(256, 2, in_dim=16, clip=False, vace=True)), "a VACE model", ""),
    ({"vace_blocks.0.after_proj.weight": (256, 256)}, "a VACE model", ""),
    (shapes(base_tensors(256, 2, in_dim=52)), "a Wan diffusion model of another kind", ""),
    ({**BASE, "casual_audio_encoder.encoder.final_linear.weight": (256, 256)}, "a Wan2.2 S2V model", ""),
    ({**BASE, "pose_patch_embedding.weight": (256, 16, 1, 2, 2), "face_encoder.x": (1,)}, "a Wan-Animate model", ""),
    ({**BASE, "control_adapter.conv.weight": (256, 1)}, "a Wan Fun or camera control model", ""),
    ({**BASE, "ref_conv.weight": (256, 16, 2, 2)}, "a Wan Fun or camera control model", ""),
    ({**BASE, "blocks.0.cam_encoder.weight": (256, 12)}, "a ReCamMaster model", ""),
    ({**BASE, "patch_embedding_pose.weight": (256, 16, 1, 2, 2)}, "a SCAIL model", ""),
    ({"condition_embedder.text_embedder.linear_1.weight": (5120, 4096)}, "a Wan model in diffusers' layout", ""),
    ({**PARTS, "blocks.0.audio_cross_attn.q_norm.weight": (256,)}, "a LongCat-Avatar model", ""),
    ({"audio_proj.proj1.weight": (1, 1), "blocks.0.audio_adaLN_modulation.1.weight": (1, 1)},
     "a LongCat-Avatar model", ""),
    ({"x_embedder.proj.weight": (4096, 64), "blocks.0.attn.qkv.weight": (1, 1)}, "a LongCat model", ""),
    ({**BASE, "audio_proj.audio_proj_glob_1.layer.weight": (256, 256)}, "a HuMo model", ""),
    ({"audio_processor.blocks.0.cross_attn.processor.k_proj.weight": (1, 1)}, "a FantasyTalking model", ""),
    ({"proj_model.norm.weight": (2048,), "blocks.0.cross_attn.k_proj.weight": (1, 1)}, "a FantasyTalking model", ""),
    ({"proj_model.norm.weight": (1,), "ip_adapter.blocks.0.cross_attn.ip_adapter_single_stream_k_proj.weight": (1, 1)},
     "a FantasyPortrait model", ""),
    ({"ca.0.to_q.weight": (5120, 5120), "audio_proj.x.weight": (1, 1)}, "a SekoTalk adapter of LightX2V", ""),
    ({"dwpose_embedding.0.weight": (16, 3, 3, 3), "blocks.0.self_attn.q.lora_A.weight": (1, 1)},
     "a UniAnimate LoRA", ""),
    ({"diffusion_model.blocks.0.self_attn.q.lora_down.weight": (4, 256)}, "a LoRA", LORA),
    ({"blocks.0.self_attn.q.lora_A.default.weight": (4, 256)}, "a LoRA", LORA),
    ({"lora_unet__blocks_0_self_attn_q.lora_up.weight": (256, 4)}, "a LoRA", LORA),
    ({"diffusion_model.multitalk_audio_proj.proj1.lora_down.weight": (4, 256)}, "a LoRA", LORA),
    (HEAD, "a Wan2.1 VAE", VAE),
    ({f"model.{key}": shape for key, shape in HEAD.items()}, "a Wan2.1 VAE", VAE),
    ({**HEAD, "conv2.weight": (48, 48, 1, 1, 1)}, "a Wan2.2 VAE", ""),
    ({**HEAD, "decoder.head.2.weight": (12, 96, 3, 3, 3)}, "a Wan2.1 VAE that doubles the size", ""),
    ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "a VAE of another model", ""),
    ({f"wav2vec2.{CONV}": (512, 1, 10)}, "a wav2vec2 audio encoder", SPEECH),
    ({f"wav2vec2.{CONV}": (512, 1, 10), "lm_head.weight": (32, 768)}, "a wav2vec2 that writes text", SPEECH),
    ({f"hubert.{CONV}": (512, 1, 10)}, "a HuBERT audio encoder", ""),
    ({CONV: (512, 1, 10), "encoder.layers.0.attention.gru_rel_pos_const": (1, 12, 1, 1)}, "a WavLM audio encoder", ""),
    ({"feature_extractor.conv_layers.0.0.weight": (512, 1, 10), "post_extract_proj.bias": (1,)},
     "a wav2vec2 of fairseq", ""),
    ({"model.encoder.conv1.weight": (1280, 128, 3)}, "a Whisper audio encoder", ""),
    ({VISION: (5120,), "vision_model.post_layernorm.weight": (1280,)}, "a CLIP ViT-H vision model", "clip_vision"),
    ({VISION: (4096,), "vision_model.post_layernorm.weight": (1024,)},
     "a vision model of another kind (CLIP-L, SigLIP)", ""),
    ({"visual.transformer.0.attn.to_qkv.weight": (3840, 1280)}, "the reference's CLIP in its own layout", ""),
    ({T5: (4096, 4096), "shared.weight": (256384, 4096)}, "a UMT5-XXL text encoder", TEXT),
    ({"enc.blk.0.attn_q.weight": (4096, 4096), "token_embd.weight": (256384, 4096)}, "a UMT5-XXL text encoder", TEXT),
    ({"enc.blk.0.attn_q.weight": (4096, 4096), "token_embd.weight": (32128, 4096)},
     "a text encoder of another model", ""),
    ({T5: (4096, 4096), "shared.weight": (32128, 4096)}, "a T5-XXL text encoder of another vocabulary", ""),
    ({"token_embedding.weight": (256384, 4096), "blocks.0.attn.q.weight._data": (4096, 4096)},
     "the reference's UMT5-XXL in its own layout", ""),
    ({"double_blocks.0.img_attn.qkv.weight": (1, 1)}, "a diffusion model of another family", ""),
    ({"weight": (1,)}, "an unknown file of 1 tensors", ""),
    ({}, "an unknown file of 0 tensors", ""),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "name", "role"), KNOWN)
def test_files_are_called_what_they_are(keys, name, role):
    kind = identify(keys)
    assert (kind.name, kind.role) == (name, role)
    assert not kind.role or WANTED[kind.role]


@pytest.mark.parametrize("prefix", ["diffusion_model.", "model.diffusion_model."])
def test_a_prefix_changes_no_name(prefix):
    for keys in (PARTS, BASE, {**BASE, **PARTS}):
        assert identify({prefix + key: shape for key, shape in keys.items()}) == identify(keys)


def test_width_and_depth_are_told():
    assert (identify(BASE).width, identify(BASE).layers) == (256, 3)
    assert (identify(PARTS).width, identify(PARTS).layers) == (256, 3)
    assert identify(HEAD).width == 0


WEIGHT = "blocks.0.self_attn.q.weight"
SCALE, ROWS = "blocks.0.self_attn.q.weight_scale", f"{WEIGHT}._scale"
STORED = [
    ({WEIGHT: (9, 9)}, {WEIGHT: "F32"}, "fp32"),
    ({WEIGHT: (9, 9), "bias": (9,)}, {WEIGHT: "BF16", "bias": "F32"}, "bf16"),
    ({WEIGHT: (9, 9)}, {WEIGHT: "F8_E4M3"}, "fp8"),
    ({WEIGHT: (9, 9), SCALE: ()}, {WEIGHT: "F8_E4M3", SCALE: "F32"}, "scaled fp8"),
    ({WEIGHT: (9, 9), SCALE: ()}, {WEIGHT: "F8_E5M2", SCALE: "F32"}, "scaled fp8 (e5m2)"),
    ({f"{WEIGHT}._data": (9, 9), ROWS: (9, 1)}, {f"{WEIGHT}._data": "I8", ROWS: "F32"}, "quanto int8"),
    ({f"{WEIGHT}._data": (9, 9), ROWS: (9, 1)}, {f"{WEIGHT}._data": "F8_E4M3", ROWS: "BF16"}, "quanto fp8"),
    ({f"{WEIGHT}._data": (9, 9), ROWS: (9, 1)}, None, "quanto 8-bit"),
    ({WEIGHT: (9, 9)}, {WEIGHT: "Q4_K"}, "GGUF Q4_K"),
    ({WEIGHT: (9, 9)}, None, ""),
]


@pytest.mark.parametrize(("keys", "dtypes", "told"), STORED)
def test_how_weights_are_stored_is_told(keys, dtypes, told):
    assert identify(keys, dtypes).marking == told
