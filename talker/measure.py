"""The mouth, measured from pixels alone: how far it is open and how wide it is, frame after frame.

Knows nothing of a drawing's parameters, only three facts of its colours: a mouth is dark inside, lips and skin around
it are bright in red, and lips have less green than skin. Frames are those of a decoded video, so colours at half the
resolution, a little blur and noise are expected, and a colour correction that greys the dark: it leaves lips red, while
their luminance (tried as the measure) comes too near.

Legend: T frames, H x W pixels of the picture, h x w those of the box. Red and green are 0..1, gamma-coded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DARK, LIT = 0.30, 0.55  # red: of a mouth's inside at most, even when greyed; safely below that of lips, 0.63 and more
LIPS = 0.25  # green of lips; theirs differs from that of any skin by 0.2 and more, unlike the luminance
EDGE = 0.06  # green to both sides of the border of lips and skin, over which a pixel counts in part
SKIN = 90  # percentile of the green in the box that is skin, even where most of the box is an open mouth


@dataclass(frozen=True)
class Mouth:
    """opening [T]: height of the dark inside, 0 when shut; width [T]: of the lips; both in px, float32."""

    opening: np.ndarray
    width: np.ndarray


def mouth(frames: np.ndarray, box: np.ndarray) -> Mouth:
    """Measure one person's mouth in uint8 [T, H, W, 3].

    box: (x0, y0, x1, y1) in px that the mouth never leaves and in which nothing else is dark; [4], or [T, 4] where the
    camera moves. What of it lies outside of the picture counts as skin.

    A box that grows says that the camera comes nearer: the values are in px of the first frame.
    """
    part, inside = crop(frames, box)
    part = part.astype(np.float32) / 255
    box = np.broadcast_to(np.asarray(box, dtype=np.float32), (len(part), 4))
    size = box[:, 2] - box[:, 0]
    nearer = size / size[:1]
    return Mouth(opening=_opening(part[..., 0], inside) / nearer, width=_width(part[..., 1], inside) / nearer)


def crop(frames: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut [T, H, W, 3] to a box [4] or [T, 4].

    -> (the parts [T, h, w, 3], what of them is within box and picture, bool [T, h, w]).
    """
    frames = np.asarray(frames)
    count, height, width = frames.shape[:3]
    box = np.broadcast_to(np.asarray(box, dtype=np.float64), (count, 4))
    low, high = np.floor(box[:, :2]).astype(int), np.ceil(box[:, 2:]).astype(int)  # [T, 2] of x, y
    high = np.minimum(high, (width, height))
    if (high <= np.maximum(low, 0)).any():
        raise ValueError(f"A box lies outside of the picture of {width}x{height}.\nGive x0, y0, x1, y1 in pixels.")
    w, h = (high - low).max(axis=0)
    x, y = low[:, :1] + np.arange(w), low[:, 1:] + np.arange(h)  # [T, w], [T, h]
    inside = ((y >= 0) & (y < high[:, 1:]))[:, :, None] & ((x >= 0) & (x < high[:, :1]))[:, None]
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    return frames[np.arange(count)[:, None, None], y[:, :, None], x[:, None]], inside


def outside(boxes: np.ndarray, shape: tuple[int, ...], margin: float = 0) -> np.ndarray:
    """bool [1 or T, H, W]: what is in none of the boxes [P, 4] or [P, T, 4]."""
    y, x = np.mgrid[: shape[1], : shape[2]] + 0.5
    free = np.ones((1, *shape[1:3]), dtype=bool)
    for box in boxes:
        x0, y0, x1, y1 = np.atleast_2d(box).T[:, :, None, None]
        free = free & ~((x > x0 - margin) & (x < x1 + margin) & (y > y0 - margin) & (y < y1 + margin))
    return free


def head_box(mouth_box: np.ndarray, person_box: np.ndarray) -> np.ndarray:
    """Where a head is, [4], hair included: the chin is as far below the mouth as a third of what is above it."""
    x = (mouth_box[0] + mouth_box[2]) / 2
    y = (mouth_box[1] + mouth_box[3]) / 2
    above = y - person_box[1]
    return np.array([x - above / 2, person_box[1], x + above / 2, y + 0.37 * above])


def _opening(red: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Height of what is dark: the tallest of the columns, each the mean of itself and its neighbours."""
    columns = (_share(red, DARK, LIT) * inside).sum(axis=1)  # [T, w]
    return ((columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:]) / 3).max(axis=1)


def _width(green: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Width of what is less green than skin: the number of columns in which it is a pixel high or more."""
    border = (np.percentile(green[inside], SKIN) + LIPS) / 2  # one for the clip, as skin does not change
    columns = (_share(green, border - EDGE, border + EDGE) * inside).sum(axis=1)  # [T, w]
    return np.minimum(columns, 1).sum(axis=1)


def _share(values: np.ndarray, full: float, none: float) -> np.ndarray:
    """How much of each pixel counts: all at the value `full` and below, nothing at `none` and above."""
    return ((none - values) / (none - full)).clip(0, 1)
