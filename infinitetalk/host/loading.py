"""Files -> the host's MODEL and MODEL_PATCH objects, with every refusal made from the file's header.

Owns file lists, headers and the adapter's construction. Must not know sampling.
"""

from __future__ import annotations

import os

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.ldm.wan.model import WanModel

from ..errors import InputError
from ..gguf_file import NotGguf, gguf_shapes, gguf_tensors, is_gguf
from ..model.adapter import InfiniteTalkAdapter
from ..model.kinds import Shapes
from ..model.layouts import BaseShape, adapter_part, check_base, check_fit, read_adapter, read_base
from ..model.quantised import FORMATS, one_marking
from ..safetensors_header import NotSafetensors, read_header

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
    """Names, sub-folders included, of the safetensors and GGUF files in model folders; each name once."""
    names: dict[str, None] = {}
    for folder in folders:
        names.update(dict.fromkeys(folder_paths.get_filename_list(folder)))
    return [name for name in names if name.endswith((".safetensors", ".gguf"))]


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


def fingerprint(path: str) -> tuple:
    """What changes when a file, or a file in a folder, does: a node that reads it then runs again."""
    files = [os.path.join(path, name) for name in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
    return tuple((os.path.basename(file), os.stat(file).st_mtime_ns, os.stat(file).st_size) for file in files)


def read_shapes(path: str, label: str) -> Shapes:
    """Key -> shape of a safetensors or GGUF file, without loading a tensor."""
    try:
        if is_gguf(path):
            return gguf_shapes(path)
        return read_header(path).shapes
    except (NotSafetensors, OSError, NotGguf) as error:
        raise InputError(
            f"{label}: {os.path.basename(path)} is not a readable safetensors or GGUF file ({error}).",
            "The download is incomplete or the file is of another format: fetch it again.",
        ) from error


def check_files(model_name: str, adapter_name: str) -> None:
    """Refuse, from the headers alone, a model and an adapter file that cannot work together."""
    base = read_base(read_shapes(find_file(model_name, (MODEL_FOLDER,), "model"), "model"), f"model: {model_name}")
    check_fit(check_adapter_file(adapter_name), base, f"adapter: {adapter_name}")


def check_adapter_file(name: str):
    """The sizes of an adapter file, or a refusal, from its header."""
    return read_adapter(read_shapes(find_file(name, ADAPTER_FOLDERS, "adapter"), "adapter"), f"adapter: {name}")


def load_model(name: str):
    """A diffusion model as the host's own loader gives it."""
    path = find_file(name, (MODEL_FOLDER,), "model")
    read_base(read_shapes(path, "model"), f"model: {name}")
    return comfy.sd.load_diffusion_model(path)


def load_adapter(name: str, model):
    """An adapter file as a MODEL_PATCH for `model`.

    Kept in the file's precision; a float32 file in the model's, since its layers compute in that anyway.
    """
    path = find_file(name, ADAPTER_FOLDERS, "adapter")
    return load_adapter_file(path, model.model.get_dtype_inference())


def read_tensors(path: str, wide: torch.dtype = torch.float32) -> tuple[dict[str, torch.Tensor], bool, torch.dtype]:
    """(the tensors of an adapter file, quantised ones in the one marking; whether there are any; the others' dtype).

    wide: the precision that float32 weights are kept in. A safetensors file's tensors stay on the disk until used.
    """
    if is_gguf(path):
        narrow = torch.bfloat16 if wide == torch.float32 else wide  # what was 4 to 8 bits is not made 32
        tensors, metadata = gguf_tensors(path, narrow), None
    else:
        tensors, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    tensors = adapter_part(tensors)
    stored = comfy.utils.weight_dtype({key: value for key, value in tensors.items() if value.dtype not in FORMATS})
    kept = wide if stored in (torch.float32, None) else stored  # None: nothing but 8-bit weights
    try:
        return *one_marking(tensors, metadata, kept), kept
    except ValueError as error:
        raise InputError(
            f"adapter: {os.path.basename(path)}: {error}.",
            "Fetch it again, or choose one in fp16, scaled fp8 or GGUF.",
        ) from error


def load_adapter_file(path: str, wide: torch.dtype = torch.float32, disable_dynamic: bool = False):
    """As `load_adapter`; wide: the precision that float32 weights are kept in."""
    tensors, quantised, kept = read_tensors(path, wide)
    shape = read_adapter({key: tuple(value.shape) for key, value in tensors.items()}, os.path.basename(path))
    offload = comfy.model_management.unet_offload_device()
    operations = comfy.ops.manual_cast
    if quantised:  # 8-bit weights, multiplied in the model's precision: exactly what the file says
        operations = comfy.ops.mixed_precision_ops({"mixed_ops": True}, compute_dtype=kept, full_precision_mm=True)
    adapter = InfiniteTalkAdapter(shape, operations=operations, device=offload, dtype=kept)
    # The class is looked up now: the host rebinds it at start when dynamic VRAM is on.
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(adapter, load_device=comfy.model_management.get_torch_device(), offload_device=offload)
    adapter.load_state_dict(tensors, strict=False, assign=patcher.is_dynamic())
    adapter.eval().requires_grad_(False)
    comfy.model_management.archive_model_dtypes(adapter)
    patcher.cached_patcher_init = (load_adapter_file, (path, wide))  # lets the host make one copy per GPU
    return patcher


def patch_shape(patch, label: str = "model_patch"):
    """The sizes of a MODEL_PATCH, or a refusal of one that is something else."""
    module = getattr(patch, "model", None)
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"{label}: {type(patch).__name__} is not a model patch.",
            "Connect Load Model Patch or choose an adapter file.",
        )
    return read_adapter({key: tuple(value.shape) for key, value in module.state_dict().items()}, label)


def model_shape(model, label: str = "model") -> BaseShape:
    """The sizes of a loaded MODEL, or a refusal of anything that is not Wan 2.1 image-to-video.

    Reads the module's own numbers, so quantised and GGUF models work alike.
    """
    module = model.get_model_object("diffusion_model")
    module = getattr(module, "_orig_mod", module)  # inside a compiled one
    if not all(hasattr(module, name) for name in ("patch_embedding", "blocks", "img_emb", "in_dim", "out_dim", "dim")):
        raise InputError(
            f"{label}: {type(module).__name__} is not a Wan diffusion model.",
            "Connect Wan2.1 I2V 14B (480p or 720p).",
        )
    base = BaseShape(
        dim=module.dim,
        layers=len(module.blocks),
        in_dim=module.in_dim,
        out_dim=module.out_dim,
        clip=module.img_emb is not None,
        vace=hasattr(module, "vace_blocks"),
        other=type(module) is not WanModel or module.ref_conv is not None,
    )
    check_base(base, label)
    return base
