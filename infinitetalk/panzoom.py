"""A still as a slowly moving video: a window that glides over the picture and is scaled to one size for every frame.

Legend: H x W the picture, h x w the video, zoom z >= 1 the part of the picture's side that is seen, 1/z. The window is
placed in fractions of a pixel, so nothing jumps from pixel to pixel however slow it moves, and it never leaves the
picture. It moves there and back for as long as asked: it neither stops nor wanders off. Frames are made one block at
a time. Knows no window of the sampler and no host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .buckets import MIN_SIDE, check_picture
from .config import FPS
from .errors import InputError
from .video import VideoWriter

MAX_PIXELS = 1920 * 1080  # of a frame; more than twice the largest trained size
MAX_ZOOM = 4.0
MAX_SECONDS = 86_400.0  # a day
EASINGS = ("smooth", "linear")
BLOCK = 8  # frames handed to the encoder at once

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture


@dataclass(frozen=True)
class Move:
    """How the window moves. Raises InputError for values out of range and for a move that would stand still.

    zoom_start, zoom_end: 1 (as much of the picture as fits) to MAX_ZOOM. pan_x, pan_y: where the window ends, -1
    (left, top) to 1 (right, bottom) of the room that the zoom leaves; it begins in the middle. easing: "smooth"
    (slow at both ends) or "linear". one_way: seconds from start to end, then back, and so on; 0 is once over the
    whole length.
    """

    zoom_start: float = 1.0
    zoom_end: float = 1.15
    pan_x: float = 0.0
    pan_y: float = 0.0
    easing: str = "smooth"
    one_way: float = 10.0

    def __post_init__(self):
        for name, zoom in (("zoom_start", self.zoom_start), ("zoom_end", self.zoom_end)):
            if not 1.0 <= zoom <= MAX_ZOOM:
                raise InputError(
                    f"{name}: {zoom} is outside 1 to {MAX_ZOOM:g}; below 1 the window would leave the picture.",
                    "Use 1.0 for the whole picture and 1.15 for a slow approach.",
                )
        for name, pan in (("pan_x", self.pan_x), ("pan_y", self.pan_y)):
            if not -1.0 <= pan <= 1.0:
                raise InputError(
                    f"{name}: {pan} is outside -1 to 1; beyond the room that the zoom leaves there is no picture.",
                    "Use -1 for the left or top edge, 1 for the right or bottom edge, and zoom in for more room.",
                )
        if self.easing not in EASINGS:
            raise InputError(f"easing: {self.easing!r} is unknown.", f"Use one of {', '.join(EASINGS)}.")
        if not 0.0 <= self.one_way <= MAX_SECONDS:
            raise InputError(
                f"there_and_back: {self.one_way} s is outside 0 to {MAX_SECONDS:g}.",
                "Use 10, or 0 for once over the whole length.",
            )
        if self.zoom_start == self.zoom_end and (self.zoom_end == 1.0 or self.pan_x == self.pan_y == 0.0):
            raise InputError(
                f"zoom {self.zoom_start} to {self.zoom_end}, pan {self.pan_x}, {self.pan_y}: nothing would move.",
                "Set zoom_end to 1.15, or a pan and a zoom above 1; a picture at rest needs no video.",
            )

    def way(self, second: float, length: float) -> float:
        """How far from start (0) to end (1) the window is at `second` of `length`."""
        turns = second / (self.one_way or length)
        back = turns % 2.0
        way = min(back, 2.0 - back)
        return way if self.easing == "linear" else 0.5 - 0.5 * math.cos(math.pi * way)

    def box(self, way: float, size: tuple[int, int], output: tuple[int, int]) -> Box:
        """The window at `way`, in a picture of `size` (width, height), with the shape of `output` (width, height)."""
        zoom = self.zoom_start * (self.zoom_end / self.zoom_start) ** way  # equal steps look equally fast
        scale = min(size[0] / output[0], size[1] / output[1]) / zoom
        width, height = output[0] * scale, output[1] * scale
        left = (size[0] - width) / 2 * (1 + self.pan_x * way)
        top = (size[1] - height) / 2 * (1 + self.pan_y * way)
        # rounding may put an edge a hair outside, which the scaler refuses
        return max(0.0, left), max(0.0, top), min(float(size[0]), left + width), min(float(size[1]), top + height)


def output_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the video of a picture: its own, even, with at most MAX_PIXELS pixels."""
    scale = min(1.0, math.sqrt(MAX_PIXELS / (width * height)))
    return max(2, math.floor(width * scale) // 2 * 2), max(2, math.floor(height * scale) // 2 * 2)


def frame_count(seconds: float) -> int:
    """Frames of a video of `seconds`; InputError for a length outside one frame to a day."""
    if not 1 / FPS <= seconds <= MAX_SECONDS:
        raise InputError(
            f"seconds: {seconds} is outside {1 / FPS:g} to {MAX_SECONDS:g}.",
            "Use the length of the speech, or connect features.",
        )
    return round(seconds * FPS)


def check_still(image: torch.Tensor, move: Move) -> None:
    """Refuse a picture [B, H, W, 3] that cannot be moved over so: InputError."""
    check_picture(image, "image")
    height, width = image.shape[1:3]
    zoom = max(move.zoom_start, move.zoom_end)
    if min(height, width) / zoom < MIN_SIDE:
        raise InputError(
            f"image: of {width}x{height} pixels a zoom of {zoom:g} leaves {int(width / zoom)}x{int(height / zoom)}, "
            f"less than {MIN_SIDE} a side.",
            f"Zoom at most {math.floor(min(height, width) / MIN_SIDE * 100) / 100:g}, or use a larger picture.",
        )


def moving(image: torch.Tensor, move: Move, frames: int) -> Iterator[np.ndarray]:
    """`frames` frames, uint8 [h, w, 3] of output_size(), of the first picture of `image` float [B, H, W, 3] 0..1."""
    check_still(image, move)
    picture = Image.fromarray((image[0].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    output = output_size(*picture.size)
    # What no frame can show is averaged away once, instead of in every frame.
    needed = min(
        1.0, max(move.zoom_start, move.zoom_end) * max(o / s for o, s in zip(output, picture.size, strict=True))
    )
    if needed < 1.0:
        picture = picture.resize(tuple(math.ceil(side * needed) for side in picture.size), Image.Resampling.LANCZOS)
    length = frames / FPS
    for index in range(frames):
        box = move.box(move.way(index / FPS, length), picture.size, output)
        yield np.asarray(picture.resize(output, Image.Resampling.LANCZOS, box=box))


def write_moving(
    image: torch.Tensor,
    path: Path,
    move: Move,
    frames: int,
    crf: int = 12,
    report: Callable[[int], None] | None = None,
) -> Path:
    """Write the video; returns `path`. report: called with the frames done; an exception of it leaves no file.

    Raises InputError for what check_still() refuses and for a disk that is full or cannot be written.
    """
    check_still(image, move)
    writer = VideoWriter(path, *output_size(image.shape[2], image.shape[1]), crf=crf)
    try:
        block: list[np.ndarray] = []
        for frame in moving(image, move, frames):
            block.append(frame)
            if len(block) == BLOCK or writer.frames + len(block) == frames:
                writer.add(np.stack(block))
                block = []
                if report:
                    report(writer.frames)
        return writer.finish()
    except BaseException:  # an interruption too: a part of a background is of no use
        writer.abort(keep=False)
        raise
