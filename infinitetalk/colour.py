"""Colour correction: every frame gets the mean and spread of the reference picture in CIE Lab.

Legend: F frames, H x W pixels; colours are sRGB in 0..1, channels last. Everything runs on the frames'
device in float32, without float64, matrix kernels (which may round to TF32) or a trip to the CPU.
Source: the colour matching of the public InfiniteTalk implementation (Reinhard et al. 2001, "Color
transfer between images"), with its Lab conversion: sRGB of IEC 61966-2-1, white D65 of the 2 degree
observer. Knows no model and no window.
"""

from __future__ import annotations

import torch

from .errors import InputError

# Linear sRGB -> XYZ, each row divided by its component of the white (0.95047, 1, 1.08883), and back.
_TO_XYZ = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
_FROM_XYZ = tuple(tuple(row) for row in torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64)).tolist())

# Pixels converted at once, at about 115 bytes of working memory each: on a CPU what stays in its cache,
# elsewhere few kernel launches (81 frames of 640x640 on an H200: 28 ms at 1 << 20, 12 ms at 1 << 22).
CHUNK_PIXELS_CPU = 1 << 18
CHUNK_PIXELS_GPU = 1 << 21
FLAT = 0.01  # Lab units; one 8-bit step of grey is about 0.4


def _mix(matrix: tuple, planes: torch.Tensor) -> list[torch.Tensor]:
    """[3, ...] times a 3x3 matrix of numbers, elementwise -> three planes."""
    return [(planes[0] * a).add_(planes[1], alpha=b).add_(planes[2], alpha=c) for a, b, c in matrix]


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """sRGB planes [3, ...] in 0..1, float32 -> planes [3, ...]: L in 0..100, a and b about -128..127."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).pow_(2.4), rgb / 12.92)
    xyz = torch.stack(_mix(_TO_XYZ, linear))
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(1e-6).pow_(1 / 3), xyz * 7.787 + 16 / 116)
    return torch.stack([y * 116 - 16, (x - y) * 500, (y - z) * 200])


def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """Planes L, a, b [3, ...] -> sRGB planes [3, ...], cut to 0..1."""
    y = (lab[0] + 16) / 116
    roots = torch.stack([y + lab[1] / 500, y, (y - lab[2] / 200).clamp_min_(0)])
    xyz = torch.where(roots > 0.2068966, roots * roots * roots, (roots - 16 / 116) / 7.787)
    linear = torch.stack(_mix(_FROM_XYZ, xyz))
    gamma = linear.clamp_min(1e-6).pow_(1 / 2.4).mul_(1.055).sub_(0.055)
    return torch.where(linear > 0.0031308, gamma, linear * 12.92).clamp_(0, 1)


def _statistics(lab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(population deviation, mean) over the pixels of each frame: [3, F, H, W] -> [3, F, 1, 1] each."""
    return torch.std_mean(lab, dim=(-2, -1), correction=0, keepdim=True)


def _planes(frames: torch.Tensor) -> torch.Tensor:
    """[F, H, W, 3] of any float type -> a new float32 [3, F, H, W], cut to 0..1."""
    return frames.movedim(-1, 0).to(torch.float32, memory_format=torch.contiguous_format, copy=True).clamp_(0, 1)


def match_colour(frames: torch.Tensor, reference: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """Move the colours of `frames` to those of `reference`, each frame on its own.

    frames: [F, H, W, 3], sRGB; values outside 0..1 are cut. reference: [H', W', 3] or [1, H', W', 3].
    strength: 0..1; 0 returns `frames` itself, between is a blend in sRGB. Result: same shape, device
    and dtype, values in 0..1. Beside it the working memory is that of one chunk of pixels (240 MB on
    a GPU) or of one frame, whatever the number of frames. Raises InputError for a strength outside 0..1.

    On purpose not as the reference: a channel whose deviation is below FLAT gets the reference's mean.
    The reference does so only at exactly 0, but in float32 a constant grey frame comes out around 1e-5,
    and its rounding noise is then blown up to the reference's contrast.
    """
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"colour correction: {strength} is outside 0 to 1.", "Use 1 for full strength, 0 for off.")
    if strength == 0.0 or frames.shape[0] == 0:
        return frames
    reference = _planes(reference.reshape(1, *reference.shape[-3:]).to(frames.device))
    target_std, target_mean = _statistics(rgb_to_lab(reference))
    result = torch.empty_like(frames)
    pixels = CHUNK_PIXELS_CPU if frames.device.type == "cpu" else CHUNK_PIXELS_GPU
    step = max(1, pixels // (frames.shape[1] * frames.shape[2]))
    for start in range(0, frames.shape[0], step):
        chunk = _planes(frames[start : start + step])
        lab = rgb_to_lab(chunk)
        std, mean = _statistics(lab)
        gain = torch.where(std > FLAT, target_std / std.clamp_min(FLAT), torch.zeros_like(std))
        matched = lab_to_rgb(lab.sub_(mean).mul_(gain).add_(target_mean))
        result[start : start + step] = chunk.lerp_(matched, strength).movedim(0, -1)
    return result
