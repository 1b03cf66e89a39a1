"""VIDEO or IMAGE plus sound -> an mp4 in the output folder, copied where possible. Video Combine's one call."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import Types

from ..disk import check_writable, discard
from ..remux import can_remux, remux
from ..soundtrack import check_soundtrack
from ..video import encode_frames


@dataclass(frozen=True)
class Saved:
    """A file in the output folder: its path, and its folder below the output folder as the host's UI wants it."""

    path: Path
    subfolder: str


def combine_video(video: Any, audio: dict | None, prefix: str, workflow: dict, crf: int) -> Saved:
    """Write `video` (a host VIDEO, or IMAGE [F, H, W, C] at 25 per second) under the next free number of `prefix`.

    audio: host AUDIO, cut or padded to the picture's length; None keeps the video's own. workflow: what
    goes into the file's tags, unless the host runs with --disable-metadata. crf: quality of frames that are encoded.
    Raises InputError for unusable sound and a folder that cannot be written, and leaves nothing half-written.
    """
    sound = None
    if audio:
        check_soundtrack(audio["waveform"], int(audio["sample_rate"]))
        sound = (audio["waveform"], int(audio["sample_rate"]))
    width, height = (video.shape[2], video.shape[1]) if isinstance(video, torch.Tensor) else video.get_dimensions()
    check_writable(folder_paths.get_output_directory())
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), width, height
    )
    check_writable(folder)
    path = Path(folder) / f"{name}_{counter:05}_.mp4"
    tags = {} if args.disable_metadata else {key: json.dumps(value) for key, value in workflow.items() if value}
    if isinstance(video, torch.Tensor):
        bar = comfy.utils.ProgressBar(video.shape[0])
        encode_frames(video, path, sound, crf, tags, report=bar.update_absolute)
    else:
        _copy(video, path, sound, tags, crf)
    return Saved(path, subfolder)


def _copy(video: Any, path: Path, sound: tuple | None, tags: dict[str, str], crf: int) -> None:
    source = video.get_stream_source() if hasattr(video, "get_active_trim_window") else None
    if isinstance(source, str) and not any(video.get_active_trim_window()) and can_remux(source):
        remux(source, path, sound, tags)
        return
    # Trimmed, in memory or of another codec: the host encodes it once, then the sound is muxed.
    encoded = Path(folder_paths.get_temp_directory()) / f"{uuid.uuid4().hex}.mp4"
    try:
        video.save_to(str(encoded), format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264, crf=crf)
        remux(encoded, path, sound, tags)
    finally:
        discard(encoded)
