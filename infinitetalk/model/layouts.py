"""The two files that must fit: the adapter and the Wan model it was trained on, read from their keys and shapes.

Input is a mapping key -> shape (a file's header is enough: nothing has to be loaded). Refusals are
InputErrors that say what the file is and which one is wanted. Must not know the host or read files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..errors import InputError
from .adapter import AdapterShape, adapter_shape
from .keys import WITHIN, plain_key
from .kinds import ADAPTER, FIVE_B, MODEL, NO_CLIP, OTHER_WAN, T2V, VACE, WANTED, Shapes, has_adapter, identify
from .quantised import plain_shapes

_ADAPTER_KEY = re.compile(r"audio_proj\.|blocks\.(\d{1,4})\.(norm_x|audio_cross_attn)\.", re.ASCII)
INSIDE = "(inside the model)"  # choices in place of an adapter's file
FROM_SOCKET = "(from model_patch)"
_OF_ALL = ("scaled_fp8",)  # a mark of the file, not of a weight
_AGAIN = "The download is incomplete or the file was cut: fetch it again."
_WORKS_ON = "InfiniteTalk works on Wan2.1 image-to-video"
_NORMS = ("norm.weight", "norm_x.weight")  # one-dimensional, as biases are
Value = TypeVar("Value")


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
    vace: bool = False
    other: bool = False


def adapter_part(content: Mapping[str, Value]) -> dict[str, Value]:
    """The adapter's keys of a file, under their published names, with the markings of quantised weights.

    content: key -> tensor or shape, of an adapter file or of a model with the adapter inside.
    """
    named = {plain_key(key): value for key, value in content.items()}
    return {key: value for key, value in named.items() if _ADAPTER_KEY.match(key) or key in _OF_ALL}


def base_part(content: Mapping[str, Value]) -> dict[str, Value]:
    """What `adapter_part` leaves, under ComfyUI's names of a diffusion model; of a checkpoint with VAE and text encoder
    the diffusion model alone."""
    whole = any(key.startswith(WITHIN) for key in content)
    named = {plain_key(key): value for key, value in content.items() if key.startswith(WITHIN) or not whole}
    return {key: value for key, value in named.items() if not _ADAPTER_KEY.match(key)}


def in_adapter(key: str) -> bool:
    """Whether a file's key is of an adapter's tensor."""
    return _ADAPTER_KEY.match(plain_key(key)) is not None


def holds_adapter(content: Mapping[str, object]) -> bool:
    """Whether a file has any tensor of an adapter."""
    return any(map(in_adapter, content))


def read_adapter(shapes: Shapes, name: str) -> AdapterShape:
    """The sizes of the adapter in `shapes`; `name` is the input shown in errors.

    Raises InputError for anything that holds no complete InfiniteTalk adapter. Quantised ones are read too, and one
    inside a diffusion model.
    """
    kind = identify(shapes)
    part = plain_shapes(adapter_part(shapes))
    if kind.role not in (ADAPTER, MODEL) or not (part or has_adapter(shapes)):
        raise InputError(f"{name}: this file is {kind.name}, not an InfiniteTalk adapter.", WANTED[ADAPTER])
    if not part:
        strange = next(key for key in shapes if has_adapter({key: ()}))
        raise InputError(
            f"{name}: the adapter's tensors have names that are not known here, such as {strange}.",
            "Take the published file, or save it with the published names: audio_proj..., blocks.0.norm_x... .",
        )
    shapes = part
    missing = sorted(_expected_keys(shapes) - set(shapes))
    if missing:
        raise InputError(
            f"{name}: {len(missing)} tensors of the adapter are missing, first {missing[0]}.",
            _AGAIN,
        )
    for key in sorted(_expected_keys(shapes)):
        _check_sides(shapes[key], 2 if key.endswith("weight") and not key.endswith(_NORMS) else 1, f"{name}: {key}")
    return adapter_shape(shapes)


def read_inside(shapes: Shapes, model: str) -> AdapterShape:
    """The sizes of the adapter inside a diffusion model's file, chosen by INSIDE, or a refusal; model: its name."""
    if not holds_adapter(shapes):
        raise InputError(
            f"adapter: {INSIDE} is chosen, and {model} has none.",
            "Choose an adapter file, or a model with the adapter inside.",
        )
    return read_adapter(shapes, f"model: {model}")


