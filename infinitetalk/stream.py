"""Window after window: denoise, decode, grade, hand out the new frames, keep the motion for the next.

A generator: the caller owns progress, preview, writing and abort, and gives the four stages as
functions, so nothing here knows the host, the models or the disk.

Shapes: latent [1, 16, T, h, w] un-normalised; frames [F, H, W, 3] float 0..1 on the VAE's device.
Source: the streaming loop of the public InfiniteTalk implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from .timeline import Window
from .video import to_uint8


@dataclass(frozen=True)
class Stages:
    """The work of one window.

    first(window) -> latent [1, 16, 1, h, w] of the picture that a window without motion frames starts
    from; denoise(window, held latent) -> latent; decode(latent) -> frames; grade(window, frames) ->
    frames, the colour correction; encode(frames) -> latent of the motion frames.
    """

    first: Callable[[Window], torch.Tensor]
    denoise: Callable[[Window, torch.Tensor], torch.Tensor]
    decode: Callable[[torch.Tensor], torch.Tensor]
    grade: Callable[[Window, torch.Tensor], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Finished:
    """One window's new frames, uint8 [keep, H, W, 3] on the CPU, ready to be written."""

    window: Window
    frames: torch.Tensor


def stream(windows: Sequence[Window], stages: Stages) -> Iterator[Finished]:
    """Sample `windows` in order and yield each one's new frames.

    A window without motion frames (the run's first, the first of a scene) holds the latent of its
    picture; every other one holds the encoding of the last `motion` frames before it, taken after the
    colour correction, as the reference does. Frames of more than one window never exist at once.
    """
    motion = None
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        held = motion if window.motion else stages.first(window)
        frames = stages.grade(window, stages.decode(stages.denoise(window, held)))
        fresh = to_uint8(frames[window.motion : window.motion + window.keep]).cpu()
        if following is not None and following.motion:
            motion = stages.encode(frames[-following.motion :])
        del frames
        yield Finished(window, fresh)
