"""Copying an H.264 video into a new mp4 without encoding it again, with other sound or other tags.

Also the repair of a file whose writing was cut off. Never holds more than a few packets of picture.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import av.container

from . import disk
from .errors import InputError
from .sound import Sound
from .soundtrack import Soundtrack, check_soundtrack

_MP4_AUDIO = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}  # what an mp4 can hold as it is
_FILE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time"}  # about the old file


def can_remux(video: str | Path | BinaryIO) -> bool:
    """True for a video that remux() can copy: its picture is 8-bit H.264 that every player shows."""
    with _open_source(video) as source:
        return _is_h264(source) and source.streams.video[0].codec_context.pix_fmt == "yuv420p"


def remux(
    video: str | Path | BinaryIO,
    out_path: str | Path,
    audio: Sound | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Copy the picture of `video` into an mp4 at `out_path`, bit for bit.

    audio: it starts with the first frame and is cut, or
    padded with silence, to exactly the picture's length. None copies the sound that is there. metadata:
    tags of the file, over those that `video` has. The file appears under its name when it is whole;
    until then, and after an error, nothing does. Raises InputError for a disk that is full or cannot be
    written, a picture that is not H.264 and sound that an mp4 cannot hold.
    """
    out_path = Path(out_path)
    if audio is not None:
        check_soundtrack(audio)
    with _open_source(video) as source:
        with disk.whole(out_path, "mux") as part:
            _copy(source, part, audio, metadata or {})
    return out_path


def _open_source(video: str | Path | BinaryIO) -> av.container.InputContainer:
    readable = hasattr(video, "read")
    try:
        return av.open(video if readable else str(video), "r")
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"video: {'the data in memory' if readable else video} cannot be read ({error.strerror}).",
            "Choose an existing video file; one that is still being written has to be finished first.",
        ) from error


def _is_h264(source: av.container.InputContainer) -> bool:
    streams = source.streams.video
    # a stream that nothing here can decode has no codec context
    return bool(streams) and streams[0].codec_context is not None and streams[0].codec_context.name == "h264"


def _copy(source: av.container.InputContainer, part: Path, audio: Sound | None, metadata: Mapping[str, str]) -> None:
    if not _is_h264(source):
        raise InputError("video: its picture is not H.264.", "Encode it as H.264 first.")
    picture = source.streams.video[0]
    sounds = [] if audio is not None else [stream for stream in source.streams.audio if stream.codec_context]
    for stream in sounds:
        if stream.codec_context.name not in _MP4_AUDIO:
            raise InputError(
                f"video: an mp4 cannot hold its {stream.codec_context.name} sound as it is.",
                "Connect the sound to the audio input, so that it is encoded to AAC.",
            )
    with av.open(str(part), "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"}) as output:
        kept = {key: value for key, value in source.metadata.items() if key not in _FILE_TAGS}
        output.metadata.update({**kept, **metadata})
        # opaque: take the stream's description as it is, open no encoder
        streams = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in (picture, *sounds)}
        soundtrack = None if audio is None else Soundtrack(output, audio)
        start, end = (picture.start_time or 0) if soundtrack else 0, Fraction(0)
        for packet in _dated(source.demux(picture, *sounds)):
            packet.pts, packet.dts = packet.pts - start, packet.dts - start
            end = max(end, (packet.pts + _duration(packet)) * packet.time_base)
            packet.stream = streams[packet.stream_index]
            output.mux(packet)
            if soundtrack:
                output.mux(list(soundtrack.encode(end)))
        if soundtrack:
            output.mux(list(soundtrack.encode(end, last=True)))


def _dated(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The packets that hold something, each with a decoding time.

    Matroska has none: those of the first packets, before the reordering of B frames is known, are None.
    They are counted back from the first one known; dropping them instead would lose the key frame.
    """
    waiting: list[av.Packet] = []
    for packet in packets:
        if not packet.size:  # the demuxer's end mark
            continue
        if packet.pts is None:
            raise InputError("video: its frames carry no times.", "Convert it to mp4 first.")
        if packet.dts is None:
            waiting.append(packet)
            continue
        if waiting and packet.stream_index == waiting[0].stream_index:
            yield from _count_back(waiting, packet.dts)
            waiting = []
        yield packet
    if waiting:
        yield from _count_back(waiting, min(packet.pts for packet in waiting) + _duration(waiting[-1]))


def _count_back(packets: list[av.Packet], following: int) -> list[av.Packet]:
    for packet in reversed(packets):
        following -= _duration(packet)
        packet.dts = following
    return packets


def _duration(packet: av.Packet) -> int:
    """How long a packet is shown or heard, in its time base."""
    return packet.duration or round(1 / (packet.stream.average_rate * packet.time_base))


def is_whole(path: str | Path) -> bool:
    """True for a fragmented mp4 that was written to its last byte: it ends with the index of its fragments."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        boxes = list(_boxes(file, length))
    return bool(boxes) and boxes[-1] == (b"mfra", length)


def is_closed(path: str | Path) -> bool:
    """True for an ordinary mp4 that was written to its last byte: index and picture are there, nothing is cut off."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        boxes = list(_boxes(file, length))
    return {b"moov", b"mdat"} <= {kind for kind, _ in boxes} and boxes[-1][1] == length


def check_closed(path: Path) -> None:
    """Raises the OSError that FFmpeg keeps to itself when a file could not be ended: a full disk, as a rule."""
    if not is_closed(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def cut_torn_end(path: str | Path) -> bool:
    """Shorten a fragmented mp4 whose writing was cut off to its last whole fragment, so that it plays.

    False, and the file is left alone, when not even one fragment is whole.
    """
    whole = 0
    with open(path, "rb+") as file:
        length = file.seek(0, os.SEEK_END)
        for kind, end in _boxes(file, length):
            if kind == b"mdat":
                whole = end  # a fragment is its moof and the mdat after it
        if whole:
            file.truncate(whole)
    return whole > 0


def _boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int]]:
    """(kind, end) of each whole box of the file's top level, in order."""
    start = 0
    while start + 8 <= length:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = struct.unpack(">Q", file.read(8))[0]
        if size < 8 or start + size > length:
            return
        start += size
        yield kind, start