def no_patch() -> InputError:
    """FROM_SOCKET is chosen, and the socket has nothing."""
    return InputError(
        f"adapter: {FROM_SOCKET} is chosen and nothing is connected to model_patch.",
        "Choose an adapter file, or connect Load Model Patch.",
    )


def _check_sides(shape: tuple[int, ...], sides: int, label: str) -> None:
    if len(shape) != sides or 0 in shape:
        raise InputError(f"{label} has shape {list(shape)} where {sides} sides are due.", _AGAIN)


def _expected_keys(shapes: Shapes) -> set[str]:
    """Of as many blocks as the highest number says, or as the file has keys: one strange number asks for no more."""
    found = (_ADAPTER_KEY.match(key) for key in shapes)
    numbers = [min(int(match[1]), len(shapes)) for match in found if match and match[1]]
    modules = [f"audio_proj.{part}" for part in ("proj1", "proj1_vf", "proj2", "proj3", "norm")]
    for n in range(1 + max(numbers, default=0)):
        modules += [f"blocks.{n}.norm_x"]
        modules += [f"blocks.{n}.audio_cross_attn.{part}" for part in ("q_linear", "kv_linear", "proj")]
    return {f"{module}.{part}" for module in modules for part in ("weight", "bias")}


def read_base(shapes: Shapes, name: str) -> BaseShape:
    """The sizes of a Wan diffusion model and a refusal of every kind InfiniteTalk was not trained on."""
    kind = identify(shapes)
    shapes = plain_shapes(base_part(shapes))
    patch = shapes.get("patch_embedding.weight")
    if patch is None or "blocks.0.self_attn.q.bias" not in shapes:
        raise InputError(f"{name}: this file is {kind.name}, not a Wan diffusion model.", WANTED[MODEL])
    if kind.role != MODEL and kind.name != OTHER_WAN:
        raise InputError(f"{name}: this is {kind.name}; {_WORKS_ON}.", WANTED[MODEL])
    head = shapes.get("head.head.bias", (64,))
    _check_sides(patch[:2], 2, f"{name}: patch_embedding.weight")  # GGUF files have the rest in one side or in three
    _check_sides(head, 1, f"{name}: head.head.bias")
    blocks = {key.split(".")[1] for key in shapes if key.startswith("blocks.")}
    base = BaseShape(
        dim=patch[0],
        layers=len(blocks),
        in_dim=patch[1],
        out_dim=head[0] // 4,
        clip="img_emb.proj.1.bias" in shapes,
    )
    check_base(base, name)
    return base


def check_base(base: BaseShape, name: str) -> None:
    """Refuse a Wan model that is not image-to-video with a CLIP branch."""
    what = None
    if base.vace:
        what = VACE
    elif base.out_dim == 48:
        what = FIVE_B
    elif base.in_dim == 16:
        what = T2V
    elif base.in_dim != 36:
        what = f"a Wan model with {base.in_dim} input channels instead of 36"
    elif base.other:
        what = "a Wan model with parts of its own (Fun, Animate, camera control or the like)"
    elif not base.clip:
        what = NO_CLIP
    if what:
        raise InputError(f"{name}: this is {what}; {_WORKS_ON}.", WANTED[MODEL])


def check_fit(adapter: AdapterShape, base: BaseShape, name: str) -> None:
    """Refuse an adapter of another width or depth than the model."""
    if (adapter.dim, adapter.layers) != (base.dim, base.layers):
        raise InputError(
            f"{name}: the adapter has width {adapter.dim} and {adapter.layers} blocks, "
            f"the model has width {base.dim} and {base.layers} blocks.",
            "Use the adapter made for this model; the published ones fit Wan2.1 I2V 14B (width 5120, 40 blocks).",
        )
