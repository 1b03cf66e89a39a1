"""Model files as the host's lists name them: where they are, how big, and the shapes in them. Loads no weights."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import folder_paths
import torch

from ..check.loaders import Opened
from ..errors import InputError
from ..gguf_file import gguf_package
from ..gguf_header import is_gguf
from ..parts import model_parts
from ..tensor_file import model_bytes, read_header
from ..wav2vec import weights_file
from .audio_encoder import find_encoder
from .model_files import ADAPTER_FOLDERS, MODEL_FOLDER, find_file

FOLDERS = {
    "model": (MODEL_FOLDER, "unet_gguf"),
    "adapter": ADAPTER_FOLDERS,
    "vae": ("vae", "vae_approx"),
    "text_encoder": ("text_encoders", "clip_gguf"),
    "clip_vision": ("clip_vision",),
    "lora": ("loras",),
}
MAPPED = {".safetensors", ".sft"}  # what the host does not take for a pickle, by the name alone
# What the loader raises on a file that is none; pickles of nonsense run into most kinds of errors.
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError,
    AssertionError, struct.error,
)  # fmt: skip


def open_weight(role: str, name: str, label: str) -> Opened:
    """The file behind a loader's widget. Raises InputError for one that is absent or cannot be read."""
    if role == "audio_encoder":
        path = _encoder(name, label)
    else:
        known = tuple(folder for folder in FOLDERS[role] if folder in folder_paths.folder_names_and_paths)
        path = Path(find_file(name, known, label))
    if path.suffix.lower() in folder_paths.supported_pt_extensions - MAPPED:
        return Opened(path, path.stat().st_size, _pickled_shapes(path, label), {})
    parts = role in ("model", "adapter")  # what has its parts read, if by our own loaders alone
    header = read_header(path, label, parts)
    if role == "adapter" and is_gguf(path):
        gguf_package(label)  # other GGUF files are loaded by a pack of its own
    files = model_parts(path, label) if parts else _siblings(path, role)
    size, part = (model_bytes(path, label) if parts else path.stat().st_size), len(files) > 1
    return Opened(path, size, header.shapes, header.dtypes, header.metadata, part)


def _encoder(name: str, label: str) -> Path:
    try:
        return weights_file(Path(find_encoder(name)))
    except InputError as error:
        raise InputError(f"{label}: {error.problem.removeprefix('audio_encoder: ')}", error.remedy) from error


def _siblings(path: Path, role: str) -> list[str]:
    """The files of a model that a loader reads one of; LoRAs are numbered for other reasons."""
    try:
        return [] if role == "lora" else model_parts(path, role)
    except InputError:  # the others are not there: it is no part
        return []


def _pickled_shapes(path: Path, label: str) -> dict[str, tuple[int, ...]]:
    """By the loader that runs no code and without the numbers. The reference's own files are such.

    In the format of before PyTorch 1.6 the numbers stand in the stream itself: it cannot be mapped, only read.
    """
    try:
        tensors = torch.load(path, map_location="meta", weights_only=True, mmap=zipfile.is_zipfile(path))
        if not isinstance(tensors, dict):
            raise ValueError(f"it holds a {type(tensors).__name__}, not named tensors")
        within = tensors.get("state_dict", next(iter(tensors.values())) if len(tensors) == 1 else None)
        tensors = within if isinstance(within, dict) else tensors  # as the host unwraps checkpoints
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, pickle.UnpicklingError):  # torch then talks of its own settings
            reason = "it is no PyTorch file, or holds more than weights"
        raise InputError(
            f"{label}: {path.name} cannot be read as model weights ({reason[:160]}).",
            "Choose a .safetensors file, or fetch it again.",
        ) from error
    return {key: tuple(value.shape) for key, value in tensors.items() if isinstance(value, torch.Tensor)}
