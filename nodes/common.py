"""What every node shares: category, socket types, and how a failed check becomes a validation message."""

from __future__ import annotations

from collections.abc import Callable

from comfy_api.latest import io

from ..infinitetalk.config import MAX_FRAMES, MAX_MOTION
from ..infinitetalk.errors import InputError

CATEGORY = "InfiniteTalk"
ALIASES = ["talking head", "lip sync", "avatar", "multitalk", "infinitetalk", "dubbing"]

Features = io.Custom("INFINITETALK_FEATURES")
Reference = io.Custom("INFINITETALK_REFERENCE")
Guidance = io.Custom("INFINITETALK_GUIDANCE")
Cache = io.Custom("INFINITETALK_CACHE")
Scenes = io.Custom("INFINITETALK_SCENES")
Sound = io.Custom("INFINITETALK_SOUND")
Table = io.Custom("INFINITETALK_TABLE")
Redo = io.Custom("INFINITETALK_REDO")
Start = io.Custom("INFINITETALK_START")
Memory = io.Custom("INFINITETALK_MEMORY")


def verdict(check: Callable[..., object], *values: object) -> bool | str:
    """Run a check on widget values for `validate_inputs`: True, or the message that turns the widgets red.

    A value that another node gives is None here; the check is then left to `execute`.
    """
    if None in values:
        return True
    try:
        check(*values)
    except InputError as error:
        return str(error)
    return True


def run_inputs(lazy: bool = False) -> list:
    """The sockets that every node which samples has. lazy: the node is asked before they are made."""
    return [
        io.Model.Input("model", tooltip="With the InfiniteTalk adapter attached.", lazy=lazy),
        io.Vae.Input("vae", tooltip="The Wan 2.1 VAE.", lazy=lazy),
        io.Conditioning.Input("positive", tooltip="What the picture shows and how the person behaves.", lazy=lazy),
        io.Conditioning.Input("negative", tooltip="What to avoid; used when the text scale is not 1.", lazy=lazy),
        Features.Input(
            "features",
            tooltip="From InfiniteTalk Audio Encode or InfiniteTalk Speakers; decides the length of the video.",
            lazy=lazy,
        ),
        Reference.Input("reference", tooltip="From InfiniteTalk Reference or InfiniteTalk Video Reference.", lazy=lazy),
    ]


def window_inputs() -> list:
    """The two widgets that every node with windows has."""
    return [
        io.Int.Input(
            "frames_per_window",
            default=81,
            min=5,
            max=MAX_FRAMES,
            step=4,
            tooltip="Frames sampled at once, 4n+1. The model was trained with 81; shorter windows save memory.",
        ),
        io.Int.Input(
            "motion_frames",
            default=9,
            min=1,
            max=MAX_MOTION,
            step=4,
            tooltip="Last frames of a window that the next one continues from, 4n+1. 9 is the reference's value; "
            "more makes joints calmer and every window shorter.",
        ),
    ]
