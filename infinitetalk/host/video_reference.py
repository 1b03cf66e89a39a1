"""A source video as the reference: for every window the frame shown at that window's time.

`VideoReference` is a value that nodes pass around: it opens the video and encodes nothing. `References`
belongs to one run: it hands out each window's reference and, where memory allows, encodes the next one
while the current window is sampled. Must not know sampling or guidance.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch

from ..buckets import resize_crop
from ..config import FPS
from ..reference import Reference, padded_video
from ..timeline import Window
from .clip import clip_features
from .vae import WanVae

ROOM = 1.5  # free memory that encoding ahead asks for, as a multiple of the host's own estimate


@dataclass(frozen=True)
class VideoReference:
    """source: frames by time (`source.VideoSource`, `PictureSource`); picture: its first frame at the video's
    size, [H, W, 3] float 0..1; vae: host VAE; clip: host CLIP_VISION, or a CLIP_VISION_OUTPUT for all windows.
    """

    frames: Any
    picture: torch.Tensor
    vae: Any
    clip: Any
    still = False

    @property
    def height(self) -> int:
        return self.picture.shape[0]

    @property
    def width(self) -> int:
        return self.picture.shape[1]

    @property
    def source(self) -> tuple[int, int]:
        """(height, width) of the source video, which regions are drawn on."""
        return self.frames.height, self.frames.width

    def conditioning(self, frames: int) -> None:
        """Any window length can be encoded."""

    def at(self, window: Window) -> Reference:
        """The source frame at the window's start, encoded by VAE and CLIP; past the video's end its last frame.

        Never a generated frame. Source: fact 3 of the public implementation's streaming loop, which
        however takes the frame's number for its time at 25 frames a second.
        """
        shown = self.frames.frame(window.start / FPS)
        picture = resize_crop(shown, self.height, self.width).float() / 255
        latent = WanVae(self.vae).encode(padded_video(picture, window.frames)).cpu()
        return Reference(picture, latent, clip_features(self.clip, picture), self.source)

    def latent(self, window: Window) -> torch.Tensor:
        """The window's own source frames encoded, [1, 16, T, h, w]: what SDEdit starts from."""
        video = torch.empty(window.frames, self.height, self.width, 3)
        for i, shown in enumerate(self.frames.frames(window.start / FPS, window.frames)):
            video[i] = resize_crop(shown, self.height, self.width).float() / 255
        return WanVae(self.vae).encode(video).cpu()


class References:
    """The references of one run's windows, in order. Close it when the run ends."""

    def __init__(self, reference: Reference | VideoReference):
        self._reference = reference
        self._worker = None if reference.still else ThreadPoolExecutor(1, "infinitetalk-reference")
        self._ahead: tuple[int, Future] | None = None
        self._current: tuple[int, Reference] | None = None

    def at(self, window: Window) -> Reference:
        """The reference of `window`; the one before it is forgotten."""
        if self._reference.still:
            return self._reference
        if self._current is None or self._current[0] != window.index:
            encoded = self._finished(window)
            self._current = (window.index, self._reference.at(window) if encoded is None else encoded)
        return self._current[1]

    def prepare(self, window: Window | None) -> None:
        """Begin to encode a later window's reference beside the sampling that goes on, if memory allows.

        To be called after every step: a cancel that the encoding met is raised here.
        """
        if self._ahead is not None:
            if self._ahead[1].done():
                self._ahead[1].result()
        elif window is not None and self._worker is not None and _room(self._reference, window):
            self._ahead = (window.index, self._worker.submit(_encode, self._reference, window))

    def settle(self) -> None:
        """Wait for what `prepare` began: nothing else may use the VAE at the same time."""
        if self._ahead is not None:
            self._ahead[1].result()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)

    def _finished(self, window: Window) -> Reference | None:
        ahead, self._ahead = self._ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == window.index else None


def _encode(reference: VideoReference, window: Window) -> Reference | None:
    """In the worker thread, on a stream of its own; None when memory ran out after all."""
    device = reference.vae.device
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    try:
        with torch.inference_mode(), torch.cuda.stream(stream):
            encoded = reference.at(window)
        if stream is not None:
            stream.synchronize()
    except comfy.model_management.OOM_EXCEPTION:
        return None
    return encoded


def _room(reference: VideoReference, window: Window) -> bool:
    """Whether VAE and CLIP can work now without the host moving the weights that are being sampled with."""
    vae, clip = reference.vae, reference.clip
    patchers = [vae.patcher] + ([clip.patcher] if hasattr(clip, "patcher") else [])
    shape = (1, 3, window.frames, reference.height, reference.width)
    needed = vae.memory_used_encode(shape, vae.vae_dtype) + comfy.model_management.minimum_inference_memory()
    needed += sum(patcher.model_size() - patcher.loaded_size() for patcher in patchers)
    return comfy.model_management.get_free_memory(vae.device) > ROOM * needed
