"""A real ComfyUI as a child process: its base folder, its start, its log and its end.

Used by the command line, by dev.py and by the tests. The base folder holds everything the host reads and writes
(models, input, output, custom_nodes), so nothing is written into the ComfyUI folder itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .client import Client, HostError, HostGone, Report

PACK = Path(__file__).resolve().parent.parent
PACK_NAME = "ComfyUI-InfiniteTalk"
START_SECONDS = 300  # a cold start on two cores takes about 30


def link(place: Path, target: Path) -> None:
    """Make `place` lead to the folder `target`: a symbolic link, on Windows a junction (needs no rights)."""
    if place.is_dir() and place.resolve() == target.resolve():
        return
    if place.is_symlink():
        place.unlink()
    if os.name == "nt":
        subprocess.run(["cmd", "/c", "mklink", "/J", str(place), str(target)], check=True, stdout=subprocess.DEVNULL)
    else:
        place.symlink_to(target, target_is_directory=True)


def make_base(base: Path) -> Path:
    """A base folder with this pack in it."""
    for name in ("custom_nodes", "input", "output", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link(base / "custom_nodes" / PACK_NAME, PACK)
    return base


def device_arguments() -> list[str]:
    """What the host must be told about the machine: to use the CPU when torch sees no GPU."""
    import torch

    if torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available():
        return []
    return ["--cpu", "--use-pytorch-cross-attention"]


def command(comfyui: Path, base: Path, port: int, arguments: list[str]) -> list[str]:
    """The command line of a host that serves `base` on `port`, with further host arguments."""
    # In memory: the host's own database file lies in its folder and cannot be shared by two servers.
    fixed = ["--disable-auto-launch", "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
    main = [sys.executable, str(comfyui / "main.py"), "--base-directory", str(base), "--port", str(port)]
    return [*main, *fixed, *device_arguments(), *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server(Client):
    """A host running on a free port while the `with` block lasts.

    HostError with the end of the log when it does not come up, or comes up without this pack.
    """

    def __init__(self, comfyui: Path, base: Path, arguments: list[str] | None = None):
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.comfyui, self.base, self.arguments = Path(comfyui), Path(base), arguments or []
        self.process: subprocess.Popen | None = None
        self.log_file = self.base / f"host-{self.port}.log"

    @property
    def log(self) -> str:
        """What the host has printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def __enter__(self) -> Server:
        self.temp = tempfile.mkdtemp(prefix="infinitetalk-")  # the host wipes its temp folder: never share one
        arguments = ["--temp-directory", self.temp, *self.arguments]
        group = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}  # NEW_PROCESS_GROUP
        with open(self.log_file, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command(self.comfyui, self.base, self.port, arguments),
                cwd=self.comfyui,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
                **group,
            )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.stop()
        if error is None:
            self.log_file.unlink()  # kept only where it may explain something

    def wait(self) -> None:
        """Until the host answers; HostError when it ends, takes too long, or could not import this pack."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise HostError(f"ComfyUI ended with code {self.process.returncode} while starting:\n{self.log_tail()}")
            try:
                self.get("/system_stats")
                break
            except HostError:
                if time.monotonic() > deadline:
                    raise HostError(f"ComfyUI did not answer in {START_SECONDS} s:\n{self.log_tail()}") from None
                time.sleep(0.2)
        # Other packs of an existing ComfyUI may fail as they like.
        if any("IMPORT FAILED" in line and PACK_NAME in line for line in self.log.splitlines()):
            raise HostError(f"ComfyUI could not import this node pack:\n{self.log_tail(60)}")

    def queue(
        self, prompt: dict, report: Report | None = None, timeout: float = 3600, only: list[str] | None = None
    ) -> dict:
        """Client.queue; when the host died meanwhile the error holds the end of its log."""
        try:
            return super().queue(prompt, report, timeout, only)
        except HostGone as error:
            code = self.process.wait(10)
            raise HostGone(f"ComfyUI ended with code {code} in the middle of the prompt:\n{self.log_tail()}") from error

    def log_tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.splitlines()[-lines:])

    def stop(self) -> None:
        """End the host and everything it started."""
        if self.process and self.process.poll() is None:
            self.signal(soft=True)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.signal(soft=False)
                self.process.wait(10)
        shutil.rmtree(self.temp, ignore_errors=True)

    def signal(self, soft: bool) -> None:
        if os.name == "nt":
            self.process.terminate() if soft else self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGTERM if soft else signal.SIGKILL)
