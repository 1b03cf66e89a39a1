"""ComfyUI inside this process, for tests and parity cases that call the library's host layer directly.

COMFYUI_PATH names the host; `dev.py` sets it. Import this module before anything of `comfy`.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def use_host(cpu: bool = True) -> None:
    """Put the host on the path and, for cpu, set it to a CPU with plain attention; calling it again does nothing."""
    if "comfy" in sys.modules:
        return
    folder = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".dev" / "ComfyUI")
    if not (folder / "main.py").is_file():
        raise RuntimeError(f"{folder} holds no ComfyUI.\nRun `python3 dev.py test`, or set COMFYUI_PATH.")
    # Before the repository: the host has a module `nodes`, and so have we.
    sys.path.insert(0, str(folder))
    arguments = importlib.import_module("comfy.cli_args").args
    arguments.cpu = arguments.use_pytorch_cross_attention = cpu
    # The host's web server comes with `comfy` nodes; its options are read when it is imported.
    importlib.import_module("comfy.options")
    sys.path.append(str(ROOT))
