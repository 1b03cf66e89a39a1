"""Prompt and CLIP embeddings in one safetensors file, in place of their encoders.

File: `positive`, `negative` [1, tokens, width] and `clip_vision` [1, 257, 1280].
"""

from __future__ import annotations

import re
from pathlib import Path

import comfy.clip_vision
import comfy.utils
import folder_paths
from safetensors.torch import save_file

from ..disk import check_writable, discard, explained, publish
from ..errors import InputError
from .model_files import find_file, list_files, read_shapes

FOLDER = "infinitetalk"
WANTED = {"positive": (None, 4096), "negative": (None, 4096), "clip_vision": (257, 1280)}  # tokens, width
KEYS = tuple(WANTED)


def list_embeds() -> list[str]:
    """Files of embeddings in models/infinitetalk."""
    return [name for name in list_files(FOLDER) if "embeds" in name]


def find_embeds(name: str) -> str:
    """Full path of a name that `list_embeds` gave."""
    return find_file(name, (FOLDER,), "embeds")


def load_embeds(name: str) -> tuple:
    """(positive, negative, CLIP vision output) of a file."""
    path = find_embeds(name)
    shapes = read_shapes(path, "embeds")
    remedy = "Make it with Save InfiniteTalk Embeds, from umt5_xxl and CLIP ViT-H."
    missing = [key for key in KEYS if key not in shapes]
    if missing:
        raise InputError(f"embeds: {name} has no {', '.join(missing)}.", remedy)
    for key, (tokens, width) in WANTED.items():
        found = shapes[key]
        if len(found) != 3 or found[0] != 1 or found[2] != width or tokens not in (None, found[1]):
            shape = [1, tokens or "tokens", width]
            raise InputError(f"embeds: {key} in {name} has shape {list(found)}, not {shape}.", remedy)
    tensors = {key: value.float() for key, value in comfy.utils.load_torch_file(path, safe_load=True).items()}
    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = tensors["clip_vision"]
    return [[tensors["positive"], {}]], [[tensors["negative"], {}]], clip


def save_embeds(positive: list, negative: list, clip, name: str) -> str:
    """Write a file for `load_embeds`; returns its path below models. Refuses names that are not plain."""
    if not re.fullmatch(r"[\w.-]{1,150}", name) or name.startswith("."):
        raise InputError(f"name: {name!r} is not a plain file name.", "Use letters, digits, - and _, at most 150.")
    for label, conditioning in (("positive", positive), ("negative", negative)):
        if len(conditioning) != 1:
            raise InputError(f"{label}: {len(conditioning)} conditionings are combined.", "Save one prompt at a time.")
    tensors = {"positive": positive[0][0], "negative": negative[0][0], "clip_vision": clip.penultimate_hidden_states}
    folder = Path(folder_paths.get_folder_paths(FOLDER)[0])
    path = folder / f"{name}_embeds.safetensors"
    part = path.with_name(f"{path.name}.part")
    data = {key: value.detach().cpu().half().contiguous() for key, value in tensors.items()}
    check_writable(folder, sum(value.nbytes for value in data.values()))
    try:
        with explained(path):
            save_file(data, part)
            publish(part, path)
    finally:
        discard(part)
    return f"models/{FOLDER}/{path.name}"
