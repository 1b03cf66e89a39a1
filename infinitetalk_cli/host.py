"""Where a job runs: a ComfyUI that is there already, or one started for it, with a folder of its own.

Knows folders, files and the queue; nothing of workflows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

from infinitetalk.errors import InputError

from .arguments import host_arguments
from .client import BLOCK, Client, HostError, whole
from .server import PACK, Server, make_base
from .weights import Weights

NODE = "InfiniteTalkSampler"  # that the host has our pack
WAIT_SECONDS = 120  # for a cancelled run to put its finished windows aside


class OwnHost(Server):
    """A ComfyUI started for one job. Files get into its input folder and out of its output folder without HTTP."""

    def upload(self, file: Path, name: str | None = None) -> str:
        target = self.base / "input" / (name or file.name)
        try:
            os.link(file.resolve(), target)  # not the symbolic link itself, which would lead nowhere there
        except OSError:
            shutil.copyfile(file, target)
        return target.name

    def save(self, file: dict, path: Path) -> None:
        """Move one of output_files of the type "output" to `path`."""
        with whole(path) as part:
            shutil.move(self.base / "output" / file["subfolder"] / file["filename"], part)

    def rescue(self, folder: Path, name: str) -> list[Path]:
        """Wait until nothing runs, then move the finished windows of a broken run to `folder`."""
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while self.get("/queue")["queue_running"] and time.monotonic() < deadline:
                time.sleep(0.2)
        except HostError:
            pass  # it is gone: what it has written is there
        saved = []
        for number, file in enumerate(sorted((self.base / "output").rglob("*.mp4")), 1):
            target = folder / f"{name}_unfinished_{number}.mp4"
            shutil.move(file, target)
            saved.append(target)
        return saved


def find_comfyui(options: Namespace) -> Path:
    """The ComfyUI folder to start one from: the flag, COMFYUI_PATH, or the one this pack is installed in."""
    named = options.comfyui or os.environ.get("COMFYUI_PATH")
    candidates = [Path(named)] if named else [PACK.parent.parent, Path.cwd().parent.parent]
    for folder in candidates:
        if (folder / "main.py").is_file() and (folder / "comfy").is_dir():
            return folder.absolute()
    if named:
        raise InputError(f"--comfyui: {named} holds no ComfyUI.", "Give the folder that holds ComfyUI's main.py.")
    raise InputError("--server, --comfyui: neither is given.", "Name a running ComfyUI, or a ComfyUI folder.")


@contextmanager
def open_host(options: Namespace, weights: Weights):
    """A Client for the job while the block lasts. InputError when a running ComfyUI lacks this pack."""
    if options.server:
        client = Client(options.server if "://" in options.server else f"http://{options.server}")
        if not client.get(f"/object_info/{NODE}"):
            raise InputError(f"--server: the ComfyUI at {client.url} lacks this node pack.", "Install it there.")
        yield client
        return
    comfyui = find_comfyui(options)
    with tempfile.TemporaryDirectory(prefix="infinitetalk-") as folder:
        base = make_base(Path(folder))
        config = base / "extra_model_paths.yaml"
        config.write_text(json.dumps(weights.search_paths(comfyui)), encoding="utf-8")  # JSON is YAML
        arguments = ["--extra-model-paths-config", str(config), *host_arguments(options)]
        with OwnHost(comfyui, base, arguments) as server:
            yield server


def put(client: Client, file: Path) -> str:
    """Bring a file into the host's input folder under a name that no other file has; its name there."""
    digest = hashlib.sha256()
    with open(file, "rb") as data:
        while block := data.read(BLOCK):
            digest.update(block)
    return client.upload(file, f"{digest.hexdigest()[:12]}_{file.name}")
