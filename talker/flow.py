"""The camera's motion, seen in the picture: does a dubbed video pan and zoom as its source did?

Knows no drawing and no model: frames uint8 [T, H, W, 3] as a decoded video gives them, boxes (x0, y0, x1, y1) in px of
what moves on its own. One shift and one zoom are fitted to whole pictures, which sees the motion of large smooth shapes
that dense optical flow (tried: Farneback 2003) loses in their flat insides. Needs OpenCV, for blurring.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from .measure import outside

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601
APART = 5  # frames between the two pictures that tell the camera's motion
SMALL = 160  # px, at most, on the shorter side of the pictures in which motion is looked for
BLUR = 1.5  # px, standard deviation: edges become slopes that last for a motion of 2 px
SLOWEST = 0.02  # px a frame, root mean square, below which a camera stands still


def camera_motion(frames: np.ndarray, boxes: np.ndarray = ()) -> np.ndarray:
    """How the picture moves -> [T - 5, 3]: right and down in px a frame, growth a frame, from frame i to i + 5.

    The least squares flow of one shift and one zoom for all that is outside of the boxes, [P, 4] or [P, T, 4]. Leave
    out the heads (`head_box`), which move on their own. Exact to a few percent up to 2 px between the two pictures.
    """
    frames = np.asarray(frames)
    if len(frames) <= APART:
        raise ValueError(f"A camera's motion cannot be seen in {len(frames)} frames.\nGive {APART + 1} or more.")
    side = math.ceil(min(frames.shape[1:3]) / SMALL)
    height, width = (size // side for size in frames.shape[1:3])
    small = [cv2.resize(np.asarray(frame) @ LUMA, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    small = np.stack([cv2.GaussianBlur(frame, (0, 0), BLUR) for frame in small])
    where = outside(np.asarray(boxes, dtype=float) / side, small.shape)
    y, x = np.mgrid[:height, :width] + 0.5 - np.array([height, width]).reshape(2, 1, 1) / 2
    found = []
    for at in range(len(frames) - APART):
        before, after = small[at], small[at + APART]
        down, right = np.gradient((before + after) / 2)
        here = where[at if len(where) > 1 else 0]
        slopes = np.stack([right, down, (right * x + down * y) / height])[:, here]  # [3, n]
        system = slopes @ slopes.T + np.eye(3)  # a picture without any edge stands still
        found.append(np.linalg.solve(system, slopes @ (before - after)[here]))
    return np.array(found) / APART * (side, side, 1 / height)


def flow_correlation(frames: np.ndarray, source: np.ndarray, boxes: np.ndarray = ()) -> float:
    """How well the camera follows that of the source: correlation of the flow at the picture's corners, -1..1.

    Without removing means, as a steady pan is a constant flow: 0 for a camera that stands still or moves otherwise, -1
    for the opposite. nan where the source's camera stands still. boxes: as in `camera_motion`, for both.
    """
    count = min(len(frames), len(source))
    corners = np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)]) * np.array(frames.shape[2:0:-1]) / 2
    own, other = (  # [T - 5, 4, 2]
        motion[:, None, :2] + motion[:, None, 2:] * corners
        for motion in (camera_motion(each[:count], boxes) for each in (frames, source))
    )
    size, size_other = (np.sqrt(np.square(flow).mean()) for flow in (own, other))
    if size_other < SLOWEST:
        return float("nan")
    return float((own * other).mean() / (max(size, SLOWEST) * size_other))
