"""Guidance, noise schedule, picture sizes and colour correction against the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from infinitetalk.buckets import pick_bucket, resize_crop, resize_crop_mask
from infinitetalk.colour import match_colour
from infinitetalk.guidance import combine
from infinitetalk.schedule import flow_sigmas
from infinitetalk.settings import GuidanceConfig

from .registry import Golden, Result, case, error


@case("guidance/vanilla")
def vanilla(golden: Golden) -> Iterator[Result]:
    """The recorded sampling loop: combine, step, hold the first latent frame."""
    for name, combo in golden.config["combos"].items():
        if combo["apg"]:
            continue
        held, config = golden.config["first_frame_latent"], GuidanceConfig(combo["text_scale"], combo["audio_scale"])
        sigmas = flow_sigmas(golden.config["steps"], golden.config["shift"])
        yield Result(f"{name}.timesteps", error(sigmas * 1000, torch.tensor(combo["timesteps"])), 1e-3)
        latent = golden.inp("noise.w0")
        latent[:, :1] = held
        for step in range(golden.config["steps"]):
            common = golden.inp(f"pred.common.s{step}")  # the step's scale is in each branch's own input
            made = {branch: common + golden.inp(f"pred.{branch}.s{step}") for branch in config.branches}
            guided = combine(made, config)
            latent = latent - guided * (sigmas[step] - sigmas[step + 1])
            latent[:, :1] = held
            yield Result(f"{name}.guided", error(guided, golden[f"{name}.guided"][step]), 1e-4)
            yield Result(f"{name}.latents", error(latent, golden[f"{name}.latents"][step]), 1e-4)


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
