"""A host IMAGE, VAE and CLIP vision -> the reference of a run, each encoded once."""

from __future__ import annotations

import torch

from ..buckets import check_picture, pick_bucket, resize_crop
from ..config import InputError, WindowConfig, check_size
from ..reference import Reference, padded_video
from .vae import WanVae

CLIP_SHAPE = (257, 1280)  # tokens and width of CLIP ViT-H
SIZES = {"480p": "480", "720p": "720", "custom": None}  # what the node offers -> bucket table


def make_reference(image: torch.Tensor, vae, size: str | tuple[int, int], clip, window_frames: int) -> Reference:
    """Resize, crop and encode the first picture of `image` [B, H, W, 3].

    size: a bucket table, "480" or "720", or (height, width); clip: CLIP_VISION or CLIP_VISION_OUTPUT.
    Raises InputError for an unusable picture, size, VAE, or no CLIP input, before anything is encoded.
    """
    check_picture(image)
    WindowConfig(frames=window_frames, motion=1)
    if clip is None:
        raise InputError(
            "clip_vision: nothing is connected, and the model was trained with the picture's CLIP features.",
            "Connect Load CLIP Vision (clip_vision_h.safetensors), or clip_vision_output.",
        )
    height, width = pick_bucket(*image.shape[1:3], size) if isinstance(size, str) else size
    check_size(width, height)
    encoder = WanVae(vae)
    eight_bit = (image[0].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    picture = torch.as_tensor(resize_crop(eight_bit, height, width)).float() / 255
    features = _clip_features(clip, picture)
    return Reference(picture, encoder.encode(padded_video(picture, window_frames)).cpu(), features)


def _clip_features(clip, picture: torch.Tensor):
    """CLIP's view of the whole resized picture, [1, 257, 1280] in its penultimate hidden states.

    The picture is squeezed to CLIP's square by a plain bicubic filter, as Wan's own CLIP wrapper does;
    the host alone would smooth it first (antialias), which gives other features.
    """
    if hasattr(clip, "encode_image"):
        square = (clip.image_size, clip.image_size)
        planes = picture.movedim(-1, 0).unsqueeze(0)
        small = torch.nn.functional.interpolate(planes, size=square, mode="bicubic", align_corners=False)
        clip = clip.encode_image(small.movedim(1, -1), crop=False)
    shape = tuple(clip.penultimate_hidden_states.shape)
    if shape[1:] != CLIP_SHAPE:
        raise InputError(
            f"clip_vision: its features are {list(shape[1:])} (tokens, width), the model takes {list(CLIP_SHAPE)}.",
            "Load CLIP ViT-H (clip_vision_h.safetensors).",
        )
    return clip
