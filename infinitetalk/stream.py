"""Take after take: denoise, decode, grade, measure, hand out the new frames and what the next window continues from.

A generator: the caller owns progress, preview, keeping and abort, and gives the stages as functions, so
nothing here knows the host, the models or the disk.

Shapes: latent [1, 16, T, h, w] un-normalised; frames [F, H, W, 3] float 0..1 on the VAE's device.
Source: the streaming loop of the public InfiniteTalk implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from .takes import Take
from .video import to_uint8


@dataclass(frozen=True)
class Stages:
    """The work of one take.

    held(take) -> latent that its first latent frames are held to: the picture's where sampling starts afresh,
    else the `Finished.motion` of its source. denoise(take, held) -> latent; decode(latent) -> frames;
    grade(take, frames) -> frames, the colour correction; encode(frames) -> latent of the motion frames;
    look(take, frames) is shown all graded frames before they are dropped.
    """

    held: Callable[[Take], torch.Tensor]
    denoise: Callable[[Take, torch.Tensor], torch.Tensor]
    decode: Callable[[torch.Tensor], torch.Tensor]
    grade: Callable[[Take, torch.Tensor], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]
    look: Callable[[Take, torch.Tensor], None] = lambda take, frames: None


@dataclass(frozen=True)
class Finished:
    """frames: the new ones of one take, uint8 [keep, H, W, 3] on the CPU, ready to be written.

    motion: what the next window continues from, a latent of `take.hand_on` frames, or None.
    """

    take: Take
    frames: torch.Tensor
    motion: torch.Tensor | None


def stream(takes: Iterable[Take], stages: Stages) -> Iterator[Finished]:
    """Sample `takes` in order and yield each one when it is made.

    The motion frames are taken after the colour correction, as the reference does. Frames of more than one
    window never exist at once, and nothing is carried from take to take: a run that was stopped anywhere goes
    on as if it had not been.
    """
    for take in takes:
        window = take.window
        frames = stages.grade(take, stages.decode(stages.denoise(take, stages.held(take))))
        stages.look(take, frames)
        fresh = to_uint8(frames[window.motion : window.motion + window.keep]).cpu()
        motion = stages.encode(frames[-take.hand_on :]) if take.hand_on else None
        del frames
        yield Finished(take, fresh, motion)
