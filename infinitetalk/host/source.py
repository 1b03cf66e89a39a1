"""A host VIDEO or IMAGE batch -> a source that is read by time.

Opens and checks it: of a video the first frame is decoded, of a batch every picture is looked at.
"""

from __future__ import annotations

from typing import Any

import av
import torch
from comfy_api.latest import Input

from ..errors import InputError
from ..source import PictureSource, Source, VideoSource


def open_source(
    video: Any = None, images: torch.Tensor | None = None, fps: float = 25.0, name: str = "video"
) -> Source:
    """The source behind a VIDEO or an IMAGE batch [B, H, W, 3] shown at `fps` pictures per second.

    A VIDEO on disk is read lazily, its trim respected; one that is made of pictures in memory keeps its own rate and
    is not copied. Raises InputError for both, for none, and for what VideoSource and PictureSource refuse.
    """
    if (video is None) == (images is None):
        problem = (
            "a VIDEO and pictures are both connected"
            if images is not None
            else "neither a VIDEO nor pictures are connected"
        )
        raise InputError(f"{name}: {problem}.", "Connect one of the two, video or images.")
    if images is not None:
        return PictureSource(images, fps, name)
    if type(video).get_stream_source is not Input.Video.get_stream_source:
        source = video.get_stream_source()
        try:
            start, duration = video.get_active_trim_window()  # counts from the end in some: the host opens the file
        except (av.FFmpegError, OSError, ValueError):
            start, duration = 0.0, 0.0  # it cannot be read; the source says why
        return VideoSource(source, start, duration, name)
    components = video.get_components()  # the default stream source would encode them first
    return PictureSource(components.images, components.frame_rate, name)
