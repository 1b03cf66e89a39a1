"""The base folder of a ComfyUI for demonstration and tests: the pack, model files, and sample inputs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infinitetalk_cli import server

from .draw_more import draw

ASSETS = Path(__file__).resolve().parent / "assets"


def copy_tree(source: Path, target: Path) -> None:
    """Every file of `source` into `target`, as a hard link where the disk allows it; files there stay."""
    for file in source.rglob("*"):
        copy = target / file.relative_to(source)
        if file.is_dir() or copy.exists():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, copy)
        except OSError:
            shutil.copyfile(file, copy)


def make_base(base: Path, models: Path) -> Path:
    """A base folder with this pack, the files of `models`, and the sample pictures, video and speech as inputs."""
    server.make_base(base)
    copy_tree(models, base / "models")
    for asset in ("face.png", "speech.flac"):
        shutil.copyfile(ASSETS / asset, base / "input" / asset)
    draw(base / "input")
    return base
