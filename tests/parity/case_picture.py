"""Noise schedule, picture sizes and colour correction against the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from infinitetalk.buckets import pick_bucket, resize_crop, resize_crop_mask
from infinitetalk.colour import match_colour
from infinitetalk.schedule import flow_sigmas

from .registry import Golden, Result, case, error


@case("schedule")
def schedule(golden: Golden) -> Iterator[Result]:
    for name in golden.names:
        steps, shift = re.fullmatch(r"steps(\d+)\.shift([\d.]+)", name).groups()
        yield Result("", error(flow_sigmas(int(steps), float(shift)) * 1000, golden[name]), 1e-3)


@case("buckets")
def buckets(golden: Golden) -> Iterator[Result]:
    for name in golden.names:
        resolution, _, kind = name.partition(".")
        if kind == "src_hw_target_hw":
            rows = golden[name]
            chosen = torch.tensor([pick_bucket(height, width, resolution) for height, width in rows[:, :2].tolist()])
            yield Result(f"sizes.{resolution}", error(chosen, rows[:, 2:]), 0)
    for index, image in enumerate(golden.config["images"]):
        height, width = image["target"]
        picture = resize_crop(golden[f"image{index}.source"], height, width)
        mask = resize_crop_mask(golden[f"image{index}.mask_source"], height, width)
        yield Result("picture", error(picture, golden[f"image{index}.out"]), 0)
        yield Result("mask", error(mask, golden[f"image{index}.mask_out"]), 0)


@case("colour")
def colour(golden: Golden) -> Iterator[Result]:
    def frames(video: torch.Tensor) -> torch.Tensor:
        """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1."""
        return ((video[0] + 1) / 2).permute(1, 2, 3, 0)

    video, reference = frames(golden["video"]), frames(golden["reference"])
    for name in golden.names:
        if name.startswith("out.strength"):
            strength = float(name.removeprefix("out.strength"))
            matched = match_colour(video, reference, strength)
            # both on the recording's -1..1 scale, where the tolerance is meant
            yield Result(f"strength{strength:g}", error(matched * 2, frames(golden[name]) * 2), 1e-3)
