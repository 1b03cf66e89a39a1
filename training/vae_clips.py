"""What the VAE learns from: groups of four drawn frames, kept as uint8 on the device, cut to squares around mouths.

The net is convolutional, so one shape of square serves pictures of all sizes. Mouths move in three ways, see `mouths`:
a net that only ever sees speech keeps the mean of a group's four mouths and loses the rest. Must not know the net.

Shapes: n clips, P people, 4 frames of a group, squares of SIDE pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from talker.draw import draw
from talker.looks import EYE_X, EYE_Y, LIPS, MOUTH_DROP, MOUTH_NARROW, MOUTH_SPREAD, MOUTH_Y
from talker.motion import CAMERAS
from talker.scene import mouth_boxes, sample_scenes

from .vae import GROUP

FPS = 25
SIDE = 96
MARGIN = 20  # pixels that the middle of a chosen mouth keeps from the square's edge, where the picture allows
CHUNK_PIXELS = 1024 * 128 * 128  # drawn at a time: about 2 GB of memory
FLUTTER, SHUT = 0.4, 0.15  # shares of clips in which mouths jump, and in which they stay shut; the rest speaks
FLUTTERS, SPEAKS = 0.0, 1.0  # ways of `mouths`


class Kind(NamedTuple):
    """A size (H, W) with so many people, and its share of the pool."""

    size: tuple[int, int]
    people: int
    share: float


# The first is in every batch, the others take turns.
KINDS = (Kind((128, 128), 1, 0.5), Kind((96, 160), 1, 0.1), Kind((160, 96), 1, 0.1),
         Kind((128, 192), 2, 0.15), Kind((128, 256), 3, 0.15))  # fmt: skip


class Squares(NamedTuple):
    """S single pictures and 4 N frames of groups, as vae.py takes them."""

    pictures: torch.Tensor  # uint8 [S + 4 N, 3, SIDE, SIDE]
    weights: torch.Tensor  # float [S + 4 N, 1, SIDE, SIDE], 1 where nothing matters more


@dataclass
class Shelf:
    """The clips of one kind."""

    frames: torch.Tensor  # uint8 [n, 4, 3, H, W]
    mouths: torch.Tensor  # float [n, P, 4, 4]: boxes (x0, y0, x1, y1) in pixels
    eyes: torch.Tensor  # the same around both eyes and their brows
    room: torch.Tensor  # float [2]: pixels to the right and down that a square can move
    next: int = 0  # the clip that is drawn anew next


def mouths(
    clips: int, people: int, frames: int, generator: torch.Generator, way: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random openings and widths [clips, P, frames] in 0..1: fluttering (each frame its own), speaking, or shut.

    way: FLUTTERS, SPEAKS or None for each by its share.
    """
    device = generator.device

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(clips, people, *shape, generator=generator, device=device)

    def waves(low: float, high: float) -> torch.Tensor:
        """Two sines of `low` to `high` Hz, in -1..1."""
        turns = (low + (high - low) * rand(2, 1)) * torch.arange(frames, device=device) / FPS + rand(2, 1)
        return torch.sin(2 * torch.pi * turns).mean(2)

    flutter = torch.where(rand(frames) < 0.25, 0.0, rand(frames))
    speech = (0.35 + 0.2 * rand(1) + 0.75 * waves(1.0, 6.0)).clamp(0, 1)
    way = rand(1) if way is None else torch.tensor(way, device=device)
    opening = torch.where(way < FLUTTER, flutter, torch.where(way < FLUTTER + SHUT, 0.0, speech))
    width = torch.where(rand(1) < 0.3, rand(frames), 0.5 + 0.6 * waves(0.5, 3.0)).clamp(0, 1)
    return torch.where(opening < 0.06, 0.0, opening), width


def eye_boxes(boxes: torch.Tensor) -> torch.Tensor:
    """The boxes around eyes and brows of the faces whose mouths' boxes are given, [.., 4] each."""
    face = (boxes[..., 2:3] - boxes[..., :1] - 2) / (2 * (MOUTH_NARROW + MOUTH_SPREAD + LIPS))
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    up = face * torch.tensor([0.0, MOUTH_Y + MOUTH_DROP / 2 - EYE_Y + 3], device=boxes.device)
    half = face * torch.tensor([EYE_X + 7.0, 9.0], device=boxes.device)
    return torch.cat((middle - up - half, middle - up + half), -1)


@torch.no_grad()
def make_clips(kind: Kind, count: int, seed: int, device: torch.device) -> Shelf:
    """Draw `count` clips of one kind, each of another scene, at any time of it, three in ten with a moving camera."""
    generator = torch.Generator(device).manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator, device=device)

    camera = torch.where(rand() < 0.7, 0, 1 + (rand() * (len(CAMERAS) - 1)).long())
    scene = sample_scenes(count, people=kind.people, size=kind.size, seed=seed, camera=camera, device=device)
    times = 60 * rand(1) + torch.arange(GROUP, device=device) / FPS
    opening, width = mouths(count, kind.people, GROUP, generator)
    energy = rand(kind.people, 1).expand(-1, -1, GROUP)
    pictures = draw(scene, times, opening, width, energy)
    boxes = mouth_boxes(scene, times, energy)
    room = torch.tensor([kind.size[1] - SIDE, kind.size[0] - SIDE], dtype=torch.float32, device=device)
    return Shelf((pictures * 255).round().to(torch.uint8), boxes, eye_boxes(boxes), room)


