"""The video autoencoder, through the host's VAE object and our adapter to it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from infinitetalk.reference import padded_video

from . import host
from .registry import Golden, Result, case, error

TOLERANCE = 5e-5


def frames_of(video: torch.Tensor) -> torch.Tensor:
    """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1."""
    return (video[0].permute(1, 2, 3, 0) + 1) / 2


def video_of(frames: torch.Tensor) -> torch.Tensor:
    """The way back, without the batch."""
    return frames.permute(3, 0, 1, 2) * 2 - 1


@case("vae")
def vae(golden: Golden) -> Iterator[Result]:
    coder = host.WanVae(host.make_vae(golden.weights()))
    latents = host.LATENT_FORMAT
    yield Result("mean", error(latents.latents_mean.flatten(), golden["scale_mean"]), 1e-6)
    yield Result("inv_std", error(1 / latents.latents_std.flatten(), golden["scale_inv_std"]), 1e-6)
    for count in golden.config["frames"]:
        encoded = latents.process_in(coder.encode(frames_of(golden.inp(f"input.video{count}"))))
        yield Result("encode", error(encoded[0], golden[f"encode{count}"]), TOLERANCE)
        latent = latents.process_out(golden.inp(f"input.latent{count}")[None])
        yield Result("decode", error(video_of(coder.decode(latent)), golden[f"decode{count}"]), TOLERANCE)
    length = golden.config["padded"]
    padded = padded_video(frames_of(golden.inp("input.reference"))[0], length)
    encoded = latents.process_in(coder.encode(padded))
    yield Result("encode_padded", error(encoded[0], golden[f"encode_padded{length}"]), TOLERANCE)
