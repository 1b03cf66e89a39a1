"""The reference: the picture of the person, encoded once and used by every window.

A value. Must not know how it was encoded or who uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .config import VAE_SPACE
from .errors import InputError
from .timeline import Window, frames_of_latent, latent_frames


@dataclass(frozen=True)
class Reference:
    """picture: [H, W, 3] float 0..1 on the CPU, H and W multiples of 16; latent: [1, 16, T, H/8, W/8],
    the picture followed by mid grey, encoded by the VAE (not normalised); clip: the host's CLIP vision output;
    source: (height, width) of the picture before it was resized and cut, by default its own.

    Source of the conditioning video: facts 2 and 3 of the public implementation's streaming loop
    (one picture, then zeros in the -1..1 range, encoded whole).
    """

    picture: torch.Tensor
    latent: torch.Tensor
    clip: Any
    source: tuple[int, int] | None = None
    still = True  # the same in every window

    def __post_init__(self):
        if self.source is None:
            object.__setattr__(self, "source", (self.height, self.width))

    def at(self, window: Window) -> Reference:
        """What conditions `window`: for a still picture, itself."""
        return self

    def shown(self, window: Window) -> torch.Tensor:
        """The picture of `window`, [H, W, 3]."""
        return self.picture

    @property
    def height(self) -> int:
        return self.picture.shape[0]

    @property
    def width(self) -> int:
        return self.picture.shape[1]

    def conditioning(self, frames: int) -> torch.Tensor:
        """The conditioning latent of a window of `frames`: a prefix, because the VAE is causal.

        Raises InputError when the reference was encoded for shorter windows.
        """
        wanted = latent_frames(frames)
        check_held(frames, frames_of_latent(self.latent.shape[2]))
        return self.latent[:, :, :wanted]

    @property
    def first(self) -> torch.Tensor:
        """The latent of the picture alone, [1, 16, 1, h, w]: what the first window starts from."""
        return self.latent[:, :, :1]


def check_held(frames: int, held: int) -> None:
    """Refuse windows of more frames than the reference was encoded for."""
    if latent_frames(frames) > latent_frames(held):
        raise InputError(
            f"frames per window: {frames} is more than the {held} frames the reference was encoded for.",
            f"Set window_frames of the InfiniteTalk Reference to {frames}, or use windows of {held} frames.",
        )


def check_still(source_strength: float, cuts: int) -> None:
    """Refuse what a picture does not give: a start from a source video's own pictures, and its cuts."""
    remedy = "use InfiniteTalk Video Reference."
    if source_strength < 1.0:
        raise InputError(
            f"source_strength: {source_strength} starts from a source video, and the reference is a picture.",
            f"Set source_strength to 1, or {remedy}",
        )
    if cuts:
        raise InputError(
            f"scenes: {cuts} cuts of a source video are given, and the reference is a picture.",
            f"Disconnect scenes, or {remedy}",
        )


def padded_video(picture: torch.Tensor, frames: int) -> torch.Tensor:
    """[H, W, 3] 0..1 -> [frames, H, W, 3]: the picture, then mid grey."""
    video = picture.new_full((frames, *picture.shape), 0.5)
    video[0] = picture
    return video


def latent_shape(reference: Reference, frames: int) -> tuple[int, ...]:
    """Shape of a window's latent, [1, 16, T, h, w]."""
    return (1, 16, latent_frames(frames), reference.height // VAE_SPACE, reference.width // VAE_SPACE)
