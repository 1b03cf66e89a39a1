"""What every node shares: category, socket types, and how a failed check becomes a validation message."""

from __future__ import annotations

from collections.abc import Callable

from comfy_api.latest import io

from ..infinitetalk.config import MAX_FRAMES, MAX_MOTION, InputError

CATEGORY = "InfiniteTalk"
ALIASES = ["talking head", "lip sync", "avatar", "multitalk", "infinitetalk", "dubbing"]

Features = io.Custom("INFINITETALK_FEATURES")
Reference = io.Custom("INFINITETALK_REFERENCE")
Guidance = io.Custom("INFINITETALK_GUIDANCE")


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
