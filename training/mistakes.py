"""What windows do to motion latents in the course of a run, put on those of the training.

A run's motion frames are the net's own, a little wrong each time. A net that has only continued true frames takes
the wrong ones for true and adds its own errors, window after window, until outlines are gone; one that has continued
wrong frames beside a right reference puts them right. Two kinds of wrong: noise as grain, clouds and tints, and the
net's own errors, kept from its recent predictions (error recycling: Stable Video Infinity, arXiv 2510.09212).
Must not know the net, its losses or how batches are made.

Shapes: B clips, latents [B, 16, T, h, w].
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

GRAIN, CLOUDS, TINT = 0.15, 0.2, 0.15  # most noise: in each cell, in patches of four, of a channel
CERTAIN = 0.7  # flow time up to which a prediction's error is like that of a finished picture; above, it is a blur
STRENGTH = 1.5  # most by which a kept error is multiplied


def noise(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Grain, clouds and tints of random strength for motion latents of a shape [B, 16, n, h, w]."""
    batch, channels, frames, height, width = shape

    def rand(most: float, *size: int) -> torch.Tensor:
        strength = most * torch.rand(batch, 1, 1, 1, 1, generator=generator, device=generator.device)
        return strength * torch.randn(batch, channels, *size, generator=generator, device=generator.device)

    patches = rand(CLOUDS, 1, -(-height // 4), -(-width // 4))
    clouds = interpolate(patches[:, :, 0], size=(height, width), mode="bilinear")[:, :, None]
    return rand(GRAIN, frames, height, width) + clouds + rand(TINT, 1, 1, 1)


class Errors:
    """The net's latest errors at pictures of one size, `frames` latent frames of each; zeros at first."""

    def __init__(self, room: int, shape: tuple[int, int, int, int], device: torch.device):
        """room: how many are kept; shape: [16, frames, h, w]."""
        self.kept = torch.zeros(room, *shape, device=device)
        self.next = 0

    @torch.no_grad()
    def keep(self, error: torch.Tensor, sigma: torch.Tensor) -> None:
        """Take in (true - predicted) velocity [B, 16, T, h, w] at flow times sigma [B]; the oldest ones go.

        Each time from other latent frames. Times sigma these are errors of the clean latents. Where sigma is not
        below CERTAIN, what was kept in that place stays.
        """
        count, frames = min(len(error), len(self.kept)), self.kept.shape[2]
        begin = frames + self.next % (error.shape[2] - 2 * frames + 1)
        part = error[:count, :, begin : begin + frames].float()
        times = sigma[:count, None, None, None, None]
        place = (self.next + torch.arange(count, device=part.device)) % len(self.kept)
        self.kept[place] = torch.where(times < CERTAIN, times * part, self.kept[place])
        self.next = (self.next + count) % len(self.kept)

    def some(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` of them by chance [count, 16, frames, h, w], each at a random strength."""
        device = generator.device
        index = torch.randint(len(self.kept), (count,), generator=generator, device=device)
        strength = STRENGTH * torch.rand(count, 1, 1, 1, 1, generator=generator, device=device)
        return strength * self.kept[index]
