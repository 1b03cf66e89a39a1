"""A still IMAGE -> a moving video in the host's temp folder, with the host's progress bar and cancel."""

from __future__ import annotations

import uuid
from pathlib import Path

import comfy.utils
import folder_paths
import torch

from ..disk import check_writable
from ..panzoom import Move, check_still, output_size, write_moving
from ..video import expected_bytes


def pan_and_zoom(image: torch.Tensor, move: Move, frames: int, crf: int) -> Path:
    """Write `frames` frames of the first picture of `image` [B, H, W, 3]; returns the mp4's path.

    Raises InputError before the first frame, and the host's interrupt on cancel; nothing half-written stays.
    """
    check_still(image, move)
    folder = folder_paths.get_temp_directory()
    check_writable(folder, expected_bytes(*output_size(image.shape[2], image.shape[1]), frames))
    bar = comfy.utils.ProgressBar(frames)
    path = Path(folder) / f"infinitetalk_panzoom_{uuid.uuid4().hex}.mp4"
    return write_moving(image, path, move, frames, crf, report=bar.update_absolute)
