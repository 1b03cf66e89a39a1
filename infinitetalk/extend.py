"""What a run goes on from: the end of a video, and the video itself before the new part where that is wanted.

The last frames become the motion frames of the first window. All is read by time at 25 fps, from the file, in
pieces. Knows no model, no run's inputs and no host.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch

from . import disk
from .buckets import resize_crop
from .config import FPS
from .decoding import Decoder, File, Look
from .digests import digest, file_digest
from .encoder import ORDINARY, Encoder
from .errors import InputError
from .join import Splice
from .remux import check_closed
from .segment import CRF, write_segment
from .sound import Part, Sound, reopen
from .sound_file import open_sound_file
from .source import Source, VideoSource

LABEL = "start"
BLOCK = 16  # frames encoded at once
PREFIX = "start.mp4"
SPOOLED = "InfiniteTalk-start-"


@dataclass(frozen=True)
class Start:
    """A video on disk, and the part of it that a run goes on from.

    width, height: pixels as shown; fps: its own; frames: of the part, at 25 per second; sound: of the part, from its
    first frame on; digest: sha256 of all that is seen and heard of it; include: whether it is put before the new part
    in the file; begin, seconds: the part, of the file's picture, seconds 0 for all up to the end.
    """

    path: Path
    width: int
    height: int
    fps: float
    frames: int
    digest: str
    include: bool = True
    sound: Sound | None = field(default=None, repr=False)
    begin: float = 0.0
    seconds: float = 0.0

    @property
    def identity(self) -> str:
        """For digests of a run's inputs: what its pictures depend on."""
        return self.digest

    @property
    def whole(self) -> bool:
        """Whether the part is the whole file."""
        return not self.begin and not self.seconds


def open_start(
    path: str | Path, spool_to: str | Path, include: bool = True, part: tuple[float, float] = (0.0, 0.0)
) -> Start:
    """A video file as a start. part: (begin, seconds) of its picture, seconds 0 up to the end.

    spool_to: folder where its sound is decoded to, only where the start is included. Raises InputError for a file
    that is missing, damaged or has no picture, as VideoSource does, and for sound that cannot be used.
    """
    path, (begin, seconds) = Path(path), part
    source = VideoSource(path, begin, seconds, LABEL)
    frames = max(1, round(source.seconds * FPS))
    with av.open(str(path)) as file:
        picture = file.streams.video[0]
        fps = float(picture.average_rate or 0)
        heard = [stream for stream in file.streams.audio if stream.codec_context]
        late = _begins(picture) - _begins(heard[0]) if heard else 0.0
    content, sound = file_digest(path), None
    if include and heard:
        sound = _sound(path, Path(spool_to) / f"{SPOOLED}{content[:32]}.f32", begin + late, frames)
    known = digest(content, begin, seconds)
    return Start(path, source.width, source.height, fps, frames, known, include, sound, begin, seconds)


def check_start(start: Start, count: int) -> None:
    """Refuse a start with less than `count` frames, which the first window goes on from."""
    if start.frames < count:
        raise InputError(
            f"{LABEL}: {start.path.name} has {start.frames} frames ({start.frames / FPS:.2f} s), "
            f"{count} motion frames go on from it.",
            f"Use a video of at least {count / FPS:.2f} s, or fewer motion_frames.",
        )


def last_frames(start: Start, count: int, width: int, height: int) -> torch.Tensor:
    """The last `count` frames at 25 fps, scaled to cover width x height and cut: float [count, height, width, 3] 0..1.

    Raises InputError when there are fewer.
    """
    check_start(start, count)
    frames = _source(start).frames((start.frames - count) / FPS, count)
    return torch.stack([resize_crop(frame, height, width) for frame in frames]).float() / 255


def prefix(
    start: Start, folder: Path, width: int, height: int, report: Callable[[int], None] | None = None
) -> tuple[Path, int]:
    """(file, frames) that join() puts before segments of width x height.

    The start's own file where its coded picture continues in ours without a change; else `folder`/start.mp4, encoded
    once and used again while it is unchanged. report: called with the frames encoded so far; an exception of it ends
    the work and leaves no file. Raises InputError.
    """
    if start.whole and _can_be_copied(start, folder, width, height):
        return start.path, start.frames
    path, record = folder / PREFIX, folder / "start.json"
    wanted = {"start": start.digest, "width": width, "height": height, "frames": start.frames}
    if not _is_kept(path, record, wanted):
        frames = (resize_crop(frame, height, width) for frame in _source(start).frames(0.0, start.frames))
        write_video(frames, (width, height), path, report)
        with disk.explained(record):
            disk.write_whole(record, json.dumps({**wanted, "checksum": file_digest(path)}).encode())
    return path, start.frames


def write_video(
    frames: Iterator[torch.Tensor], size: tuple[int, int], path: Path, report: Callable[[int], None] | None = None
) -> None:
    """Encode uint8 [H, W, 3] frames as the segments are, at 25 fps without sound, a few at a time.

    size: (width, height), even. report: as in `prefix`. The file appears when it is whole. Raises InputError for a
    disk that is full or cannot be written.
    """
    with disk.whole(path) as part:
        encoder = Encoder(part, size, None, CRF, {}, ORDINARY)
        try:
            while block := list(islice(frames, BLOCK)):
                encoder.write(torch.stack(block).numpy())
                if report:
                    report(encoder.frames)
        finally:
            encoder.close()
        check_closed(part)


def _source(start: Start) -> Source:
    return VideoSource(start.path, start.begin, start.seconds, LABEL)


def _begins(stream: av.stream.Stream) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _sound(path: Path, spool_to: Path, begin: float, frames: int) -> Sound:
    """The sound from a second of the file on, as long as `frames`."""
    spool_to.parent.mkdir(parents=True, exist_ok=True)
    sound = reopen(spool_to) or open_sound_file(path, spool_to)
    return Part(sound, round(begin * sound.rate), round(frames * sound.rate / FPS))


def _can_be_copied(start: Start, folder: Path, width: int, height: int) -> bool:
    """Whether a file's picture has the size, rate, and parameter sets of our segments."""
    if (start.width, start.height) != (width, height):
        return False
    sample = folder / "sample.part.mp4"
    splice = Splice()
    try:
        write_segment(np.zeros((1, height, width, 3), np.uint8), sample)
        with splice.open(sample):
            pass
        with Decoder(File.of(start.path, LABEL)) as file:
            frame = next(file.frames(), None)
            if frame is None or any(Look.of(frame, file.stream, file.file).turn):
                return False
        with splice.open(start.path) as file:
            for _ in splice.packets(file):
                pass
    except InputError:
        return False
    finally:
        disk.discard(sample)
    return splice.frames == start.frames


def _is_kept(path: Path, record: Path, wanted: dict) -> bool:
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
        return kept == {**wanted, "checksum": file_digest(path)}
    except (OSError, ValueError):
        return False
