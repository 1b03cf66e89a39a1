"""Plain and projected guidance over consecutive steps, on made-up branch predictions."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from infinitetalk.guidance import Apg, combine, unchanged
from infinitetalk.schedule import flow_sigmas
from infinitetalk.settings import ApgConfig, StepScales

from .registry import Golden, Result, case, error


@case("guidance/vanilla")
def vanilla(golden: Golden) -> Iterator[Result]:
    for name, combo in golden.config["combos"].items():
        if not combo["apg"]:
            yield from _loop(golden, name, None)


@case("guidance/apg")
def projected(golden: Golden) -> Iterator[Result]:
    config = golden.config
    defaults = ApgConfig()
    yield Result("momentum", error(defaults.momentum, config["apg_momentum"]), 0)
    yield Result("threshold", error(defaults.threshold, config["apg_norm_threshold"]), 0)
    for name, combo in config["combos"].items():
        if combo["apg"]:
            yield from _loop(golden, name, Apg(defaults))


def _loop(golden: Golden, name: str, apg: Apg | None) -> Iterator[Result]:
    """The recorded sampling loop: combine, step, hold the first latent frame."""
    combo, held = golden.config["combos"][name], golden.config["first_frame_latent"]
    scales = StepScales(combo["text_scale"], combo["audio_scale"])
    sigmas = flow_sigmas(golden.config["steps"], golden.config["shift"])
    yield Result(f"{name}.timesteps", error(sigmas * 1000, torch.tensor(combo["timesteps"])), 1e-3)
    latent = golden.inp("noise.w0")
    latent[:, :1] = held
    for step in range(golden.config["steps"]):
        common = golden.inp(f"pred.common.s{step}")  # the step's scale is in each branch's own input
        made = {branch: (common + golden.inp(f"pred.{branch}.s{step}"))[None] for branch in scales.branches}

        def project(scale, difference, cond=made["cond"]):
            return apg.project(scale, difference, cond)

        guided = combine(made, scales, project=project if apg else unchanged)[0]
        latent = latent - guided * (sigmas[step] - sigmas[step + 1])
        latent[:, :1] = held
        yield Result(f"{name}.guided", error(guided, golden[f"{name}.guided"][step]), 1e-4)
        yield Result(f"{name}.latents", error(latent, golden[f"{name}.latents"][step]), 1e-4)
