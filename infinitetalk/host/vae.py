"""The host's VAE as plain encode and decode functions whose frames stay on its device.

Refuses every VAE that is not Wan 2.1's. Must not know windows or references.
"""

from __future__ import annotations

import copy

import comfy.ldm.wan.vae
import comfy.taesd.taehv
import torch

from ..config import VAE_SPACE
from ..errors import InputError
from ..memory import OVERLAP, TILE, joined_bytes
from ..timeline import frames_of_latent, latent_frames


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
    """encode: [F, H, W, 3] 0..1 -> [1, 16, T, h, w]; decode: the way back. Both stay on the VAE's device.

    tiled: in overlapping tiles of the picture, each over the whole time, as the VAE is causal: less memory, more time.
    """

    def __init__(self, vae, tiled: bool = False):
        check_vae(vae)
        self._tiled = tiled
        # A private copy of the handle, not of the weights: its results stay where they are made,
        # while the host's memory management and its fallback to tiles still apply.
        self._vae = copy.copy(vae)
        self._vae.output_device = vae.device
        # Also under --fp16-intermediates: every window's motion is encoded again, rounding would add up.
        self._vae.vae_output_dtype = lambda: torch.float32
        if tiled:  # the host makes room for the whole picture even when it is called in tiles
            self._vae.memory_used_encode = _tiled(vae.memory_used_encode, TILE * VAE_SPACE, _latent_of)
            self._vae.memory_used_decode = _tiled(vae.memory_used_decode, TILE, _frames_of)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        if not self._tiled:
            return self._vae.encode(frames)
        side = TILE * VAE_SPACE
        return self._vae.encode_tiled(frames, tile_x=side, tile_y=side, overlap=OVERLAP * VAE_SPACE)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        if not self._tiled:
            return self._vae.decode(latent)[0].float()
        return self._vae.decode_tiled(latent, tile_x=TILE, tile_y=TILE, overlap=OVERLAP)[0].float()


def _tiled(estimate, side: int, made_of):
    """The host's estimate for a shape [.., T, h, w], asked for one tile, and the whole that tiles are joined in.

    made_of: T, h, w -> (channels, T, h, w) of that whole. The formula is `memory.tile_bytes`.
    """

    def estimated(shape, dtype):
        tile = (*shape[:-2], min(shape[-2], side), min(shape[-1], side))
        return estimate(tile, dtype) + joined_bytes(*made_of(*shape[-3:]))

    return estimated


def _latent_of(frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 16, latent_frames(frames), height // VAE_SPACE, width // VAE_SPACE


def _frames_of(latent: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 3, frames_of_latent(latent), height * VAE_SPACE, width * VAE_SPACE
