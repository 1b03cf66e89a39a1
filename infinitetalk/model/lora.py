"""Which parts of a LoRA a Wan model takes, from the shapes in both headers: ComfyUI leaves the rest out.

Knows how ComfyUI names a model's modules in LoRA files; no host, no numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .kinds import Shapes, plain_key
from .quantised import plain_shapes

_PREFIX = "diffusion_model."
_FLAT = ("lora_unet__", "lora_unet_")  # with dots written as underscores; the first is VideoX-Fun's
NAMES = (_PREFIX, "lora_unet_")  # how modules that ComfyUI looks for begin
_ENDS = re.compile(
    r"\.(lora_(down|up|A|B)(\.default)?\.weight|lora_mid\.weight|alpha|diff|diff_b|diff_m|dora_scale|"
    r"(hada|lokr)_\w+|set_weight)$"
)


def lora_fit(lora: Shapes, base: Shapes) -> tuple[list[str], list[str]]:
    """(modules that the model takes, modules that it leaves out): names as the LoRA has them, sorted.

    lora, base: key -> shape. A module is left out that the model does not have, or has in another size.
    """
    plain = plain_shapes({plain_key(key): shape for key, shape in base.items()})
    weights = {key.removesuffix(".weight"): shape for key, shape in plain.items() if key.endswith(".weight")}
    flat = {name.replace(".", "_"): name for name in weights}
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in lora.items():
        end = _ENDS.search(key)
        if end:
            parts.setdefault(key[: end.start()], {})[end.group(1)] = shape
    applied, left = [], []
    for name, given in sorted(parts.items()):
        target = _target(name, flat)
        fits = target is not None and _fits(given, weights.get(target), plain.get(f"{target}.bias"), plain.get(target))
        (applied if fits else left).append(name)
    return applied, left


def _target(name: str, flat: Mapping[str, str]) -> str | None:
    """The model's name of a LoRA's module; None for one that ComfyUI does not look for."""
    for prefix in _FLAT:
        if name.startswith(prefix):
            return flat.get(name[len(prefix) :])
    return name[len(_PREFIX) :] if name.startswith(_PREFIX) else None


def _fits(given: Mapping, weight: tuple | None, bias: tuple | None, whole: tuple | None) -> bool:
    """whole: the shape of a parameter that is no module's weight, such as a modulation."""
    up = next((given[end] for end in given if end.startswith(("lora_up", "lora_B"))), None)
    down = next((given[end] for end in given if end.startswith(("lora_down", "lora_A"))), None)
    if up is not None and down is not None and (weight is None or (up[0], *down[1:]) != tuple(weight)):
        return False
    if "diff" in given and given["diff"] not in (weight, whole):
        return False
    if "diff_b" in given and given["diff_b"] != bias:
        return False
    return set(given) != {"diff_m"} and (weight is not None or whole is not None)  # ComfyUI does not know diff_m
