"""Files -> the host's MODEL and MODEL_PATCH objects, with every refusal made from the file's header.

A diffusion model goes through the host's own loader. A file that this would misread (an adapter inside, weights in
another program's 8 bits, several parts) is changed on the way: tensors are handed over as they lie in the mapped file,
renamed, left out, or brought to the host's own 8 bits. Must not know sampling.
"""

from __future__ import annotations

import os

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import torch
from comfy.ldm.wan.model import WanModel
from comfy.quant_ops import QUANT_ALGOS

from ..errors import InputError
from ..gguf_file import gguf_package, gguf_tensors
from ..gguf_header import is_gguf
from ..model.adapter import AdapterShape, InfiniteTalkAdapter
from ..model.keys import known_to_comfyui
from ..model.layouts import (
    INSIDE,
    BaseShape,
    adapter_part,
    base_part,
    check_base,
    check_fit,
    holds_adapter,
    in_adapter,
    read_adapter,
    read_base,
    read_inside,
)
from ..model.quantised import (
    FORMATS,
    comfyui_reads,
    first_bad,
    has_marks,
    is_finite,
    is_scale,
    noted_layers,
    one_marking,
    read_note,
)
from ..parts import is_part
from ..safetensors_header import Header
from ..tensor_file import read_header, read_some
from .model_files import find_adapter, find_base, read_tensors

_AGAIN = "The file is damaged: fetch it again."


def check_files(model_name: str, adapter_name: str) -> None:
    """Refuse, from the headers alone, a model and an adapter file that cannot work together."""
    base = read_base(_base_header(find_base(model_name), model_name).shapes, f"model: {model_name}")
    check_fit(check_adapter_file(adapter_name, model_name), base, f"adapter: {adapter_name}")


def check_adapter_file(name: str, model_name: str | None = None) -> AdapterShape:
    """The sizes of an adapter file, or a refusal, from its header; model_name: for an adapter inside the model."""
    if name != INSIDE:
        path = find_adapter(name)
        shapes = read_header(path, "adapter").shapes
        if is_gguf(path):
            gguf_package("adapter")  # its absence is told before anything loads
        return read_adapter(shapes, f"adapter: {name}")
    return read_inside(read_header(find_base(model_name or ""), "model").shapes, str(model_name))


def load_model(name: str):
    """A diffusion model as the host's own loader gives it, without an adapter that is inside."""
    path = find_base(name)
    read_base(_base_header(path, name).shapes, f"model: {name}")
    return load_base_file(path)


def load_base_file(path: str, disable_dynamic: bool = False):
    """As `load_model`, from a path."""
    name, header = os.path.basename(path), read_header(path, "model")
    as_it_is = comfyui_reads(header.shapes, header.dtypes, header.metadata) and not (
        is_part(path) or holds_adapter(header.shapes) or not all(map(known_to_comfyui, header.shapes))
    )
    _check_base(path, header, name)
    if as_it_is and path.endswith(".safetensors"):
        return comfy.sd.load_diffusion_model(path, disable_dynamic=disable_dynamic)
    tensors = base_part(read_tensors(path))
    if has_marks(header.shapes):
        tensors, _ = _one_marking(tensors, header.metadata, None, f"model: {name}")
    kept = {key: value for key, value in header.metadata.items() if key == "config"}  # all that the host looks for
    model = comfy.sd.load_diffusion_model_state_dict(tensors, metadata=kept, disable_dynamic=disable_dynamic)
    if model is None:
        raise InputError(f"model: ComfyUI does not know {name}.", "Choose Wan2.1 I2V 14B.")
    model.cached_patcher_init = (load_base_file, (path,))  # lets the host make one copy per GPU
    return model


def inside_dropped(model_name: str, adapter_name: str) -> bool:
    """Whether a model holds an adapter that the chosen one takes the place of."""
    path = find_base(model_name)
    if adapter_name == INSIDE or not holds_adapter(read_header(path, "model").shapes):
        return False
    return not os.path.samefile(path, find_adapter(adapter_name))


