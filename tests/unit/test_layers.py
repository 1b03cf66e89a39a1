"""The layers: a file imports only from its own or a lower rank, relatively, and never in a circle.

Read from the source, without importing it. Also the sizes: no file above 400 lines, each with a docstring.
"""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted([ROOT / "__init__.py", *(ROOT / "infinitetalk").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")])
_FOLDERS = ("bench", "demo", "infinitetalk_cli", "talker", "tests", "training")
BESIDE = [path for name in _FOLDERS for path in (ROOT / name).rglob("*.py")]
PYTHON = sorted({*LIBRARY, *ROOT.glob("*.py"), *BESIDE})

MATHS = {
    "filelock",
    "gguf",
    "torch",
    "torchaudio",
    "numpy",
    "PIL",
    "av",
    "transformers",
    "safetensors",
    "pyloudnorm",
    "scenedetect",
    "matplotlib",
    "scipy",
}
HOST = {
    "execution",
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfyui_version",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "psutil",
    "server",
}
OUTSIDE = {0: set(), 1: MATHS, 2: MATHS, 3: MATHS | HOST, 4: {"comfy_api"}, 5: set()}  # beside the standard library


def rank(path: Path) -> int:
    """The layer of a file of the library or of the nodes."""
    parts = path.relative_to(ROOT).parts
    if parts == ("__init__.py",):
        return 5
    if parts[0] == "nodes":
        return 4
    if parts[1] == "host":
        return 3
    if parts[1] == "stream.py":
        return 2
    return 0 if parts[1] in ("__init__.py", "config.py", "errors.py", "settings.py", "sizes.py", "timeline.py") else 1


def imports(path: Path) -> tuple[set[str], set[Path]]:
    """(outside packages, files of this repository) that a file imports, anywhere in it."""
    outside, inside = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1]
            target = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
            names = [target] if node.module and not target.is_dir() else [target / alias.name for alias in node.names]
            for name in names:
                file = name.with_suffix(".py")
                inside.add(file if file.exists() else name.parent / "__init__.py")
    return outside, inside


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", LIBRARY, ids=ids)
def test_imports_only_from_lower_ranks(path):
    outside, inside = imports(path)
    foreign = outside - OUTSIDE[rank(path)] - set(sys.stdlib_module_names)
    assert not foreign, f"rank {rank(path)} must not import {sorted(foreign)}"
    for target in inside:
        assert target.is_relative_to(ROOT) and target.exists(), f"{target} is not a file of this repository"
        assert rank(target) <= rank(path), f"rank {rank(path)} imports {ids(target)} of rank {rank(target)}"


MAKERS = {  # of the small model -> what they may import beside the standard library
    "talker": {"torch", "numpy", "cv2"},
    "training": {"torch", "torchaudio", "numpy", "scipy", "PIL", "safetensors", "transformers", "pyloudnorm",
                 "espeakng_loader", "talker", "infinitetalk"},
}  # fmt: skip


@pytest.mark.parametrize("path", [path for name in MAKERS for path in (ROOT / name).rglob("*.py")], ids=ids)
def test_the_small_models_makers_know_no_host(path):
    folder = path.relative_to(ROOT).parts[0]
    outside, inside = imports(path)
    assert not outside - MAKERS[folder] - set(sys.stdlib_module_names)
    assert all(target.is_relative_to(ROOT / folder) for target in inside)
    assert "infinitetalk.host" not in path.read_text(encoding="utf-8")


def test_no_file_imports_itself_in_a_circle():
    graph = {path: {target for target in imports(path)[1] if target != path} for path in LIBRARY}
    assert len(list(TopologicalSorter(graph).static_order())) == len(LIBRARY)  # raises CycleError on a circle


@pytest.mark.parametrize("path", PYTHON, ids=ids)
def test_files_are_short_and_say_what_they_are(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(source)), "the module docstring is missing"


def test_the_rules_see_a_breach(tmp_path):
    """The reader of imports finds what the rules forbid, wherever it stands in the file."""
    file = tmp_path / "a.py"
    file.write_text("def f():\n    import comfy.utils\n    from folder_paths import models_dir\n    from .b import c\n")
    (tmp_path / "b.py").write_text("")
    assert imports(file) == ({"comfy", "folder_paths"}, {tmp_path / "b.py"})
