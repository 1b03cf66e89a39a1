"""What a checkpoint is, told from its keys and shapes, never from its name.

Input is a mapping key -> shape (a file's header is enough: nothing has to be loaded). Refusals are
InputErrors that say what the file is and which one is wanted. Must not know the host or read files.
Key facts: the published InfiniteTalk, LongCat-Avatar, HuMo, SkyReels V3 and Wan checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError
from .adapter import AdapterShape, adapter_shape
from .quantised import plain_shapes

Shapes = Mapping[str, tuple[int, ...]]

_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_OTHER_PARTS = ("ref_conv.", "face_adapter.", "pose_patch_embedding", "control_adapter.", "motion_encoder.")
_LORA_MARKS = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".diff_b", ".hada_w1_a")
_WANTED_ADAPTER = (
    "Choose an InfiniteTalk adapter, for example wan2.1_infiniteTalk_single_fp16.safetensors "
    "or infinitetalk.safetensors."
)
_WANTED_BASE = "Choose Wan2.1 I2V 14B (480p or 720p), for example Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors."


@dataclass(frozen=True)
class BaseShape:
    """Sizes of a Wan diffusion model: width, blocks, input and output channels.

    clip: has the image branch; vace: is a VACE model; other: has parts that plain image-to-video has not.
    """

    dim: int
    layers: int
    in_dim: int
    out_dim: int
    clip: bool
    vace: bool
    other: bool = False


def strip_prefix(key: str) -> str:
    """A key without the wrappers' prefixes."""
    for prefix in _PREFIXES:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def _contains(shapes: Shapes, *parts: str) -> bool:
    return any(part in key for key in shapes for part in parts)


def _what_else(shapes: Shapes) -> str | None:
    """The name of a known file that is not an adapter, or None."""
    if _contains(shapes, *_LORA_MARKS):
        return "a LoRA"
    if _contains(shapes, "audio_cross_attn.q_norm"):
        return "a LongCat-Avatar model"
    if _contains(shapes, "audio_proj_glob_"):
        return "a HuMo model"
    if any(key.startswith(("encoder.downsamples", "decoder.upsamples", "decoder.head.")) for key in shapes):
        return "a Wan VAE"
    if _contains(shapes, "feature_extractor.conv_layers."):
        return "a wav2vec2 audio encoder"
    if _contains(shapes, "vision_model.encoder.layers."):
        return "a CLIP vision model"
    if _contains(shapes, ".self_attn.q.") and _contains(shapes, "audio_cross_attn"):
        return "a diffusion model with an audio part merged in"
    if _contains(shapes, "patch_embedding."):
        return "a diffusion model without the adapter"
    return None


def read_adapter(shapes: Shapes, name: str) -> AdapterShape:
    """The sizes of the adapter in `shapes`; `name` is the input shown in errors.

    Raises InputError for anything that is not a complete InfiniteTalk adapter. Quantised ones are read too.
    """
    shapes = plain_shapes({strip_prefix(key): shape for key, shape in shapes.items()})
    other = _what_else(shapes)
    if other:
        raise InputError(f"{name}: this file is {other}, not an InfiniteTalk adapter.", _WANTED_ADAPTER)
    if "audio_proj.proj1.weight" not in shapes:
        raise InputError(f"{name}: none of its {len(shapes)} tensors is an audio projection.", _WANTED_ADAPTER)
    missing = sorted(_expected_keys(shapes) - set(shapes))
    if missing:
        raise InputError(
            f"{name}: {len(missing)} tensors of the adapter are missing, first {missing[0]}.",
            "The download is incomplete or the file was cut: fetch it again.",
        )
    return adapter_shape(shapes)


def _expected_keys(shapes: Shapes) -> set[str]:
    numbers = [int(key.split(".")[1]) for key in shapes if key.startswith("blocks.") and key.split(".")[1].isdigit()]
    modules = [f"audio_proj.{part}" for part in ("proj1", "proj1_vf", "proj2", "proj3", "norm")]
    for n in range(1 + max(numbers, default=0)):
        modules += [f"blocks.{n}.norm_x"]
        modules += [f"blocks.{n}.audio_cross_attn.{part}" for part in ("q_linear", "kv_linear", "proj")]
    return {f"{module}.{part}" for module in modules for part in ("weight", "bias")}


def read_base(shapes: Shapes, name: str) -> BaseShape:
    """The sizes of a Wan diffusion model and a refusal of every kind InfiniteTalk was not trained on."""
    shapes = {strip_prefix(key): shape for key, shape in shapes.items()}
    patch = shapes.get("patch_embedding.weight")
    if patch is None or "blocks.0.self_attn.q.bias" not in shapes:
        what = _what_else(shapes) or ("an InfiniteTalk adapter" if "audio_proj.proj1.weight" in shapes else None)
        raise InputError(f"{name}: this file is {what or 'not a Wan diffusion model'}.", _WANTED_BASE)
    blocks = {key.split(".")[1] for key in shapes if key.startswith("blocks.")}
    head = shapes.get("head.head.bias", (64,))[0]
    base = BaseShape(
        dim=patch[0],
        layers=len(blocks),
        in_dim=patch[1],
        out_dim=head // 4,
        clip="img_emb.proj.1.bias" in shapes,
        vace=_contains(shapes, "vace_blocks.", "vace_patch_embedding"),
        other=_contains(shapes, *_OTHER_PARTS),
    )
    check_base(base, name)
    return base


def check_base(base: BaseShape, name: str) -> None:
    """Refuse a Wan model that is not image-to-video with a CLIP branch."""
    what = None
    if base.vace:
        what = "a VACE model"
    elif base.out_dim == 48:
        what = "the Wan2.2 5B model"
    elif base.in_dim == 16:
        what = "a text-to-video model"
    elif base.in_dim != 36:
        what = f"a Wan model with {base.in_dim} input channels instead of 36"
    elif base.other:
        what = "a Wan model with parts of its own (Fun, Animate, camera control or the like)"
    elif not base.clip:
        what = "a Wan model without the CLIP image branch (Wan2.2 I2V)"
    if what:
        raise InputError(f"{name}: this is {what}; InfiniteTalk works on Wan2.1 image-to-video.", _WANTED_BASE)


def check_fit(adapter: AdapterShape, base: BaseShape, name: str) -> None:
    """Refuse an adapter of another width or depth than the model."""
    if (adapter.dim, adapter.layers) != (base.dim, base.layers):
        raise InputError(
            f"{name}: the adapter has width {adapter.dim} and {adapter.layers} blocks, "
            f"the model has width {base.dim} and {base.layers} blocks.",
            "Use the adapter made for this model; the published ones fit Wan2.1 I2V 14B (width 5120, 40 blocks).",
        )
