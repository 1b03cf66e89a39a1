"""Prompt and CLIP embeddings in one safetensors file, in place of their encoders.

File: `positive`, `negative` [1, tokens, width] and `clip_vision` [1, 257, 1280].
"""

from __future__ import annotations

import os
import re

import comfy.clip_vision
import comfy.utils
import folder_paths
from safetensors.torch import save_file

from ..config import InputError
from .loading import find_file, list_files, read_shapes

FOLDER = "infinitetalk"
KEYS = ("positive", "negative", "clip_vision")


def list_embeds() -> list[str]:
    """Files of embeddings in models/infinitetalk."""
    return [name for name in list_files(FOLDER) if "embeds" in name]


def find_embeds(name: str) -> str:
    """Full path of a name that `list_embeds` gave."""
    return find_file(name, (FOLDER,), "embeds")


def load_embeds(name: str) -> tuple:
    """(positive, negative, CLIP vision output) of a file."""
    path = find_embeds(name)
    missing = [key for key in KEYS if key not in read_shapes(path, "embeds")]
    if missing:
        raise InputError(f"embeds: {name} has no {', '.join(missing)}.", "Make it with Save InfiniteTalk Embeds.")
    tensors = {key: value.float() for key, value in comfy.utils.load_torch_file(path, safe_load=True).items()}
    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = tensors["clip_vision"]
    return [[tensors["positive"], {}]], [[tensors["negative"], {}]], clip


def save_embeds(positive: list, negative: list, clip, name: str) -> str:
    """Write a file for `load_embeds`; returns its path below models. Refuses names that are not plain."""
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise InputError(f"name: {name!r} is not a plain file name.", "Use letters, digits, - and _.")
    for label, conditioning in (("positive", positive), ("negative", negative)):
        if len(conditioning) != 1:
            raise InputError(f"{label}: {len(conditioning)} conditionings are combined.", "Save one prompt at a time.")
    tensors = {"positive": positive[0][0], "negative": negative[0][0], "clip_vision": clip.penultimate_hidden_states}
    folder = folder_paths.get_folder_paths(FOLDER)[0]
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{name}_embeds.safetensors")
    save_file({key: value.detach().cpu().half().contiguous() for key, value in tensors.items()}, path + ".part")
    os.replace(path + ".part", path)
    return f"models/{FOLDER}/{os.path.basename(path)}"
