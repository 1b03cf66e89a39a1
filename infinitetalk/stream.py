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

    denoise(window, motion latent) -> latent; decode(latent) -> frames; grade(frames) -> frames, the
    colour correction; encode(frames) -> latent of the motion frames.
    """

    denoise: Callable[[Window, torch.Tensor], torch.Tensor]
    decode: Callable[[torch.Tensor], torch.Tensor]
    grade: Callable[[torch.Tensor], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Finished:
    """One window's new frames, uint8 [keep, H, W, 3] on the CPU, ready to be written."""

    window: Window
    frames: torch.Tensor


def stream(windows: Sequence[Window], first: torch.Tensor, stages: Stages) -> Iterator[Finished]:
    """Sample `windows` in order and yield each one's new frames.

    first: latent [1, 16, 1, h, w] of the reference picture, held in the first window. Every later
    window holds the encoding of the last `motion` frames before it, taken after the colour
    correction, as the reference does. Frames of more than one window never exist at once.
    """
    motion = first
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        frames = stages.grade(stages.decode(stages.denoise(window, motion)))
        fresh = to_uint8(frames[window.motion : window.motion + window.keep]).cpu()
        if following is not None:
            motion = stages.encode(frames[-following.motion :])
        del frames
        yield Finished(window, fresh)