def load_adapter(name: str, model, model_name: str | None = None):
    """An adapter file, or the adapter inside the file model_name, as a MODEL_PATCH for `model`.

    Kept in the file's precision; a float32 file in the model's, since its layers compute in that anyway.
    """
    path = find_base(model_name or "") if name == INSIDE else find_adapter(name)
    return load_adapter_file(path, model.model.get_dtype_inference())


def adapter_tensors(path: str, wide: torch.dtype = torch.float32) -> tuple[dict[str, torch.Tensor], bool, torch.dtype]:
    """(the adapter's tensors of a file, quantised ones in the one marking; whether there are any; the others' dtype).

    wide: the precision that float32 weights are kept in. A safetensors file's tensors stay on the disk until used.
    """
    name = os.path.basename(path)
    metadata = read_header(path, "adapter").metadata
    if is_gguf(path):
        narrow = torch.bfloat16 if wide == torch.float32 else wide  # what was 4 to 8 bits is not made 32
        tensors = adapter_part(gguf_tensors(path, narrow, in_adapter))
    else:
        tensors = adapter_part(read_tensors(path))
    bad = first_bad(tensors)
    if bad:
        raise InputError(f"adapter: {name}: {bad} holds values that are no numbers (NaN or infinite).", _AGAIN)
    stored = comfy.utils.weight_dtype({key: value for key, value in tensors.items() if value.dtype not in FORMATS})
    kept = wide if stored in (torch.float32, None) else stored  # None: nothing but 8-bit weights
    return *_one_marking(tensors, metadata, kept, f"adapter: {name}"), kept


def load_adapter_file(path: str, wide: torch.dtype = torch.float32, disable_dynamic: bool = False):
    """As `load_adapter`; wide: the precision that float32 weights are kept in."""
    tensors, quantised, kept = adapter_tensors(path, wide)
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


def _base_header(path: str, name: str) -> Header:
    header = read_header(path, "model")
    if is_gguf(path):
        raise InputError(
            f"model: {name} is a GGUF file, which this node does not load.",
            "Load it with Unet Loader (GGUF) of ComfyUI-GGUF and connect Apply InfiniteTalk Adapter.",
        )
    return header


def _one_marking(tensors: dict, metadata: dict, wide: torch.dtype | None, label: str) -> tuple[dict, bool]:
    device = comfy.model_management.get_torch_device()
    try:  # on a GPU quantising anew takes seconds; not every other device knows fp8
        return one_marking(tensors, metadata, wide, device if device.type == "cuda" else "cpu")
    except ValueError as error:
        raise InputError(f"{label}: {error}.", "Fetch it again, or choose one in fp16, scaled fp8 or GGUF.") from error


def _check_base(path: str, header: Header, name: str) -> None:
    """Vectors, scales and notes: to look through 14 billion weights would take longer than to load them (fp8: 70 s on
    2 cores); the first step's prediction tells of those."""
    notes: dict[str, object] = {}
    for key, value in read_some(path, "model", lambda key, sides: sides < 2 or is_scale(key)):
        if not is_finite(value):
            raise InputError(f"model: {name}: {key} holds values that are no numbers (NaN or infinite).", _AGAIN)
        if key.endswith(".comfy_quant"):
            notes[key.removesuffix(".comfy_quant")] = value
    try:
        formats = {layer: read_note(note, f"{layer}.comfy_quant").get("format") for layer, note in notes.items()}
        formats |= {layer: note.get("format") for layer, note in noted_layers(header.metadata).items()}
    except ValueError as error:
        raise InputError(f"model: {name}: {error}.", _AGAIN) from error
    for layer, kind in formats.items():
        if not isinstance(kind, str) or kind not in QUANT_ALGOS:
            raise InputError(
                f"model: {name}: {layer} is quantised as {kind!r}, which this ComfyUI does not know.",
                "Update ComfyUI, or choose a model in fp16, scaled fp8 or GGUF.",
            )


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
