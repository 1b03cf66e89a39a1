"""Text and audio guidance: one prediction out of the branch predictions of a step.

The rule is linear and its weights add up to 1. With denoised = latent - sigma * velocity, the same
latent and sigma in every branch, combining velocities and combining denoised pictures therefore give
the same step; either may be passed in. Knows no model, no sampler and no state between steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .settings import GuidanceConfig

Blend = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def lerp(wanted: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """`other`, moved `scale` times the way to `wanted`."""
    return other + scale * (wanted - other)


def combine(predictions: dict[str, torch.Tensor], config: GuidanceConfig, blend: Blend = lerp) -> torch.Tensor:
    """The guided prediction of one step.

    predictions: one tensor of the same shape for each name in config.branches, by what the model was
    given: "cond" text and audio, "drop_text" the negative text and audio, "drop_audio" text and zero
    audio, "uncond" the negative text and zero audio. Further entries are not read; a missing one is a
    KeyError. blend: how the conditional prediction and the one beside it are joined; the host's own
    guidance function goes in here. The result is predictions["cond"] itself when both scales are 1.
    Source: the plain (not projected) guidance of the public InfiniteTalk implementation; the branch
    names say which calls GuidanceConfig found to cancel out.
    """
    cond = predictions["cond"]
    branches = config.branches
    if branches == ("cond",):
        return cond
    if branches == ("cond", "drop_audio"):
        return blend(cond, predictions["drop_audio"], config.audio)
    drop_text = predictions["drop_text"]
    guided = blend(cond, drop_text, config.text)
    if branches == ("cond", "drop_text"):
        return guided
    # uncond + text * (cond - drop_text) + audio * (drop_text - uncond), written around the blend
    return guided + (config.audio - 1.0) * (drop_text - predictions["uncond"])
