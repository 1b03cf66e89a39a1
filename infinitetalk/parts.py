"""A model in parts: which files belong together, by their names alone. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError

# .../diffusion_pytorch_model-00002-of-00007.safetensors
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.safetensors)$", re.DOTALL)


def model_parts(path: str | Path, label: str) -> list[str]:
    """The files of a model: `path` alone, or all its parts in order. Raises InputError naming the missing ones."""
    found = _part(path)
    if found is None:
        return [str(path)]
    stem, count, end = found["stem"], found["count"], found["end"]
    parts = [f"{stem}-{number:05d}-of-{count}{end}" for number in range(1, int(count) + 1)]
    missing = [Path(part).name for part in parts if not Path(part).is_file()]
    if missing:
        raise InputError(
            f"{label}: {len(missing)} of the model's {len(parts)} parts are missing: {', '.join(missing[:3])}.",
            f"Put them beside {Path(path).name}.",
        )
    return parts


def first_parts(names: Sequence[str]) -> list[str]:
    """File names of which a model in parts keeps the first one that is there."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for name in sorted(names, key=lambda name: (is_part(name), name)):
        part = _part(name)
        if part is None or (part["stem"], part["count"]) not in seen:
            kept.append(name)
        if part:
            seen.add((part["stem"], part["count"]))
    return [name for name in names if name in set(kept)]


def is_part(path: str | Path) -> bool:
    """Whether a file is, by its name, one of several of a model."""
    return _part(path) is not None


def _part(path: str | Path) -> re.Match[str] | None:
    """None also for numbers that are no part's, such as 00001 of 00000: such a file stands for itself."""
    found = _PART.match(str(path))
    return found if found and 1 <= int(found["number"]) <= int(found["count"]) else None
