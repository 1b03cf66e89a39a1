"""A host picture or video, VAE and CLIP vision -> the reference of a run.

A picture is encoded here, once; a video's frames when their windows come (`video_reference.py`).
"""

from __future__ import annotations

import torch

from ..buckets import check_picture, pick_bucket, resize_crop
from ..config import WindowConfig, check_size
from ..errors import InputError
from ..reference import Reference, padded_video
from .clip import clip_features
from .vae import WanVae, check_vae
from .video_reference import VideoReference

SIZES = {"480p": "480", "720p": "720", "custom": None}  # what the node offers -> bucket table


def make_reference(image: torch.Tensor, vae, size: str | tuple[int, int], clip, window_frames: int) -> Reference:
    """Resize, crop and encode the first picture of `image` [B, H, W, 3].

    size: a bucket table, "480" or "720", or (height, width); clip: CLIP_VISION or CLIP_VISION_OUTPUT.
    Raises InputError for an unusable picture, size, VAE, or no CLIP input, before anything is encoded.
    """
    check_picture(image)
    WindowConfig(frames=window_frames, motion=1)
    _check_clip(clip)
    height, width = _output_size(*image.shape[1:3], size)
    encoder = WanVae(vae)
    eight_bit = (image[0].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    picture = torch.as_tensor(resize_crop(eight_bit, height, width)).float() / 255
    latent = encoder.encode(padded_video(picture, window_frames)).cpu()
    return Reference(picture, latent, clip_features(clip, picture), tuple(image.shape[1:3]))


def make_video_reference(source, vae, size: str | tuple[int, int], clip) -> VideoReference:
    """A reference whose picture is each window's own frame of `source` (see `source.py`).

    size, clip: as in `make_reference`; a CLIP_VISION_OUTPUT, which cannot follow the video, serves all windows.
    Raises InputError for an unusable video, size, VAE, or no CLIP input, before anything is encoded.
    """
    _check_clip(clip)
    check_vae(vae)
    height, width = _output_size(source.height, source.width, size)
    picture = torch.as_tensor(resize_crop(source.frame(0.0), height, width)).float() / 255
    return VideoReference(source, picture, vae, clip)


def _output_size(height: int, width: int, size: str | tuple[int, int]) -> tuple[int, int]:
    height, width = pick_bucket(height, width, size) if isinstance(size, str) else size
    check_size(width, height)
    return height, width


def _check_clip(clip) -> None:
    if clip is None:
        raise InputError(
            "clip_vision: nothing is connected, and the model was trained with the picture's CLIP features.",
            "Connect Load CLIP Vision (clip_vision_h.safetensors), or clip_vision_output.",
        )
