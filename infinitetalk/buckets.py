"""The reference's picture sizes, its resize and crop, and the check of a picture before any of it.

Pictures are uint8 [H, W, 3]; masks are tensors [C, H, W]; sizes are (height, width) in pixels, in this
order everywhere. Knows no model and no video.
Source of the sizes: ASPECT_RATIO_627 (called 480 here, about 640x640 pixels) and ASPECT_RATIO_960
(called 720, about 960x960) in wan/utils/multitalk_utils.py of the public InfiniteTalk code.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image

from .errors import InputError

MIN_SIDE = 64  # pixels; less than four tokens a side hold no face
MAX_SIDE = 16_384  # pixels; beyond this a "picture" is a mistake, and Pillow's resize gets very slow

# Printed ratio height/width -> (height, width). The keys choose, not the true ratios of the sizes:
# 0.26 stands for 320/1216 = 0.263, and 2.00 and 1.86 share a width.
BUCKETS: dict[str, dict[float, tuple[int, int]]] = {
    "480": {
        0.26: (320, 1216), 0.38: (384, 1024), 0.50: (448, 896), 0.67: (512, 768), 0.82: (576, 704),
        1.00: (640, 640), 1.22: (704, 576), 1.50: (768, 512), 1.86: (832, 448), 2.00: (896, 448),
        2.50: (960, 384), 2.83: (1088, 384), 3.60: (1152, 320), 3.80: (1216, 320), 4.00: (1280, 320),
    },
    "720": {
        0.22: (448, 2048), 0.29: (512, 1792), 0.36: (576, 1600), 0.45: (640, 1408), 0.55: (704, 1280),
        0.63: (768, 1216), 0.76: (832, 1088), 0.88: (896, 1024), 1.00: (960, 960), 1.14: (1024, 896),
        1.31: (1088, 832), 1.50: (1152, 768), 1.58: (1216, 768), 1.82: (1280, 704), 1.91: (1344, 704),
        2.20: (1408, 640), 2.30: (1472, 640), 2.67: (1536, 576), 2.89: (1664, 576), 3.62: (1856, 512),
        3.75: (1920, 512),
    },
}  # fmt: skip


def check_sides(height: int, width: int, name: str) -> None:
    """Refuse pictures, in pixels, that are too small to show a person or too large to be held; name: the input."""
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{name}: {width}x{height} pixels is too small.", f"Use a picture of at least {MIN_SIDE}x{MIN_SIDE} pixels."
        )
    if max(height, width) > MAX_SIDE:
        raise InputError(
            f"{name}: {width}x{height} pixels is too large.",
            f"Scale it down to at most {MAX_SIDE} pixels a side; the video has no more than 2048.",
        )


def check_picture(image: torch.Tensor, name: str = "reference picture") -> None:
    """Refuse a picture that cannot be a reference, with the remedy.

    image: [B, H, W, C] float in 0..1 as the host passes pictures around; B >= 1, C == 3, sides of
    MIN_SIDE to MAX_SIDE pixels, all values finite. Raises InputError.
    """
    if image.ndim != 4:
        raise InputError(
            f"{name}: {image.ndim} dimensions {list(image.shape)}, not the 4 of a picture batch [B, H, W, C].",
            "Connect the IMAGE output of a node such as Load Image.",
        )
    count, height, width, channels = image.shape
    if count == 0:
        raise InputError(f"{name}: the batch holds no picture.", "Give at least one picture.")
    if channels != 3:
        remedy = {
            4: "Flatten the transparency first: paste the picture on a background.",
            1: "Convert the grey picture to RGB first, by repeating its channel three times.",
        }.get(channels, "Convert it to RGB first.")
        raise InputError(f"{name}: {channels} channels ({width}x{height}), not the 3 of RGB.", remedy)
    check_sides(height, width, name)
    if not torch.isfinite(image).all():
        raise InputError(
            f"{name}: it holds values that are not numbers (NaN or infinite).",
            "Look at the node that made it: a half-precision VAE decode is the usual cause.",
        )


def pick_bucket(height: int, width: int, resolution: str) -> tuple[int, int]:
    """Output size (height, width) for a picture of height x width: the bucket of the nearest ratio.

    resolution: "480" or "720". Of two equally near ratios the smaller wins, as in the reference.
    """
    if resolution not in BUCKETS:
        raise InputError(f"resolution: {resolution!r} is unknown.", f"Use one of {', '.join(BUCKETS)}.")
    return nearest(height, width, BUCKETS[resolution])


def nearest(height: int, width: int, table: dict[float, tuple[int, int]]) -> tuple[int, int]:
    """The size in `table` (printed ratio height/width -> (height, width)) for a picture's shape."""
    return table[min(table, key=lambda ratio: abs(ratio - height / width))]  # min keeps the first of equals


def _covering_size(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Smallest size with the source's ratio that covers the target, rounded up.

    The order of the floating point steps decides whether a side comes out one pixel longer, so it is
    the reference's: scale first, then times the source side.
    """
    scale = max(target[0] / source[0], target[1] / source[1])
    return math.ceil(scale * source[0]), math.ceil(scale * source[1])


def _centre(source: tuple[int, int], target: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the centred target in the source; half offsets round to even."""
    top, left = (round((have - want) / 2.0) for have, want in zip(source, target, strict=True))
    return slice(top, top + target[0]), slice(left, left + target[1])


def resize_crop(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Scale a picture to cover height x width and cut the centre out.

    image: uint8 [H, W, 3] -> uint8 [height, width, 3] on the CPU. Pillow's bilinear filter on 8-bit
    values, which averages when it shrinks: the reference's own, so the pixels are equal.
    """
    if image.dtype != torch.uint8:
        raise TypeError(f"resize_crop wants uint8 pixels, not {image.dtype}")
    source, target = (image.shape[0], image.shape[1]), (height, width)
    covering = _covering_size(source, target)
    picture = Image.fromarray(image.cpu().numpy()).resize(covering[::-1], resample=Image.Resampling.BILINEAR)
    rows, columns = _centre(covering, target)
    return torch.from_numpy(np.array(picture)[rows, columns].copy())


def resize_crop_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The same for a mask: [C, H, W] of any type -> [C, height, width], nearest pixel, no new values."""
    source, target = (mask.shape[-2], mask.shape[-1]), (height, width)
    covering = _covering_size(source, target)
    # float32 holds every 8-bit value and class number exactly; integer types have no kernel on some devices
    scaled = torch.nn.functional.interpolate(mask[None].float(), size=covering, mode="nearest")[0].to(mask.dtype)
    rows, columns = _centre(covering, target)
    return scaled[:, rows, columns]
