"""A models folder, a table of two files, and the real command on them, for the tests of model files."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dev
from tests.unit.hub_server import BLOCK, Hub

LARGE = "owner/large/parts/model.safetensors"
SMALL = "owner/small/vae.safetensors"
FILES = {LARGE: random.Random(1).randbytes(24 * BLOCK), SMALL: random.Random(2).randbytes(5000)}  # the first: chunks
FOLDERS = {LARGE: "diffusion_models", SMALL: "vae"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Place:
    """A models folder, a table of the two files, and the command with an own home for huggingface_hub."""

    def __init__(self, folder: Path, hub: Hub):
        self.folder, self.hub, self.models = folder, hub, folder / "models"
        self.models.mkdir()
        self.table = {"files": [self.entry(name) for name in FILES], "profiles": {}}
        self.table["profiles"]["both"] = {"about": "two files", "files": ["model.safetensors", "vae.safetensors"]}

    def entry(self, name: str, **known) -> dict:
        owner, repository, path = name.split("/", 2)
        return {"role": "a file", "repository": f"{owner}/{repository}", "path": path, "folder": FOLDERS[name], **known}

    def know(self, name: str, **known) -> None:
        """Write size or sha256 of a file into the table."""
        self.table["files"][list(FILES).index(name)].update(known)

    def start(self, action: str, *more: str, program=("-m", "infinitetalk_cli.models"), **options) -> subprocess.Popen:
        table = self.folder / "table.json"
        table.write_text(json.dumps(self.table))
        command = [sys.executable, *program, action, *(more or ("both",)), "--table", table, "--to", self.models]
        environment = {
            **os.environ,
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.folder / "home"),
            "HF_TOKEN": "hf_secret",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": str(dev.ROOT),
            **options.pop("environment", {}),
        }
        if os.name == "posix":  # a shell's background job ignores Ctrl-C, and would hand that down
            options.setdefault("preexec_fn", functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, action: str, *more: str, **options) -> tuple[int, str, str]:
        process = self.start(action, *more, **options)
        out, error = process.communicate(timeout=100)
        return process.returncode, out, error

    def start_and_stall(self) -> tuple[subprocess.Popen, Path]:
        """get, halted in the middle of the large file with a part of it on the disk; the process and the part."""
        self.hub.stalled[LARGE] = 15 * BLOCK
        process = self.start("get")
        assert self.hub.reached.wait(60)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for part in self.models.rglob("*.part"):
                if part.stat().st_size:
                    return process, part
            time.sleep(0.02)
        raise AssertionError("nothing was written")

    def path(self, name: str) -> Path:
        return self.models / FOLDERS[name] / Path(name).name

    def content(self) -> dict[str, bytes]:
        """Every file below the models folder but records of checksums."""
        files = [path for path in self.models.rglob("*") if path.is_file() and path.suffix != ".sha256"]
        return {path.relative_to(self.models).as_posix(): path.read_bytes() for path in files}

    def refused(self, *texts: str, **options) -> None:
        """get ends with 1 and two lines that hold these texts, and no file has its name."""
        code, _, error = self.run("get", **options)
        assert code == 1 and "Traceback" not in error, error
        for text in texts:
            assert text in error, error
        assert not any(self.path(name).exists() for name in FILES)


WHOLE = {f"{FOLDERS[name]}/{Path(name).name}": content for name, content in FILES.items()}
