"""The base folder of a ComfyUI for demonstration and tests: the pack, model files, and sample inputs."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from infinitetalk_cli import server

ASSETS = Path(__file__).resolve().parent / "assets"


def copy_tree(source: Path, target: Path) -> None:
    """Every file of `source` but notes (*.md) into `target`, as a hard link where the disk allows it.

    Files that are no longer the same are replaced; others in `target` stay.
    """
    for file in source.rglob("*"):
        copy = target / file.relative_to(source)
        if file.is_dir() or file.suffix == ".md" or (copy.exists() and filecmp.cmp(file, copy)):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
        try:
            os.link(file, part)
        except OSError:
            shutil.copy2(file, part)
        os.replace(part, copy)


def make_base(base: Path, *models: Path) -> Path:
    """A base folder with this pack, the files of all folders `models`, and the sample pictures, video and speech."""
    server.make_base(base)
    for folder in models:
        copy_tree(folder, base / "models")
    for asset in ASSETS.iterdir():
        shutil.copyfile(asset, base / "input" / asset.name)
    return base
