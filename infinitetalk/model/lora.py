"""Which parts of a LoRA a Wan model takes, from the shapes in both headers: ComfyUI leaves the rest out.

Knows how ComfyUI names a model's modules in LoRA files; no host, no numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from .kinds import Shapes, plain_key
from .quantised import plain_shapes

_PREFIX = "diffusion_model."
_FLAT = ("lora_unet__", "lora_unet_")  # with dots written as underscores; the first is VideoX-Fun's
NAMES = (_PREFIX, "lora_unet_")  # how modules that ComfyUI looks for begin
# What comfy.lora and comfy.weight_adapter look for, and diff_m
_ENDS = re.compile(
    r"(?:\.(lora_(?:down|up|mid)\.weight|lora_[AB](?:(?:\.default)?\.weight)?|lora\.(?:down|up)\.weight|"
    r"lora_linear_layer\.(?:down|up)\.weight|reshape_weight|alpha|diff|diff_b|diff_m|dora_scale|w_norm|b_norm|"
    r"(?:hada|lokr)_\w+|oft_blocks|rescale|[ab][12]\.weight|set_weight)|_(lora\.(?:down|up)\.weight))$"
)
_UP, _DOWN = re.compile(r"lora(_linear_layer)?[._](up|B)\b"), re.compile(r"lora(_linear_layer)?[._](down|A)\b")
_ANY = re.compile(r"[._](lora|hada|lokr|diff)[._]")


def lora_fit(lora: Shapes, base: Shapes) -> tuple[list[str], list[str], dict[str, str]]:
    """(modules that the model takes, modules that it leaves out, module -> a key of it whose end ComfyUI does not
    know): names as the LoRA has them, sorted.

    lora, base: key -> shape. A module is left out that the model does not have, or has in another size.
    """
    plain = plain_shapes({plain_key(key): shape for key, shape in base.items()})
    weights = {key.removesuffix(".weight"): shape for key, shape in plain.items() if key.endswith(".weight")}
    flat = {name.replace(".", "_"): name for name in weights}
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    unread: dict[str, str] = {}
    for key, shape in sorted(lora.items()):
        end = _ENDS.search(key)
        if end:
            parts.setdefault(key[: end.start()], {})[end[1] or end[2]] = shape
        else:
            unread.setdefault(_ANY.split(key)[0], key)
    applied, left = [], []
    for name, given in sorted(parts.items()):
        target = _target(name, flat)
        fits = target is not None and _fits(given, weights.get(target), plain.get(f"{target}.bias"), plain.get(target))
        (applied if fits else left).append(name)
    return applied, left, unread


def _target(name: str, flat: Mapping[str, str]) -> str | None:
    """The model's name of a LoRA's module; None for one that ComfyUI does not look for."""
    for prefix in _FLAT:
        if name.startswith(prefix):
            return flat.get(name[len(prefix) :])
    return name[len(_PREFIX) :] if name.startswith(_PREFIX) else None


def _sides(*shape: int) -> tuple[int, ...]:
    """(out, in) of a matrix or a convolution: ComfyUI flattens both."""
    return (*shape[:1], math.prod(shape[1:]))


def _fits(given: Mapping, weight: tuple | None, bias: tuple | None, whole: tuple | None) -> bool:
    """whole: the shape of a parameter that is no module's weight, such as a modulation."""
    up = next((given[end] for end in given if _UP.match(end)), None)
    down = next((given[end] for end in given if _DOWN.match(end)), None)
    if up is not None and down is not None and (weight is None or _sides(*up[:1], *down[1:]) != _sides(*weight)):
        return False
    if "diff" in given and given["diff"] not in (weight, whole):
        return False
    if "diff_b" in given and given["diff_b"] != bias:
        return False
    return set(given) != {"diff_m"} and (weight is not None or whole is not None)  # ComfyUI does not know diff_m
