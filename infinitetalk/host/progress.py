"""What the user sees while a run goes on: one bar over all windows and steps, a moving preview, a line of text.

Every call may raise the host's interrupt: that is how cancel reaches the sampling loop.
"""

from __future__ import annotations

import time

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from PIL import Image
from server import PromptServer

from ..timeline import Window, video_frames

PREVIEW_PIXELS = 512


class RunProgress:
    """Progress of one run; made by the run and dropped with it."""

    def __init__(self, model, windows: tuple[Window, ...], steps: int, node_id: str | None):
        self._windows, self._steps, self._node_id = windows, steps, node_id
        self._bar = comfy.utils.ProgressBar(len(windows) * steps)
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._started = time.monotonic()

    def step(self, window: Window, done: int, predicted: torch.Tensor) -> None:
        """After a sampling step; `predicted` is the latent [1, 16, T, h, w] as it would come out now."""
        preview = None
        if self._previewer is not None:
            # The host draws latent frame 0 only; another one at every step shows the motion.
            frames = predicted.shape[2]
            first = min(1 + (window.motion - 1) // 4 if window.motion else 0, frames - 1)
            frame = first + (done * max(1, frames // self._steps)) % (frames - first)
            preview = self._previewer.decode_latent_to_preview_image("JPEG", predicted[:, :, frame : frame + 1])
        count = window.index * self._steps + done
        self._bar.update_absolute(count, len(self._windows) * self._steps, preview)
        self._say(window.index, count, f"Window {window.index + 1}/{len(self._windows)}, step {done}/{self._steps}")

    def finished(self, window: Window, frames: torch.Tensor) -> None:
        """After a window; shows its last real frame, uint8 [keep, H, W, 3]."""
        picture = Image.fromarray(frames[-1].numpy())
        done = window.index + 1
        count = done * self._steps
        self._bar.update_absolute(count, len(self._windows) * self._steps, ("JPEG", picture, PREVIEW_PIXELS))
        self._say(done, count, f"{done} of {len(self._windows)} windows done")
        comfy.model_management.throw_exception_if_processing_interrupted()

    def _say(self, finished: int, count: int, what: str) -> None:
        frames = f"{video_frames(self._windows[:finished])}/{video_frames(self._windows)} frames"
        spent = time.monotonic() - self._started
        left = spent / count * (len(self._windows) * self._steps - count)
        self.say(f"{what} · {frames} · {_minutes(spent)} gone, about {_minutes(left)} left")

    def say(self, text: str) -> None:
        """A line under the node."""
        say(text, self._node_id)


def say(text: str, node_id: str | None) -> None:
    """Text under a node; nothing outside a server or without a node."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id, server.client_id)


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
