"""A preset as the host's SAMPLER and SIGMAS, and its warnings in the log and under the node.

Reads whether a MODEL has LoRAs; must not know how they are applied.
"""

from __future__ import annotations

import logging

import comfy.samplers

from ..config import FPS
from ..errors import InputError
from ..presets import PRESETS, SAMPLER, warnings
from ..schedule import flow_sigmas
from .progress import say

BYPASS = "bypass_lora"  # where the host's bypass loaders keep a LoRA, instead of among the weight patches


def make_preset(name: str, model=None, features=None, reference=None) -> tuple:
    """(SAMPLER, SIGMAS, GuidanceConfig, warnings) of a preset; the inputs that are not None are looked at."""
    check_preset(name)
    preset = PRESETS[name]
    notes = warnings(
        preset,
        None if model is None else has_lora(model),
        None if features is None else features.frames / FPS,
        None if reference is None else reference.still,
    )
    return comfy.samplers.sampler_object(SAMPLER), flow_sigmas(preset.steps, preset.shift), preset.guidance, notes


def check_preset(name: str) -> None:
    if name not in PRESETS:
        raise InputError(f"preset: {name!r} is unknown.", f"Use one of {', '.join(PRESETS)}.")


def has_lora(model) -> bool:
    """Whether a host MODEL has patches on its weights: every loader's LoRA, GGUF's too, but not one merged into the
    file, and not the host's hook LoRAs, which travel in the conditioning."""
    return bool(model.patches) or bool(model.get_injections(BYPASS))


def tell(notes: tuple[str, ...], node_id: str | None) -> None:
    """Warnings to the log and, as text, under the node."""
    for note in notes:
        logging.warning("InfiniteTalk preset: %s", note)
    if notes:
        say("\n".join(notes), node_id)
