"""Model files in the host's folders: which there are, where they lie, what is in their headers, their tensors.

What a file is comes from its content. Loads tensors into a mapping and no further; must not know modules or sampling.
"""

from __future__ import annotations

import os

import comfy.utils
import folder_paths
import torch
from safetensors.torch import load_file

from ..errors import InputError
from ..parts import first_parts, model_parts
from ..tensor_file import read_header

GGUF_FOLDER = "infinitetalk_gguf"  # a name of ours for the same folders, as the host lists no .gguf in its own
ADAPTER_FOLDERS = ("model_patches", "diffusion_models", "infinitetalk", GGUF_FOLDER)
MODEL_FOLDER = "diffusion_models"


def register_folders() -> None:
    """Make `models/infinitetalk` known to the host beside its own model folders."""
    folder_paths.add_model_folder_path("infinitetalk", os.path.join(folder_paths.models_dir, "infinitetalk"))
    extensions = folder_paths.folder_names_and_paths["infinitetalk"][1]
    extensions.update(folder_paths.supported_pt_extensions)
    paths = [path for folder in ADAPTER_FOLDERS[:-1] for path in folder_paths.get_folder_paths(folder)]
    folder_paths.folder_names_and_paths[GGUF_FOLDER] = (list(dict.fromkeys(paths)), {".gguf"})


def list_files(*folders: str) -> list[str]:
    """Names, sub-folders included, of the safetensors and GGUF files in model folders; each name once.

    Of a model in parts only the first one.
    """
    names: dict[str, None] = {}
    for folder in folders:
        names.update(dict.fromkeys(folder_paths.get_filename_list(folder)))
    return first_parts([name for name in names if name.endswith((".safetensors", ".gguf"))])


def find_file(name: str, folders: tuple[str, ...], label: str) -> str:
    """Full path of `name` in the first of `folders` that has it."""
    for folder in folders:
        path = folder_paths.get_full_path(folder, name) if isinstance(name, str) else None
        if path:
            return path
    raise InputError(
        f"{label}: {name} is not in {' or '.join('models/' + folder for folder in folders if folder != GGUF_FOLDER)}.",
        "Put the file there and press R to refresh the lists, or choose another one.",
    )


def find_base(name: str) -> str:
    """Full path of a diffusion model."""
    return find_file(name, (MODEL_FOLDER,), "model")


def find_adapter(name: str) -> str:
    """Full path of an adapter, or of a model with one inside."""
    return find_file(name, ADAPTER_FOLDERS, "adapter")


def fingerprint(path: str) -> tuple:
    """What changes when a file, a part of a model, or a file in a folder does: a node that reads it then runs again."""
    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in sorted(os.listdir(path))]
    else:
        files = model_parts(path, "file")
    return tuple((os.path.basename(file), os.stat(file).st_mtime_ns, os.stat(file).st_size) for file in files)


def read_shapes(path: str, label: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a safetensors or GGUF file, without loading a tensor."""
    return read_header(path, label).shapes


def read_tensors(path: str) -> dict[str, torch.Tensor]:
    """Key -> tensor of a safetensors file, or of all parts of a model, as they lie in the mapped file."""
    tensors: dict[str, torch.Tensor] = {}
    for part in model_parts(path, "file"):
        # The host's reader lets it page weights from the file; it goes by the name, and would unpickle another one.
        load = _by_host if part.endswith(".safetensors") else load_file
        tensors.update(load(part))
    return tensors


def _by_host(path: str) -> dict[str, torch.Tensor]:
    return comfy.utils.load_torch_file(path, safe_load=True)