class Pool:
    """`clips` clips of all kinds, from which squares are cut at random; `refresh` now and then draws some anew."""

    def __init__(self, clips: int, seed: int, device: torch.device) -> None:
        self.device, self.seed, self.made = device, seed, 0
        self.generator = torch.Generator(device).manual_seed(seed)
        self.turn = 0
        self.shelves = []
        for kind in KINDS:
            count, chunk = max(8, round(clips * kind.share)), self.chunk(kind)
            parts = [self._make(kind, min(chunk, count - begin)) for begin in range(0, count, chunk)]
            joined = (torch.cat([getattr(part, name) for part in parts]) for name in ("frames", "mouths", "eyes"))
            self.shelves.append(Shelf(*joined, parts[0].room))

    @staticmethod
    def chunk(kind: Kind) -> int:
        """How many clips of a kind are drawn at a time."""
        return CHUNK_PIXELS // (GROUP * kind.size[0] * kind.size[1])

    def _make(self, kind: Kind, count: int) -> Shelf:
        self.made += 1
        return make_clips(kind, count, self.seed * 1_000_003 + self.made, self.device)

    def refresh(self) -> None:
        """Replace the oldest chunk of one kind; the kinds come as often as their shares say."""
        pick = int(torch.multinomial(torch.tensor([kind.share for kind in KINDS]), 1))
        kind, shelf = KINDS[pick], self.shelves[pick]
        count = min(self.chunk(kind), len(shelf.frames) - shelf.next)
        new, place = self._make(kind, count), slice(shelf.next, shelf.next + count)
        shelf.frames[place], shelf.mouths[place], shelf.eyes[place] = new.frames, new.mouths, new.eyes
        shelf.next = (shelf.next + count) % len(shelf.frames)

    def squares(self, groups: int, singles: int, mouth: float, eyes: float) -> Squares:
        """Cut N groups and S singles; pixels of mouths weigh `mouth`, those of eyes `eyes`, singles twice as much."""
        self.turn = self.turn % (len(KINDS) - 1) + 1
        some, few = round(groups * 0.4), round(singles * 0.4)  # of the kind whose turn it is
        parts = [self._cut(self.shelves[0], groups - some, singles - few, mouth, eyes)]
        parts.append(self._cut(self.shelves[self.turn], some, few, mouth, eyes))
        lone, grouped = zip(*parts, strict=True)
        return Squares(*(torch.cat(tensors) for tensors in zip(*lone, *grouped, strict=True)))

    def _cut(self, shelf: Shelf, groups: int, singles: int, mouth: float, eyes: float) -> tuple[Squares, Squares]:  # noqa: PLR0913
        count = groups + singles

        def rand(*shape: int) -> torch.Tensor:
            return torch.rand(count, *shape, generator=self.generator, device=self.device)

        clip = (rand() * len(shelf.frames)).long()
        person = (rand() * shelf.mouths.shape[1]).long()
        boxes = torch.stack((shelf.mouths[clip], shelf.eyes[clip]), 1)  # [n, 2, P, 4, 4]
        chosen = shelf.mouths[clip, person].mean(1)  # [n, 4]
        middle = (chosen[:, :2] + chosen[:, 2:]) / 2
        corner = (middle - MARGIN - (SIDE - 2 * MARGIN) * rand(2)).round().clamp(min=0).minimum(shelf.room).long()
        x, y = (corner[:, i, None] + torch.arange(SIDE, device=self.device) for i in (0, 1))  # [n, SIDE]
        cut = shelf.frames[clip[:, None, None], :, :, y[:, :, None], x[:, None, :]]  # [n, SIDE, SIDE, 4, 3]
        cut = cut.permute(0, 3, 4, 1, 2)
        x0, y0, x1, y1 = boxes[..., None].unbind(-2)  # [n, 2, P, 4, 1] each
        x, y = x[:, None, None, None], y[:, None, None, None]
        inside = (((y >= y0) & (y < y1))[..., None] & ((x >= x0) & (x < x1))[..., None, :]).any(
            2
        )  # [n, 2, 4, SIDE, SIDE]
        weights = 1.0 + torch.maximum((mouth - 1) * inside[:, 0], (eyes - 1) * inside[:, 1])[:, :, None]
        frame = (rand()[groups:] * GROUP).long()
        lone = torch.arange(groups, count, device=self.device)
        return (
            Squares(cut[lone, frame], 2 * weights[lone, frame]),
            Squares(cut[:groups].flatten(0, 1), weights[:groups].flatten(0, 1)),
        )
