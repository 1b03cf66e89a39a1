"""One window's frames as a video file of its own: H.264 at 25 fps, no sound, nothing in it that others need.

Shapes: frames uint8 [n, H, W, 3]. The same frames give the same bytes. Knows no windows, names and records.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from . import disk
from .decoding import Decoder, File, Look
from .encoder import ORDINARY, Encoder
from .errors import InputError
from .remux import check_closed

CRF = 17


def write_segment(frames: torch.Tensor | np.ndarray, path: str | Path, crf: int = CRF) -> None:
    """Encode uint8 [n, H, W, 3], n >= 1, even sides, into an mp4 at `path`, in the caller's thread.

    Not synced and not renamed: give a part's name and publish it. Raises InputError for a disk that is full
    or cannot be written; the file is then removed.
    """
    path = Path(path)
    pixels = frames.cpu().numpy() if isinstance(frames, torch.Tensor) else frames
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not len(pixels):
        raise ValueError(f"frames are {pixels.dtype} {pixels.shape}, not uint8 [n, H, W, 3]")
    try:
        with disk.explained(path):
            encoder = Encoder(path, (pixels.shape[2], pixels.shape[1]), None, crf, {}, ORDINARY)
            try:
                encoder.write(pixels)
            finally:
                encoder.close()
            check_closed(path)
    except BaseException:
        disk.discard(path)
        raise


def read_tail(path: str | Path, count: int) -> np.ndarray:
    """The last `count` frames of a segment as they are shown, uint8 [count, H, W, 3]. InputError if it has fewer.

    Decodes from the key frame before them, so the length of the file does not matter.
    """
    with Decoder(File.of(path, "segment")) as file:
        frames = file.stream.frames
        if frames < count:
            raise InputError(
                f"{file.file.label}: it has {frames} frames, {count} of them are needed.",
                "Remove the file, so that it is made again.",
            )
        file.seek(round((file.stream.start_time or 0) + (frames - count) / file.stream.average_rate / file.tick))
        shown: deque[np.ndarray] = deque(maxlen=count)
        look, scaler = None, VideoReformatter()
        for frame in file.frames():
            look = look or Look.of(frame, file.stream, file.file)
            shown.append(look.rgb(frame, scaler).numpy())
    if len(shown) < count:
        raise InputError(
            f"{file.file.label}: it is damaged ({len(shown)} of its last {count} frames can be read).",
            "Remove the file, so that it is made again.",
        )
    return np.stack(shown)
