"""The host's VAE as plain encode and decode functions whose frames stay on its device.

Refuses every VAE that is not Wan 2.1's. Must not know windows or references.
"""

from __future__ import annotations

import copy

import comfy.ldm.wan.vae
import comfy.taesd.taehv
import torch

from ..errors import InputError


def check_vae(vae, name: str = "vae") -> None:
    """Refuse a VAE of another kind: latents are 16 channels, 8 pixels and 4 frames per cell."""
    channels, dims, kind = vae.latent_channels, vae.latent_dim, type(vae.first_stage_model)
    # The class too: Hunyuan's latents have the same shape and another meaning. TAEHV is Wan's tiny VAE.
    if (channels, dims) == (16, 3) and issubclass(kind, (comfy.ldm.wan.vae.WanVAE, comfy.taesd.taehv.TAEHV)):
        return
    what = "the Wan2.2 VAE" if (channels, dims) == (48, 3) else f"another VAE ({kind.__name__})"
    raise InputError(
        f"{name}: this is {what} with {channels} channels in {dims} dimensions; "
        "InfiniteTalk needs Wan 2.1's with 16 in 3.",
        "Load the Wan 2.1 VAE (Wan2_1_VAE_bf16.safetensors or wan_2.1_vae.safetensors).",
    )


class WanVae:
    """encode: [F, H, W, 3] 0..1 -> [1, 16, T, h, w]; decode: the way back. Both stay on the VAE's device."""

    def __init__(self, vae):
        check_vae(vae)
        # A private copy of the handle, not of the weights: its results stay where they are made,
        # while the host's memory management and its fallback to tiles still apply.
        self._vae = copy.copy(vae)
        self._vae.output_device = vae.device
        # Also under --fp16-intermediates: every window's motion is encoded again, rounding would add up.
        self._vae.vae_output_dtype = lambda: torch.float32

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return self._vae.encode(frames)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return self._vae.decode(latent)[0].float()
