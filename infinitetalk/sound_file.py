"""The sound of an audio or video file, decoded packet by packet into a file of plain samples.

What comes out is what the host's Load Audio gives, without ever being in memory as a whole. Knows no host.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.container
import torch

from .errors import InputError
from .sound import SpooledSound, spool

LAYOUTS = {1: "mono", 2: "stereo"}
ESTIMATED = {"mp3", "aac"}  # whose length is guessed from their bit rate
STREAMED = 0xFFFFFFFF  # the size in a WAV that was written without knowing its end
SHORTFALL = 0.02  # of its length, and at least a second: a file that ends earlier than it says is torn
EXPORT = "Export the sound again as WAV, FLAC or MP3."


def open_sound_file(path: str | Path, spool_to: str | Path) -> SpooledSound:
    """Decode the first sound stream of a file into `spool_to`, at its own rate, mono or stereo.

    Raises InputError for a file that cannot be read, holds no sound, more than two channels, or ends too early,
    and for a disk without room.
    """
    path = Path(path)
    _check_wave(path)
    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            decoded = _decode(container, stream, path)
            first = next(decoded, None)
            if first is None:
                raise InputError(f"audio: {path.name} holds no sound, its stream is empty.", EXPORT)
            return spool(_chained(first, decoded), first[0], spool_to)
    except (av.FFmpegError, EOFError) as error:
        raise InputError(f"audio: {path.name} cannot be read ({error.strerror or error}).", EXPORT) from error


def _stream(container: av.container.InputContainer, path: Path) -> av.AudioStream:
    streams = [stream for stream in container.streams.audio if stream.codec_context]
    if not streams:
        raise InputError(f"audio: {path.name} has no sound stream that can be decoded.", "Choose a file with sound.")
    channels = streams[0].channels
    if channels not in LAYOUTS:
        raise InputError(
            f"audio: {path.name} has {channels} channels, at most 2 can be read.",
            "Mix it down to stereo or mono first.",
        )
    return streams[0]


def _decode(
    container: av.container.InputContainer, stream: av.AudioStream, path: Path
) -> Iterator[tuple[int, torch.Tensor]]:
    """(rate, float32 [C, n]) piece by piece."""
    resampler, end, samples, rate = None, 0.0, 0, 0
    try:
        for frame in container.decode(stream):
            if resampler is None:
                rate = frame.sample_rate
                resampler = av.AudioResampler(format="fltp", layout=LAYOUTS[stream.channels], rate=rate)
            elif frame.sample_rate != rate:
                raise InputError(f"audio: {path.name} changes from {rate} to {frame.sample_rate} Hz within.", EXPORT)
            samples += frame.samples
            end = samples / rate if frame.time is None else frame.time + frame.samples / rate
            for piece in resampler.resample(frame):
                yield rate, torch.from_numpy(piece.to_ndarray())
    except av.FFmpegError as error:
        raise InputError(
            f"audio: {path.name} is damaged at {end:.1f} s ({error.strerror}).", "Copy or export the file again."
        ) from error
    _check_end(container, stream, end, path)


def _check_end(container: av.container.InputContainer, stream: av.AudioStream, end: float, path: Path) -> None:
    if not stream.duration or ESTIMATED & set(container.format.name.split(",")):
        return
    says = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if end < says - max(1.0, SHORTFALL * says):
        raise InputError(
            f"audio: {path.name} says it lasts {says:.1f} s and ends at {end:.1f} s; it is cut off.",
            "Copy or export the file again.",
        )


def _check_wave(path: Path) -> None:
    """FFmpeg takes a WAV that was cut off for a shorter one: compare what its header says with the file."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
        size = path.stat().st_size
    except OSError:
        return  # told when it is opened
    says = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and says != STREAMED and size < 8 + says:
        raise InputError(
            f"audio: {path.name} says it has {8 + says} bytes and has {size}; it is cut off.",
            "Copy or export the file again.",
        )


def _chained(first: tuple[int, torch.Tensor], rest: Iterator[tuple[int, torch.Tensor]]) -> Iterator[torch.Tensor]:
    yield first[1]
    for _, piece in rest:
        yield piece
