"""VIDEO or IMAGE plus sound -> an mp4 in the output folder, copied where possible. Video Combine's one call."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import Types

from ..disk import check_writable, discard, explained
from ..errors import InputError
from ..remux import can_remux, remux
from ..sound import MemorySound, Sound
from ..soundtrack import check_soundtrack
from ..video import encode_frames

LONGEST_NAME = 200  # bytes; file systems take 255, the number and the ending come on top


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
    sound = _sound(audio) if audio else None
    check_prefix(prefix)
    width, height = _size(video)
    output = folder_paths.get_output_directory()
    check_writable(output)
    with explained(Path(output) / prefix):
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
    check_writable(folder)
    path = Path(folder) / f"{name}_{counter:05}_.mp4"
    while path.exists():  # the host does not count the files of every prefix
        counter += 1
        path = Path(folder) / f"{name}_{counter:05}_.mp4"
    tags = (
        {}
        if args.disable_metadata
        else {key: json.dumps(_without_keys(value)) for key, value in workflow.items() if value}
    )
    if isinstance(video, torch.Tensor):
        bar = comfy.utils.ProgressBar(video.shape[0])
        encode_frames(video, path, sound, crf, tags, report=bar.update_absolute)
    else:
        _copy(video, path, sound, tags, crf)
    return Saved(path, subfolder)


def check_prefix(prefix: str) -> None:
    """Refuse a file name prefix that leads out of the output folder or cannot be a file's name."""
    parts = prefix.replace("\\", "/").split("/")
    outside = prefix.startswith(("/", "\\")) or ".." in parts or ":" in prefix
    unusable = parts[-1].strip(" .") == "" or any(len(part.encode()) > LONGEST_NAME for part in parts)
    if outside or unusable or not prefix.isprintable():
        raise InputError(
            f"filename_prefix: {prefix[:80]!r} is not a name below the output folder.",
            f"Use a name of at most {LONGEST_NAME} letters, with folders before it if you like: InfiniteTalk/video.",
        )


def _sound(audio: dict) -> Sound:
    waveform = audio["waveform"]
    if waveform.ndim != 3 or waveform.shape[0] != 1:
        raise InputError(
            f"audio: {list(waveform.shape)} is not one recording [1, channels, samples].",
            "Connect one recording at a time.",
        )
    sound = MemorySound(waveform, audio["sample_rate"])
    check_soundtrack(sound)
    return sound


def _without_keys(value: Any) -> Any:
    """A workflow without the keys of live streams, which its addresses hold: the file may be shared."""
    if isinstance(value, dict):
        return {name: _without_keys(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_keys(one) for one in value]
    if isinstance(value, str) and value.strip().lower().startswith(("rtmp://", "rtmps://")):
        return value.strip().split(":")[0] + "://"
    return value


def _size(video: Any) -> tuple[int, int]:
    """(width, height); InputError for a file that cannot be read or holds no picture."""
    if isinstance(video, torch.Tensor):
        return video.shape[2], video.shape[1]
    try:
        return video.get_dimensions()
    except (OSError, ValueError, av.FFmpegError) as error:
        raise InputError(
            f"video: it cannot be read ({str(error).splitlines()[0][:200]}).",
            "Choose a file that holds a picture; run the node that made it again when the file is gone.",
        ) from error


def _copy(video: Any, path: Path, sound: Sound | None, tags: dict[str, str], crf: int) -> None:
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
