"""Writes a compact copy of an adapter file into models/infinitetalk. The Save Adapter node's one call.

Reads whatever `loading.py` reads. Needs the memory of what it writes; beside that a GGUF source is held in 16 bits,
and fp8 with a scale for each row in int8, while other safetensors stay on the disk. Knows no model.
"""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from safetensors.torch import save_file

from ..disk import check_writable, whole
from ..errors import InputError
from ..model.compact import COMPACT, compact, compact_bytes
from ..model.layouts import adapter_part, read_adapter
from ..model.quantised import plain_shapes
from ..sizes import size_text
from .loading import adapter_tensors, check_adapter_file
from .model_files import ADAPTER_FOLDERS, find_file, read_shapes

FOLDER = "infinitetalk"
FORBIDDEN = '/\\:*?"<>|\0'


def check_save(adapter: str, form: str, name: str) -> None:
    """What of the widgets can be refused; not a file that exists, which an earlier queue may have written."""
    check_adapter_file(adapter)
    _target(adapter, form, name, overwrite=True)


def save_adapter(adapter: str, form: str, name: str = "", overwrite: bool = False) -> str:
    """Write the adapter file of that name in a compact form; a line on both sizes.

    form: of `compact.COMPACT`. name: of the file in models/infinitetalk, without ending; "" makes one of the source's
    name and the form. Raises InputError; an existing file is left alone unless overwrite.
    """
    target = _target(adapter, form, name, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    return compact_file(Path(find_file(adapter, ADAPTER_FOLDERS, "adapter")), target, form)


def compact_file(source: Path, target: Path, form: str) -> str:
    """`source`, any adapter file, written to `target`, whole or not at all; a line on both sizes.

    InputError where both are one file: what a compact form rounds off is gone for good.
    """
    if target.exists() and target.samefile(source):
        raise InputError(f"adapter: {source.name} would be replaced by its own copy.", "Give the copy another name.")
    shapes = read_shapes(str(source), "adapter")
    read_adapter(shapes, source.name)
    shapes = plain_shapes(adapter_part(shapes))
    check_writable(target.parent, compact_bytes(shapes, form))
    tensors, _, _ = adapter_tensors(str(source))
    try:
        found = {key: value.contiguous() for key, value in compact(tensors, form)}
    except ValueError as error:
        raise InputError(f"adapter: {source.name}: {error}.", "Choose bf16 or fp8.") from error
    with whole(target) as part:
        save_file(found, part, {"format": "pt"})
    before, after = source.stat().st_size, target.stat().st_size
    return f"{target.name}: {size_text(after)} in {form}, from {size_text(before)} of {source.name}"


def _target(adapter: str, form: str, name: str, overwrite: bool) -> Path:
    if form not in COMPACT:
        raise InputError(f"format: {form!r} is unknown.", f"Use one of {', '.join(COMPACT)}.")
    name = name or f"{Path(adapter).stem}_{form}"
    if any(mark in name for mark in FORBIDDEN) or name.startswith(".") or len(name) > 200:
        raise InputError(
            f"filename: {name!r} is not a plain file name.",
            'Give a name without folders and without any of \\ / : * ? " < > |; it goes to models/infinitetalk.',
        )
    target = Path(folder_paths.get_folder_paths(FOLDER)[0], f"{name.removesuffix('.safetensors')}.safetensors")
    for folder in ADAPTER_FOLDERS:
        for place in map(Path, folder_paths.get_folder_paths(folder)):
            other = place / target.name
            same = target.exists() and other.is_file() and other.samefile(target)  # also through a link
            if other.is_file() and not same:  # the lists show a name once: this file and not the new one
                raise InputError(f"filename: {other} has this name already.", "Give another name.")
    if os.path.lexists(target) and not overwrite:
        raise InputError(
            f"filename: models/{FOLDER}/{target.name} exists.", "Give another name, or switch overwrite on."
        )
    return target
