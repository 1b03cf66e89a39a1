"""What the user sees while a run goes on: one bar over what is sampled, a moving preview, a line of text, a link.

The line says which window it is, how many frames of the video are there, how fast new ones come, how long it takes
and the memory in use. Speed and time left come from this session's own work alone, on a clock that nobody sets.
Every call may raise the host's interrupt: that is how cancel reaches the sampling loop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
import psutil
import torch
from PIL import Image
from server import PromptServer

from ..config import FPS
from ..sizes import size_text
from ..takes import Take
from ..timeline import clock

PREVIEW_PIXELS = 512
WATCH = "infinitetalk.watch"  # the event that js/watch.js listens to


class RunProgress:
    """Progress of one session of a run; made by it and dropped with it.

    todo: the takes that are sampled, in order; steps: of each; windows, frames: of the whole video, with those
    that an earlier session made or that are kept.
    """

    def __init__(self, model, todo: Sequence[Take], steps: int, node_id: str | None, windows: int, frames: int):
        self._todo, self._steps, self._node_id = todo, steps, node_id
        self._windows, self._frames = windows, frames
        self._done = 0  # takes that are finished
        self._bar = comfy.utils.ProgressBar(len(todo) * steps)
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._memory = Memory(model.load_device)
        self._started = time.monotonic()

    def step(self, take: Take, done: int, predicted: torch.Tensor) -> None:
        """After a sampling step; `predicted` is the latent [1, 16, T, h, w] as it would come out now."""
        preview, window = None, take.window
        if self._previewer is not None:
            # The host draws latent frame 0 only; another one at every step shows the motion.
            frames = predicted.shape[2]
            first = min(1 + (window.motion - 1) // 4 if window.motion else 0, frames - 1)
            frame = first + (done * max(1, frames // self._steps)) % (frames - first)
            preview = self._previewer.decode_latent_to_preview_image("JPEG", predicted[:, :, frame : frame + 1])
        self._show(
            self._done * self._steps + done, preview, f"Window {take.number}/{self._windows}, step {done}/{self._steps}"
        )

    def finished(self, take: Take, frames: torch.Tensor) -> None:
        """After a window; shows its last real frame, uint8 [keep, H, W, 3]."""
        picture = Image.fromarray(frames[-1].numpy())
        self._done += 1
        count = self._done * self._steps
        self._show(count, ("JPEG", picture, PREVIEW_PIXELS), f"Window {take.number}/{self._windows} done")
        comfy.model_management.throw_exception_if_processing_interrupted()

    def _show(self, count: int, preview: tuple | None, what: str) -> None:
        self._bar.update_absolute(count, len(self._todo) * self._steps, preview)
        spent = max(time.monotonic() - self._started, 1e-6)
        left = spent / count * (len(self._todo) * self._steps - count)
        made, missing = _frames(self._todo[: self._done]), _frames(self._todo[self._done :])
        # Until a window is finished, the steps of the first one tell.
        new = made or self._todo[0].window.keep * count / self._steps
        window = spent * self._steps / count
        self.say(
            f"{what} · {max(0, self._frames - missing)}/{self._frames} frames · {new / spent:.2f} frames/s "
            f"({new / spent / FPS:.3g}x real time, {clock(window)} per window) · "
            f"{clock(spent)} gone, about {clock(left)} left · {self._memory.told()}"
        )

    def say(self, text: str) -> None:
        """A line under the node."""
        say(text, self._node_id)


class Memory:
    """The process's memory, and the most that a device's was seen to be in use."""

    def __init__(self, device: torch.device):
        self._process = psutil.Process()
        self._device, self._peak = torch.device(device), 0
        # Of the whole device: what the host moves in and out past torch's allocator counts too.
        self._look = None if self._device.type == "cpu" else getattr(_module(self._device), "mem_get_info", None)

    def told(self) -> str:
        """Both, in a few words."""
        told = f"RAM {size_text(self._process.memory_info().rss)}"
        if self._look is None:
            return told
        free, total = self._look(self._device)
        self._peak = max(self._peak, total - free)
        return f"GPU {size_text(self._peak)} of {size_text(total)} at most, {told}"


def _module(device: torch.device):
    return getattr(torch, device.type, None)


def _frames(takes: Sequence[Take]) -> int:
    return sum(take.window.keep for take in takes)


def watch(path: Path, node_id: str | None) -> None:
    """Offer a file of the output folder on a node: "Watch" opens it as it is then. Call it whenever it has grown.

    So a page that was loaded again has the button after the next window. Nothing outside a server or without a node.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None or node_id is None:
        return
    folder = path.parent.resolve().relative_to(Path(folder_paths.get_output_directory()).resolve()).as_posix()
    where = {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}
    server.send_sync(WATCH, {"node": node_id, **where}, server.client_id)


def say(text: str, node_id: str | None) -> None:
    """Text under a node; nothing outside a server or without a node."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id, server.client_id)
