"""A host VIDEO or a finished run -> the start that a run goes on from.

A VIDEO that is no file yet is written to the host's temp folder.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import av
import folder_paths
from comfy_api.latest import Input

from ..config import FPS
from ..digests import digest
from ..disk import explained, write_whole
from ..errors import InputError
from ..extend import LABEL, SPOOLED, Start, open_start, write_video
from ..run_names import find
from ..runs import finished_video
from ..sound import MemorySound, Part
from ..soundtrack import check_soundtrack
from ..source import PictureSource
from .model_files import fingerprint


def make_start(video: Any = None, run: str = "", include: bool = True) -> Start:
    """The start behind a VIDEO, its trim respected, or behind a finished run, by its folder or name.

    Raises InputError for both, for none, for a run that is unknown or not finished, and for an unusable video.
    """
    if (video is None) == (not run):
        problem = "a VIDEO and a run are both given" if run else "neither a VIDEO nor a run is given"
        raise InputError(f"{LABEL}: {problem}.", "Connect video, or write the run's folder or name into run.")
    temp = folder_paths.get_temp_directory()
    Path(temp).mkdir(parents=True, exist_ok=True)
    if run:
        return open_start(run_video(run), temp, include)
    if type(video).get_stream_source is Input.Video.get_stream_source:
        return _from_pictures(video, temp, include)
    source = video.get_stream_source()
    path = _written(source, temp) if isinstance(source, io.BytesIO) else source
    try:
        part = video.get_active_trim_window()  # counts from the end in some: the host opens the file
    except (av.FFmpegError, OSError, ValueError):
        part = (0.0, 0.0)  # it cannot be read; the start says why
    return open_start(path, temp, include, part)


def run_video(run: str) -> Path:
    """The video of a finished run below the host's output folder. Raises InputError."""
    return finished_video(find(folder_paths.get_output_directory(), run))


def run_fingerprint(run: str) -> tuple:
    """What changes when a run's video does."""
    try:
        return fingerprint(str(run_video(run))) if run else ()
    except (InputError, OSError):
        return ()


def _from_pictures(video: Any, temp: str, include: bool) -> Start:
    """A VIDEO that is made of pictures in memory, by time as at 25 fps."""
    components = video.get_components()  # the default stream source would encode them at their own rate
    source = PictureSource(components.images, components.frame_rate, LABEL)
    width, height, frames = source.width // 2 * 2, source.height // 2 * 2, max(1, round(source.seconds * FPS))
    sound = None
    if include and components.audio:
        heard = MemorySound(components.audio["waveform"], components.audio["sample_rate"])
        check_soundtrack(heard)
        sound = Part(heard, 0, round(frames * heard.rate / FPS))
    known = digest(components.images, str(components.frame_rate), sound.digest if sound else "")
    path = Path(temp) / f"{SPOOLED}{known[:32]}.mp4"
    if not path.exists():
        write_video((frame[:height, :width] for frame in source.frames(0.0, frames)), (width, height), path)
    return Start(path, width, height, float(FPS), frames, known, include, sound)


def _written(data: io.BytesIO, temp: str) -> Path:
    """A file with the bytes of a VIDEO in memory."""
    content = data.getvalue()
    path = Path(temp) / f"{SPOOLED}{hashlib.sha256(content).hexdigest()[:32]}.video"
    if not path.exists():
        with explained(path):
            write_whole(path, content)
    return path
