"""Pictures, sounds and videos as they will be seen and heard: sizes, rates and lengths.

From headers alone but for a video, of which one frame is decoded: how it is turned comes with the frame. Knows no
workflow and no host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, UnidentifiedImageError

from ..decoding import Decoder, File, Look
from ..errors import InputError


@dataclass(frozen=True)
class Picture:
    """Pixels, as shown (a camera's rotation is undone)."""

    height: int
    width: int


@dataclass(frozen=True)
class Recording:
    """seconds: length of the sound, None where the file does not say; rate: Hz."""

    seconds: float | None
    rate: int
    channels: int


@dataclass(frozen=True)
class Film:
    """Pixels, as shown. fps: pictures per second; seconds: None where the file does not say; sound: whether any."""

    height: int
    width: int
    fps: float
    seconds: float | None
    sound: bool


def read_picture(path: str | Path, name: str) -> Picture:
    """Raises InputError; `name` is the input in its message."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            return Picture(width, height) if _on_its_side(image) else Picture(height, width)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    try:  # the host reads further kinds as a video of one picture
        film = read_film(path, name)
        if film.width and film.height:
            return Picture(film.height, film.width)
    except InputError:
        pass
    raise InputError(f"{name}: {Path(path).name} is no readable picture ({reason}).", "Give a PNG or JPEG.")


def _on_its_side(image: Image.Image) -> bool:
    """By EXIF, whose rotation Pillow undoes in a TIFF by itself; damaged EXIF says nothing."""
    try:
        return image.format != "TIFF" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except (ValueError, SyntaxError, OSError):
        return False


def read_recording(path: str | Path, name: str) -> Recording:
    """The first sound of an audio or video file. Raises InputError for none, or none at all inside."""
    with _opened(path, name) as container:
        if not container.streams.audio:
            raise InputError(
                f"{name}: {Path(path).name} holds no sound.", "Give a recording of speech, or a video that has sound."
            )
        stream = container.streams.audio[0]
        seconds = _seconds(container, stream)
        if seconds is None and not next(container.demux(stream)).size:  # no packet: nothing was recorded
            seconds = 0.0
        if seconds == 0:
            raise InputError(f"{name}: {Path(path).name} holds 0 s of sound.", "Give a recording of speech.")
        return Recording(seconds, stream.rate or 0, stream.channels or 1)


def read_film(path: str | Path, name: str) -> Film:
    """The picture of a video file, opened, chosen and turned as a run does it. Raises InputError as a run would."""
    file = File.of(path, name)
    with Decoder(file) as decoder:
        stream, container = decoder.stream, decoder.container
        width, height = Look.of(decoder.first(), stream, file).size
        rate = stream.average_rate or stream.guessed_rate
        return Film(height, width, float(rate or 0), _seconds(container, stream), bool(container.streams.audio))


def _opened(path: str | Path, name: str) -> av.container.InputContainer:
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{name}: {Path(path).name} cannot be read as sound or video ({error.strerror or type(error).__name__}).",
            "Convert it to WAV, FLAC, MP3 or MP4, or fetch it again.",
        ) from error


def _seconds(container: av.container.InputContainer, stream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base
