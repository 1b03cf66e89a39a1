"""How far a window has drifted: colour, sharpness, the seam to the window before, the motion frames it repeats.

Each window is measured alone, from its own frames, the reference picture and small copies of the frames that it
continues, so a run that goes on where it stood measures what an uninterrupted one does. Works in blocks of frames on
the frames' own device; beside them it needs one block and the small copies. Knows no model, no files and no plot.

Legend: F frames, H x W pixels, h x w those of a small copy. Differences are in 8-bit levels (0..255): the mean over
pixels and channels of the absolute difference of two small copies, in which noise and single pixels count little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .colour import rgb_to_lab
from .config import FPS, VAE_TIME
from .timeline import Window

THUMB = 128  # pixels, at most, on the longest side of a small copy
BLOCK_PIXELS = 1 << 21  # worked on at once: 25 MB in float32, about 100 MB with what is computed of it
COLOUR_STRIDE = 2  # colours are taken from every second pixel of the small copies in both directions
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as everywhere where this measure of sharpness is used
STILL = 0.5  # levels; half of what 8 bits can show, so that the ratio of two pictures that stand still is 1
SMOOTH = 1.0  # squared levels; rounding to 8 bits alone gives 1.7

# measure -> (unit, what it is for people, the value of a window without any drift)
MEASURES = {
    "colour": ("dE", "colour distance to the reference", 0.0),
    "colour_spread": ("dE", "distance of the colours' distribution", 0.0),
    "sharpness_ratio": ("", "sharpness against the reference", 1.0),
    "seam_ratio": ("", "step into the window against an ordinary step", 1.0),
    "seam_group_ratio": ("", "step into the window against a step between latent frames", 1.0),
    "motion": ("levels", "difference of the motion frames", 0.0),
}

CONTINUED = ("seam", "seam_ratio", "seam_group_ratio", "motion")  # what is measured against the window before


def thumbs(frames: torch.Tensor) -> torch.Tensor:
    """Small copies: float [n, H, W, 3] of 0..1 -> uint8 [n, h, w, 3] on the same device, rounded.

    Each pixel is the mean of a square of whole pixels, the smallest that leaves at most 128 on the longest side; what
    does not fill a square at the right and lower edge is left out. Values that are no numbers count as 0.
    """
    n, height, width, _ = frames.shape
    side = max(1, math.ceil(max(height, width) / THUMB))
    h, w = max(1, height // side), max(1, width // side)
    small = torch.empty(n, h, w, 3, dtype=torch.uint8, device=frames.device)
    for start, block in _blocks(frames):
        squares = block[:, : h * side, : w * side].unflatten(2, (w, -1)).unflatten(1, (h, -1))
        small[start : start + len(block)] = squares.mean(dim=(2, 4)).mul_(255).round_().to(torch.uint8)
    return small


def measure(window: Window, frames: torch.Tensor, picture: torch.Tensor, tail: torch.Tensor | None) -> dict[str, float]:
    """The drift of one window; all values are finite.

    frames: all of the window's finished frames, motion frames first, float [F, H, W, 3] of 0..1 on any device.
    picture: the reference [H, W, 3] of 0..1, of the frames' size. tail: `thumbs` of the frames that the motion frames
    repeat, uint8 [motion, h, w, 3], None where sampling starts afresh.

    window, begin: number of the window from 1, time of its first new frame in s.
    colour: distance of the mean colours, CIE 1976 (dE*ab in CIELAB, D65), 0 and up; about 2.3 can just be seen.
    colour_spread: distance of the distributions, the 1-Wasserstein distance of L*, a* and b* each, as a vector's
        length, in the same unit. Never below `colour`, which cannot see contrast.
    sharpness: variance of the Laplacian of the luma (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield
        microscopy"; 4 neighbours), mean over the new frames, in squared levels. sharpness_ratio: over the picture's.
    step, group_step: ordinary difference of a frame to the next, over all of the window and over those pairs alone
        that are of different latent frames, where a VAE that decodes four frames at once may jump; in levels.
    Only with a tail: seam: difference of the last frame before the window and its first new one; seam_ratio and
    seam_group_ratio: over `step` and `group_step`, 1 where nothing can be seen; motion: mean difference of the motion
    frames to those they repeat.
    """
    total = min(window.motion + window.keep, len(frames))
    new = frames[window.motion : total]
    small = thumbs(frames[:total])
    colour, spread = _colour(small[window.motion :], thumbs(picture[None].to(frames.device)))
    sharp, own = _sharpness(new), _sharpness(picture[None].to(frames.device))
    steps = _difference(small[:-1], small[1:])
    before = torch.arange(len(steps), device=steps.device)  # frame before the step
    ordinary = before != window.motion - 1  # a decoder's border of motion and new frames is the seam itself
    step = _mean(steps[ordinary])
    groups = steps[ordinary & (before % VAE_TIME == 0)]
    group = _mean(groups) if len(groups) else step
    values = {
        "colour": colour,
        "colour_spread": spread,
        "sharpness": sharp,
        "sharpness_ratio": (sharp + SMOOTH) / (own + SMOOTH),
        "step": step,
        "group_step": group,
    }
    if tail is not None and len(tail):
        tail = tail.to(small.device)
        seam = _mean(_difference(tail[-1:], small[window.motion : window.motion + 1]))
        values["seam"] = seam
        values["seam_ratio"] = (seam + STILL) / (step + STILL)
        values["seam_group_ratio"] = (seam + STILL) / (group + STILL)
        values["motion"] = _mean(_difference(tail[-window.motion :], small[: window.motion])) if window.motion else 0.0
    numbers = torch.stack([torch.as_tensor(value, device=small.device) for value in values.values()]).tolist()
    begin = (window.start + window.motion) / FPS
    return {"window": window.index + 1, "begin": begin, **dict(zip(values, numbers, strict=True))}


def _blocks(frames: torch.Tensor):
    """(index of its first frame, float32 frames of 0..1) of a few frames each."""
    count = max(1, BLOCK_PIXELS // (frames.shape[1] * frames.shape[2]))
    for start in range(0, len(frames), count):
        yield start, frames[start : start + count].float().nan_to_num(0.0).clamp_(0, 1)


def _difference(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of each pair of small copies, [n] in levels."""
    return (first.to(torch.int16) - second.to(torch.int16)).abs_().float().mean(dim=(1, 2, 3))


def _mean(values: torch.Tensor) -> torch.Tensor:
    """The mean, 0 of nothing."""
    return values.mean() if len(values) else values.new_zeros(())


def _colour(small: torch.Tensor, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(distance of the means, distance of the distributions) of the colours of [n, h, w, 3] and [1, h, w, 3]."""
    lab, own = (
        rgb_to_lab(each[:, ::COLOUR_STRIDE, ::COLOUR_STRIDE].float().div_(255).movedim(-1, 0).flatten(1))
        for each in (small, picture)
    )
    mean = (lab.mean(dim=1) - own.mean(dim=1)).norm()
    # sorted values are the quantile function: its distance to the picture's, which has fewer steps
    count, steps = lab.shape[1], own.shape[1]
    at = torch.arange(count, device=lab.device).mul_(steps).div_(count, rounding_mode="floor")
    spread = (lab.sort(dim=1).values - own.sort(dim=1).values[:, at]).abs_().mean(dim=1).norm()
    return mean, spread


def _sharpness(frames: torch.Tensor) -> torch.Tensor:
    """Mean over the frames of the variance of the Laplacian of the luma, in squared 8-bit levels."""
    total = torch.zeros((), device=frames.device)
    for _, block in _blocks(frames):
        luma = sum(block[..., c] * (255 * weight) for c, weight in enumerate(LUMA))
        luma = F.pad(luma, (1, 1, 1, 1), mode="replicate")
        laplacian = luma[:, 1:-1, 1:-1] * -4
        for part in (luma[:, :-2, 1:-1], luma[:, 2:, 1:-1], luma[:, 1:-1, :-2], luma[:, 1:-1, 2:]):
            laplacian += part
        total += laplacian.flatten(1).var(dim=1, correction=0).sum()
    return total / max(1, len(frames))


def summary(records: Sequence[dict[str, float]]) -> dict[str, Any]:
    """What became of a run, of the `measure` of each of its windows in order.

    windows; seconds: from the first to the last window's begin; measures: per name of MEASURES that was measured:
    first, last (window), per_minute (slope of the least squares line), worst and worst_window (by `badness`, the
    earliest if several); text: one line for people.
    """
    records = sorted(records, key=lambda record: record["window"])
    if not records:
        return {"windows": 0, "seconds": 0.0, "measures": {}, "text": "Drift: no window was measured."}
    measures = {}
    for name in MEASURES:
        found = [(record["begin"], record[name], record["window"]) for record in records if name in record]
        if found:
            worst = max(found, key=lambda one: badness(name, one[1]))
            measures[name] = {
                "first": found[0][1],
                "last": found[-1][1],
                "per_minute": _slope([begin / 60 for begin, _, _ in found], [value for _, value, _ in found]),
                "worst": worst[1],
                "worst_window": worst[2],
            }
    seconds = records[-1]["begin"] - records[0]["begin"]
    return {"windows": len(records), "seconds": seconds, "measures": measures, "text": _text(len(records), measures)}


def badness(name: str, value: float) -> float:
    """Grows with what can be seen; comparable within one measure only.

    Half as sharp is as bad as twice as sharp; a seam smaller than an ordinary step is not bad at all.
    """
    return abs(math.log(value)) if name == "sharpness_ratio" else value


def _slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Of the least squares line, 0 where there is only one time."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((time - middle) ** 2 for time in times)
    if not spread:
        return 0.0
    return sum((time - middle) * (value - mean) for time, value in zip(times, values, strict=True)) / spread


def _text(windows: int, measures: dict[str, dict[str, float]]) -> str:
    parts = []
    for name, label in (("colour_spread", "colour"), ("sharpness_ratio", "sharpness")):
        if name in measures:
            one = measures[name]
            unit = f" {MEASURES[name][0]}" if MEASURES[name][0] else ""
            parts.append(f"{label} {one['first']:.2f} -> {one['last']:.2f}{unit} ({one['per_minute']:+.2f}/min)")
    for name, label in (("seam_ratio", "worst seam"), ("motion", "motion frames off by up to")):
        if name in measures:
            one = measures[name]
            value = f"{one['worst']:.1f}x" if name == "seam_ratio" else f"{one['worst']:.1f} levels"
            parts.append(f"{label} {value} (window {one['worst_window']})")
    return f"Drift over {windows} window{'s' if windows > 1 else ''}: {', '.join(parts)}."
