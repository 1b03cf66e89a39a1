"""Where a job runs: a ComfyUI that is there already, or one started for it, with a folder of its own.

Only its output folder is that of the ComfyUI it is started from, so that a run can go on after the program has ended.
Knows folders, files and the queue; nothing of workflows.
"""

from __future__ import annotations

import argparse
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
from infinitetalk.run_names import run_folders, runs_root

from .arguments import host_arguments
from .client import BLOCK, Client, HostError, whole
from .server import PACK, Server, make_base
from .weights import Weights

NODE = "InfiniteTalkSampler"  # that the host has our pack
WAIT_SECONDS = 120  # for a cancelled run to put its finished windows aside


class OwnHost(Server):
    """A ComfyUI started for one job. Files get into its input folder and out of its output folder without HTTP.

    output: the folder that outlives it, with the runs.
    """

    def __init__(self, comfyui: Path, base: Path, output: Path, arguments: list[str] | None = None):
        super().__init__(comfyui, base, [*(arguments or []), "--output-directory", str(output)])
        self.output = output
        self._before = self._unfinished()

    @property
    def runs(self) -> Path:
        return runs_root(self.output)

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
            shutil.move(self.output / file["subfolder"] / file["filename"], part)

    def rescue(self, folder: Path, name: str) -> list[Path]:
        """Wait until nothing runs, then move the video of a broken run's finished windows to `folder`.

        The run itself stays where it is and can go on.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while self.get("/queue")["queue_running"] and time.monotonic() < deadline:
                time.sleep(0.2)
        except HostError:
            pass  # it is gone: what it has written is there
        saved = []
        new = sorted(file for file, seen in self._unfinished().items() if self._before.get(file) != seen)
        for number, file in enumerate(new, 1):
            target = folder / f"{name}_unfinished_{number}.mp4"
            shutil.move(file, target)
            saved.append(target)
        return saved

    def _unfinished(self) -> dict[Path, tuple[int, int]]:
        """The playable file of every run that is not finished: what was joined at its end, or else what was growing."""
        found = {}
        for run in run_folders(self.output):
            files = [run / name for name in ("unfinished.mp4", "live.mp4")]
            file = next((file for file in files if file.is_file()), None)
            if file:
                found[file] = (file.stat().st_ino, file.stat().st_mtime_ns)
        return found


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


def output_folder(comfyui: Path, rest: list[str]) -> Path:
    """The output folder of an own ComfyUI: --output-directory behind --, or the one it has anyway."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output-directory", type=Path, default=comfyui / "output")
    return parser.parse_known_args(rest)[0].output_directory.absolute()


@contextmanager
def open_host(options: Namespace, weights: Weights):
    """A Client for the job while the block lasts. InputError when a running ComfyUI lacks this pack."""
    if options.server:
        client = Client(options.server)
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
        with OwnHost(comfyui, base, output_folder(comfyui, options.rest), arguments) as server:
            yield server


def put(client: Client, file: Path) -> str:
    """Bring a file into the host's input folder under a name that no other file has; its name there."""
    digest = hashlib.sha256()
    with open(file, "rb") as data:
        while block := data.read(BLOCK):
            digest.update(block)
    return client.upload(file, f"{digest.hexdigest()[:12]}_{file.name}")
