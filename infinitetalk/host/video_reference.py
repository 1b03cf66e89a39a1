"""A source video as the reference: for every window the frame shown at that window's time.

`VideoReference` is a value that nodes pass around: it opens the video and encodes nothing. `References`
belongs to one run: it hands out each window's reference and, where the host's memory allows, encodes the
next one while the current window is sampled. Must not know guidance or conditioning.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import torch

from ..buckets import resize_crop
from ..config import FPS
from ..reference import Reference, latent_shape, padded_video
from ..takes import Take
from ..timeline import Window
from .clip import clip_features
from .vae import WanVae

ROOM = 1.2  # free memory that encoding ahead asks for, as a multiple of the host's own estimates
BATCH = 1.5  # what the host asks for before it samples branches as one batch, as a multiple of its estimate


@dataclass(frozen=True)
class VideoReference:
    """frames: by time (`source.VideoSource`, `PictureSource`); picture: the first one at the video's size,
    [H, W, 3] float 0..1; vae: host VAE; clip: host CLIP_VISION, or a CLIP_VISION_OUTPUT for all windows;
    tiled: whether the VAE works in tiles.
    """

    frames: Any
    picture: torch.Tensor
    vae: Any
    clip: Any
    tiled: bool = False
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

    def shown(self, window: Window) -> torch.Tensor:
        """The source frame at the window's start at the video's size, [H, W, 3] float 0..1; past the end the last."""
        return resize_crop(self.frames.frame(max(0, window.start) / FPS), self.height, self.width).float() / 255

    def conditioning(self, frames: int) -> None:
        """Any window length can be encoded."""

    def at(self, window: Window) -> Reference:
        """What `shown` gives, encoded by VAE and CLIP.

        Never a generated frame. Source: fact 3 of the public implementation's streaming loop, which
        however takes the frame's number for its time at 25 frames a second.
        """
        picture = self.shown(window)
        latent = WanVae(self.vae, self.tiled).encode(padded_video(picture, window.frames)).cpu()
        return Reference(picture, latent, clip_features(self.clip, picture), self.source)

    def latent(self, window: Window) -> torch.Tensor:
        """The window's own source frames encoded, [1, 16, T, h, w]: what SDEdit starts from."""
        video = torch.empty(window.frames, self.height, self.width, 3)
        before = max(0, -window.start)  # frames of a start that goes on: the source has none for them
        for i, shown in enumerate(self.frames.frames(max(0, window.start) / FPS, window.frames - before), before):
            video[i] = resize_crop(shown, self.height, self.width).float() / 255
        video[:before] = video[before]
        return WanVae(self.vae, self.tiled).encode(video).cpu()


def in_tiles(reference: Reference | VideoReference, tiled: bool = True) -> Reference | VideoReference:
    """The same reference, whose windows are encoded in tiles; a picture's are encoded already."""
    return reference if reference.still or not tiled else replace(reference, tiled=True)


class References:
    """The references of one run's windows, in order. Close it when the run ends.

    model: the host MODEL that is sampled; branches: its calls of a step that may become one batch; tiled: whether
    the VAE works in tiles.
    """

    def __init__(self, reference: Reference | VideoReference, model=None, branches: int = 1, tiled: bool = False):
        self._reference, self._model, self._branches = in_tiles(reference, tiled), model, branches
        self._tiled = tiled
        self._worker = None if reference.still else ThreadPoolExecutor(1, "infinitetalk-reference")
        self._ahead: tuple[int, Future] | None = None
        self._current: tuple[int, Reference] | None = None
        self._changed: tuple[Take, Reference] | None = None

    def at(self, window: Window) -> Reference:
        """The reference of `window`; the one before it is forgotten."""
        if self._reference.still:
            return self._reference
        if self._current is None or self._current[0] != window.index:
            encoded = self._finished(window)
            self._current = (window.index, self._reference.at(window) if encoded is None else encoded)
        return self._current[1]

    def of(self, take: Take) -> Reference:
        """The reference of a take: its window's, or the one that a table or a redo gives it."""
        changed = take.overrides.reference
        if changed is None:
            return self.at(take.window)
        if self._changed is None or self._changed[0] is not take:
            self._changed = (take, in_tiles(changed, self._tiled).at(take.window))
        return self._changed[1]

    def prepare(self, take: Take | None) -> None:
        """Begin to encode a later take's reference beside the sampling that goes on, if memory allows.

        To be called after every step: a cancel that the encoding met is raised here.
        """
        window = None if take is None or take.overrides.reference is not None else take.window
        if self._ahead is not None:
            if self._ahead[1].done():
                self._ahead[1].result()
        elif window is not None and self._worker is not None and self._may_encode(window):
            self._ahead = (window.index, self._worker.submit(_encode, self._reference, window))

    def settle(self) -> None:
        """Wait for what `prepare` began: nothing else may use the VAE at the same time."""
        if self._ahead is not None:
            self._ahead[1].result()

    def close(self) -> None:
        """Drop what is under way; after a cancel the encoding must not be waited for."""
        if self._worker is None:
            return
        running = self._ahead is not None and not self._ahead[1].done()
        if running:
            comfy.model_management.interrupt_current_processing()
        self._worker.shutdown(wait=True, cancel_futures=True)
        if running:
            comfy.model_management.interrupt_current_processing(False)

    def _finished(self, window: Window) -> Reference | None:
        ahead, self._ahead = self._ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == window.index else None

    def _may_encode(self, window: Window) -> bool:
        """Whether VAE and CLIP can work now as if the sampling were not there.

        Weights must lie where they are used: the host moves and streams them through buffers that threads
        would share. And the next step must find the memory for as large a batch as the last one.
        """
        reference, model = self._reference, self._model
        vae, device = reference.vae, reference.vae.device
        used = [vae.patcher, *([reference.clip.patcher] if hasattr(reference.clip, "patcher") else [])]
        used += [model, *model.get_additional_models()] if model is not None else []
        if device.type != "cpu" and (comfy.model_management.DISABLE_SMART_MEMORY or not all(map(_resident, used))):
            return False
        pixels = (1, 3, window.frames, reference.height, reference.width)
        latent = [self._branches, *latent_shape(reference, window.frames)[1:]]
        needed = vae.memory_used_encode(pixels, vae.vae_dtype) + comfy.model_management.minimum_inference_memory()
        batch = BATCH * model.model.memory_required(latent) if model is not None else 0
        return comfy.model_management.get_free_memory(device) > ROOM * needed + batch


def _resident(patcher) -> bool:
    """Whether all weights of a host model are on its device and the host will not page them."""
    whole = not getattr(patcher.model, "model_lowvram", False) and patcher.model.device == patcher.load_device
    return whole and not patcher.is_dynamic()


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
    except comfy.model_management.InterruptProcessingException:
        comfy.model_management.interrupt_current_processing()  # it was meant for the sampling as well
        raise
    return encoded
