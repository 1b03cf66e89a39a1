"""The files of a job, opened and measured before a host starts.

Knows neither host nor workflow. PyAV, Pillow and, for a video, torch are imported only when a file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from infinitetalk.config import FPS
from infinitetalk.errors import InputError

from .job import BOX, Job

ORIENTATION = 0x0112  # EXIF
QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange width and height


def inspect(job: Job) -> Job:
    """The job, with the lengths of voices that follow each other.

    InputError for a file that cannot be opened, for a recording without sound, and for a box outside the picture.
    """
    check_boxes(job, *source_size(job))
    if job.soundtrack:
        check_sound(job.soundtrack, "video_audio")
    measured, persons = job.order == "add" and len(job.persons) > 1, []
    for person in job.persons:
        frames, key = 0, f"cond_audio {person.name}"
        if person.voice and measured:
            frames = int(sum(sound(person.voice, key)) * FPS)
        elif person.voice:
            check_sound(person.voice, key)
        persons.append(replace(person, frames=frames))
    return replace(job, persons=tuple(persons))


def source_size(job: Job) -> tuple[int, int]:
    """Rows and columns of the picture or video, as shown."""
    if job.is_video:
        from infinitetalk.source import VideoSource

        video = VideoSource(job.source, name="cond_video")
        return video.height, video.width
    return picture_size(job.source, "cond_video")


def picture_size(path: Path, key: str) -> tuple[int, int]:
    """Rows and columns of a picture, as shown. InputError naming `key` for one that cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            width, height = picture.size
            turned = picture.getexif().get(ORIENTATION) in QUARTER_TURNS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # as Pillow's readers raise
        raise InputError(
            f"{key}: {path} cannot be read as a picture ({error}).",
            "Copy it again, or save it anew as png; a video needs the ending of a video.",
        ) from error
    return (width, height) if turned else (height, width)


def check_boxes(job: Job, rows: int, columns: int) -> None:
    """InputError for a box that holds nothing of the picture."""
    for person in job.persons:
        if person.box and (person.box[0] >= rows or person.box[1] >= columns):
            raise InputError(
                f"bbox {person.name}: {list(person.box)} lies outside {job.source}, which has {rows} rows and "
                f"{columns} columns.",
                BOX,
            )


def check_sound(file: Path, key: str) -> None:
    """InputError unless the beginning of a recording can be decoded."""
    next(sound(file, key))


def sound(file: Path, key: str) -> Iterator[Fraction]:
    """Seconds of every piece of a recording, decoded: what the header says may be missing or wrong.

    key: of the JSON, for messages. InputError for a file that cannot be decoded or holds no sound.
    """
    import av

    found = False
    try:
        with av.open(str(file)) as container:
            if container.streams.audio:
                stream = container.streams.audio[0]  # the one that the host takes
                for frame in container.decode(stream):
                    found = True
                    yield Fraction(frame.samples, stream.codec_context.sample_rate)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{key}: {file} cannot be read as sound ({error.strerror}).", "Copy it again, or convert it to wav."
        ) from error
    if not found:
        raise InputError(f"{key}: {file} holds no sound.", "Give a recording, or a video with sound.")
