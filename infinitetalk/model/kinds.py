"""What a model file is, told from the keys and shapes in its header, never from its name: one table of known files.

Knows the layouts that people have on disk; no host, no reading of files. Sources of the telling keys: the published
implementations of Wan, InfiniteTalk, MultiTalk, LongCat-Avatar, HuMo, SkyReels V3, FantasyTalking and UniAnimate, and
ComfyUI's own detection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .keys import plain_key
from .quantised import Shapes, marking, plain_shapes

MODEL, ADAPTER, VAE, CLIP, TEXT, SPEECH, LORA = (
    "model", "adapter", "vae", "clip_vision", "text_encoder", "audio_encoder", "lora",
)  # fmt: skip
WANTED = {  # role -> the file that the user probably wants
    MODEL: "Choose Wan2.1 I2V 14B (480p or 720p), for example Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors.",
    ADAPTER: "Choose an InfiniteTalk adapter, for example wan2.1_infiniteTalk_single_fp16.safetensors "
    "or infinitetalk.safetensors.",
    VAE: "Load the Wan 2.1 VAE (Wan2_1_VAE_bf16.safetensors or wan_2.1_vae.safetensors).",
    CLIP: "Load clip_vision_h.safetensors (CLIP ViT-H) with Load CLIP Vision.",
    TEXT: "Load umt5_xxl_fp8_e4m3fn_scaled.safetensors with Load CLIP, type wan.",
    SPEECH: "Load wav2vec2-chinese-base_fp16.safetensors, or the folder of chinese-wav2vec2-base.",
    LORA: "Choose a LoRA for Wan2.1 I2V 14B, for example lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16"
    ".safetensors.",
}


VACE, T2V, FIVE_B = "a VACE model", "a text-to-video model", "the Wan2.2 5B model"  # loaded models have no keys to ask
NO_CLIP = "a Wan model without the CLIP image branch (Wan2.2 I2V)"
OTHER_WAN = "a Wan diffusion model of another kind"


_UNKNOWN = "an unknown file"


@dataclass(frozen=True)
class Kind:
    """name: with its article, for messages; role: what it is loaded as, "" for nothing of ours; marking: how its
    weights are stored, "" where the header does not tell; width, layers: of a transformer, 0 where it is none."""

    name: str
    role: str = ""
    marking: str = ""
    width: int = 0
    layers: int = 0

    @property
    def known(self) -> bool:
        """Whether any row of the table tells it."""
        return not self.name.startswith(_UNKNOWN)

    def __str__(self):
        return f"{self.name}, {self.marking}" if self.marking else self.name


def identify(shapes: Shapes, dtypes: Mapping[str, str] | None = None) -> Kind:
    """What a file is; a Kind without a role for one that is not known or of no use here.

    dtypes: key -> dtype as the header names it ("BF16", "F8_E4M3", "Q4_K"); with them the marking is exact.
    """
    stored = marking(shapes, dtypes)
    plain = plain_shapes({plain_key(key): shape for key, shape in shapes.items()})
    for name, role, tells in _KNOWN:
        if tells(plain):
            return Kind(name, role, stored, _width(plain), _layers(plain))
    return Kind(f"{_UNKNOWN} of {len(shapes)} tensors", "", stored)


_WIDTHS = (  # a tensor of each transformer here, and the axis that is as long as the transformer is wide
    ("patch_embedding.weight", 0), ("blocks.0.audio_cross_attn.q_linear.weight", 0), ("encoder.layer_norm.weight", 0),
    ("vision_model.post_layernorm.weight", 0), ("shared.weight", 1), ("token_embedding.weight", 1),
)  # fmt: skip
_LAYER = re.compile(r"(?:blocks|encoder\.layers|encoder\.block)\.(\d{1,4})\.", re.ASCII)


def _width(plain: Shapes) -> int:
    found = (plain[key][axis] for key, axis in _WIDTHS if len(plain.get(key, ())) > axis)
    return next(found, 0)


def _layers(plain: Shapes) -> int:
    return 1 + max((int(number) for key in plain for number in _LAYER.findall(key)[:1]), default=-1)


def has_adapter(plain: Shapes) -> bool:
    """Whether an InfiniteTalk adapter, or a part of one, is in a file of plain keys."""
    return "audio_proj.proj1.weight" in plain or any(".audio_cross_attn.kv_linear." in key for key in plain)


def _any(*parts: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(part in key for key in shapes for part in parts)


def _wan(tells: Callable[[Shapes], bool]) -> Callable[[Shapes], bool]:
    """Only among Wan diffusion models."""
    return lambda shapes: "patch_embedding.weight" in shapes and _any(".self_attn.q.")(shapes) and tells(shapes)


def _side(key: str, axis: int, *sizes: int) -> Callable[[Shapes], bool]:
    return lambda shapes: len(shapes.get(key, ())) > axis and shapes[key][axis] in sizes


def _both(*tells: Callable[[Shapes], bool]) -> Callable[[Shapes], bool]:
    return lambda shapes: all(tell(shapes) for tell in tells)


_PATCH = "patch_embedding.weight"
_VAE = _any("encoder.downsamples.", "decoder.upsamples.", "decoder.head.0.")
_T5 = _any("encoder.block.0.layer.0.SelfAttention.q.weight")
_SPEECH = _any("feature_extractor.conv_layers.")
_VISION = _any("vision_model.encoder.layers.")
# The first row that tells wins: what is built on something else stands above it.
_KNOWN: tuple[tuple[str, str, Callable[[Shapes], bool]], ...] = (
    ("a UniAnimate LoRA", "", _any("dwpose_embedding", "randomref_embedding_pose")),
    ("a LoRA", LORA, _any(".lora_down", ".lora_up", ".lora_A", ".lora_B", ".diff_b", ".hada_w1", ".lokr_w1")),
    ("a LongCat-Avatar model", "", _any("audio_cross_attn.q_norm", ".audio_adaLN_modulation.", ".audio_modulation.")),
    ("a LongCat model", "", _both(_any("x_embedder.proj."), _any(".attn.qkv."))),
    ("a HuMo model", "", _any("audio_proj_glob_")),
    ("a FantasyPortrait model", "", _any("ip_adapter_single_stream_", "emo_k_proj", "pd_fpg.")),
    ("a FantasyTalking model", "", _any("cross_attn.processor.k_proj", "proj_model.")),
    ("a SekoTalk adapter of LightX2V", "", _any("ca.0.to_q.", "ca.0.to_kv.")),
    ("a Wan2.2 S2V model", "", _any("casual_audio_encoder.", "audio_injector.")),
    ("a Wan-Animate model", "", _any("face_adapter.", "face_encoder.", "motion_encoder.")),
    (VACE, "", _any("vace_blocks.", "vace_patch_embedding")),
    ("a Wan Fun or camera control model", "", _any("control_adapter.", "ref_conv.", "pose_patch_embedding")),
    ("a Wan model in diffusers' layout", "", _any("condition_embedder.", "blocks.0.attn1.to_q.")),
    ("a SCAIL model", "", _any("patch_embedding_pose.", "patch_embedding_mask.")),
    ("a ReCamMaster model", "", _any(".cam_encoder.")),
    ("Wan I2V with an InfiniteTalk adapter inside", MODEL, _wan(has_adapter)),
    (FIVE_B, "", _wan(_side(_PATCH, 1, 48))),
    (T2V, "", _wan(_side(_PATCH, 1, 16))),
    ("Wan2.1 I2V", MODEL, _wan(_both(_side(_PATCH, 1, 36), _any("img_emb.proj.")))),
    (NO_CLIP, "", _wan(_side(_PATCH, 1, 36))),
    (OTHER_WAN, "", _wan(lambda shapes: True)),
    ("an InfiniteTalk adapter", ADAPTER, has_adapter),
    ("a Wan2.2 VAE", "", _both(_VAE, _side("conv2.weight", 0, 48))),
    ("a Wan2.1 VAE that doubles the size", "", _both(_VAE, _side("decoder.head.2.weight", 0, 12))),
    ("a Wan2.1 VAE", VAE, _both(_VAE, _side("conv2.weight", 0, 16))),
    ("a tiny Wan VAE (TAEHV)", VAE, _any("decoder.22.bias", "decoder.7.conv.4.weight")),
    ("a VAE of another model", "", _any("decoder.up_blocks.", "decoder.conv_in.", "decoder.mid.")),
    ("a HuBERT audio encoder", "", _both(_SPEECH, _any("hubert."))),
    ("a WavLM audio encoder", "", _both(_SPEECH, _any("rel_attn_embed.", "gru_rel_pos_"))),
    ("a wav2vec2 of fairseq", "", _both(_SPEECH, _any("post_extract_proj."))),
    ("a wav2vec2 that writes text", SPEECH, _both(_SPEECH, _any("lm_head."))),
    ("a wav2vec2 audio encoder", SPEECH, _SPEECH),
    ("a Whisper audio encoder", "", _any("encoder.conv1.weight", "encoder.embed_positions.weight")),
    ("a CLIP ViT-H vision model", CLIP, _both(_VISION, _side("vision_model.post_layernorm.weight", 0, 1280))),
    ("a vision model of another kind (CLIP-L, SigLIP)", "", _VISION),
    ("a CLIP ViT-H vision model of OpenCLIP", CLIP, _both(_any("visual.transformer.resblocks."),
                                                          _side("visual.class_embedding", 0, 1280))),
    ("the reference's CLIP in its own layout", "", _any("visual.transformer.", "textual.transformer.")),
    ("a UMT5-XXL text encoder", TEXT, _both(_T5, _side("shared.weight", 0, 256384))),
    ("a UMT5-XXL text encoder", TEXT, _both(_T5, _side("encoder.embed_tokens.weight", 0, 256384))),
    ("a UMT5-XXL text encoder", TEXT, _side("token_embd.weight", 0, 256384)),
    ("a text encoder of another model", "", _any("token_embd.")),
    ("a T5-XXL text encoder of another vocabulary", "", _T5),
    ("the reference's UMT5-XXL in its own layout", "", _any("token_embedding.weight")),
    ("a diffusion model of another family", "", _any("double_blocks.", "joint_blocks.", "transformer_blocks.",
                                                    "input_blocks.", "blocks.0.attn.")),
)  # fmt: skip
