"""What must last over a long video: who it is, its colours, and that no window's border is seen.

Knows no drawing and no model: frames uint8 [T, H, W, 3] as a decoded video gives them, boxes (x0, y0, x1, y1) in px.
Needs OpenCV, for CIELAB and for finding a face again.

Legend: T frames, S whole seconds, K window borders, P boxes. Colour distances are CIE 1976 (dE*ab, D65, about 2.3 can
just be seen).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .measure import head_box, outside

FPS, GROUP = 25, 4  # frames a second; frames of one latent frame of the Wan VAE, after frame 0
LOOKS = 5  # frames of each second in which a face is looked for
AROUND = 3  # frame steps before and after a border that tell how much moves there: those within its groups
STILL = 0.05  # 8-bit levels, mean over the picture, that count as motion even where nothing moves
FIND = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)


@dataclass(frozen=True)
class Identity:
    """Distance of a face to itself in the first second, [S] each: colour in dE, shape in % of width and height.

    Those of one person are not 0 either, as heads turn: 1-2 dE and 0.3-1.8 %. inf: the face was not found again.
    """

    colour: np.ndarray
    shape: np.ndarray


def identity(frames: np.ndarray, mouth_box: np.ndarray, person_box: np.ndarray) -> Identity:
    """Whether a face before a still camera stays the same.

    The face of frame 0 is found again in some frames of each second (enhanced correlation, Evangelidis and Psarakis
    2008): how it had to be stretched is its shape; what still differs once it is laid over frame 0, in squares a ninth
    of the face high, its colours. The mouth, which speaks, is left out.
    """
    frames = np.asarray(frames)
    height, width = frames.shape[1:3]
    head = head_box(mouth_box, person_box)
    face = _ellipse(head, (height, width)) & outside([mouth_box], frames.shape, margin=3)[0]
    cell = max(4, round((head[3] - head[1]) / 12))
    weight = cv2.boxFilter(face.astype(np.float32), -1, (cell, cell))
    seen = np.zeros_like(face)
    seen[cell // 2 :: cell, cell // 2 :: cell] = True
    seen &= weight > 0.5
    count = len(frames) // FPS
    pose = np.eye(2, 3, dtype=np.float32)
    first, mask = _grey(frames[0]), face.astype(np.uint8) * 255
    stretch, colours = np.full((count * LOOKS, 2), np.nan), np.zeros((count * LOOKS, seen.sum(), 3))
    for at, index in enumerate(range(0, count * FPS, FPS // LOOKS)):
        found = _find(first, _grey(frames[index]), pose, mask)
        if found is not None:
            pose = found
            across = np.hypot(pose[0, 0], pose[1, 0])
            stretch[at] = across, np.linalg.det(pose[:, :2]) / across
        laid = cv2.warpAffine(_lab(frames[index]), pose, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        colours[at] = cv2.boxFilter(laid * face[..., None], -1, (cell, cell))[seen] / weight[seen][:, None]
    colours = colours.reshape(count, LOOKS, -1, 3).mean(axis=1)
    stretch = 100 * np.log(stretch).reshape(count, LOOKS, 2).mean(axis=1)
    return Identity(
        colour=np.linalg.norm(colours - colours[:1], axis=-1).mean(axis=1),
        shape=np.nan_to_num(np.abs(stretch - stretch[:1]).mean(axis=1), nan=np.inf),
    )


def trend(values: np.ndarray, seconds: int = 10) -> float:
    """Mean of the last `seconds` of [..., S] over that of the first, after the very first, to which all are compared.

    Give several clips at once: of a single one that lasts it is 0.6 to 1.4, as the head happens to turn.
    """
    values = np.asarray(values)
    if values.shape[-1] < 2 * seconds:
        raise ValueError(f"A trend needs {2 * seconds} s or more, these are {values.shape[-1]}.\nGive a longer video.")
    return float(values[..., -seconds:].mean() / values[..., 1:seconds].mean())


def colour_drift(frames: np.ndarray, boxes: np.ndarray = (), source: np.ndarray | None = None) -> np.ndarray:
    """Distance of each second's mean colour to the first one's, [S] in dE, without what is in the boxes [P, 4].

    source: frames [T, H, W, 3] to compare to instead, second by second, as those of a video that is dubbed.
    """
    frames = np.asarray(frames)
    where = outside(boxes, frames.shape)[0]

    def means(of: np.ndarray) -> np.ndarray:
        seconds = range(0, len(of) // FPS * FPS, FPS)
        return np.array(
            [np.mean([_lab(frame)[where].mean(axis=0) for frame in of[at : at + FPS]], 0) for at in seconds]
        )

    own = means(frames)
    return np.linalg.norm(own - (own[:1] if source is None else means(np.asarray(source))[: len(own)]), axis=1)


@dataclass(frozen=True)
class Seams:
    """Step across each window border against an ordinary border of latent frames, [K]; 1 where nothing can be seen.

    plain: the mean difference of the two frames over that of ordinary borders. steady: the same after each was divided
    by the steps around it, so that a border at which the head moves fast or an eye blinks is no seam; half the scatter.
    """

    plain: np.ndarray
    steady: np.ndarray


def seams(frames: np.ndarray, borders: np.ndarray, boxes: np.ndarray = ()) -> Seams:
    """borders [K]: the first new frame of each window but the first, 4n + 1. boxes [P, 4]: left out, as mouths."""
    frames, borders = np.asarray(frames), np.asarray(borders, dtype=int)
    where = outside(boxes, frames.shape)[0]
    pairs = zip(frames[:-1], frames[1:], strict=True)
    step = np.array([0, *(cv2.absdiff(a, b)[where].mean() for a, b in pairs)])  # step[i]: from frame i - 1 to frame i
    every = np.arange(1 + GROUP, len(frames) - AROUND, GROUP)
    ordinary = np.setdiff1d(every, borders)
    if not len(ordinary) or not np.isin(borders, every).all():
        raise ValueError(f"{borders} are no borders of latent frames within {len(frames)} frames.\nGive 4n + 1 each.")
    near = [offset for offset in range(-AROUND, AROUND + 1) if offset]
    steady = (step[every] + STILL) / (step[every[:, None] + near].mean(axis=1) + STILL)
    steady = dict(zip(every, steady, strict=True))
    usual = np.mean([steady[border] for border in ordinary])
    return Seams(
        plain=(step[borders] + STILL) / (step[ordinary].mean() + STILL),
        steady=np.array([steady[border] for border in borders]) / usual,
    )


def _ellipse(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return ((x - middle_x) * 2 / (box[2] - box[0])) ** 2 + ((y - middle_y) * 2 / (box[3] - box[1])) ** 2 < 1


def _find(first: np.ndarray, picture: np.ndarray, pose: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """How the masked part of the first picture lies in another one, an affine [2, 3]; None where it is not found."""
    for start in (pose, np.eye(2, 3, dtype=np.float32)):
        try:
            return cv2.findTransformECC(first, picture, start.copy(), cv2.MOTION_AFFINE, FIND, mask, 5)[1]
        except cv2.error:  # it does not converge
            continue
    return None


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def _lab(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> float32 CIELAB [H, W, 3]."""
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
