"""CLIP's view of a reference picture. Must not know windows."""

from __future__ import annotations

import torch

from ..errors import InputError

CLIP_SHAPE = (257, 1280)  # tokens and width of CLIP ViT-H


def clip_features(clip, picture: torch.Tensor):
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
