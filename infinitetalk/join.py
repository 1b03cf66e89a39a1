"""Segments one after the other in one video, their coded picture copied as it is, the sound beside it.

A segment is a video file of whole H.264 encodes at 25 fps that begin with a key frame and refer to nothing
before it; all segments of a video have the same size and parameter sets. Frame i of the result is shown at
i/25 s, whatever the segments' lengths. Holds a few packets and one open segment, however many there are.
Knows no windows and no run folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av

from . import disk
from .config import FPS
from .decoding import Decoder, File
from .errors import InputError
from .remux import check_closed
from .sound import Sound
from .soundtrack import Soundtrack, check_soundtrack

# Frames between the decoding of a key frame and its showing: x264's B frames, of which some are referred to.
# It is the same for every segment, since the count goes through: a segment of one frame has it too.
REORDER = 2
_REMEDY = "Remove the file, so that it is made again; a video from elsewhere has to be encoded anew."


class Splice:
    """Counts frames and decoding times through segments. `frames`: in the segments read so far."""

    def __init__(self, frames: int = 0):
        self.frames = frames
        self._description: bytes | None = None

    @contextlib.contextmanager
    def open(self, segment: str | Path) -> Iterator[Decoder]:
        """A segment to be read once by packets(). Raises InputError for one that does not continue the others."""
        with Decoder(File.of(segment, "segment")) as file:
            context = file.stream.codec_context
            if context.name != "h264" or not context.extradata:
                raise InputError(f"{file.file.label}: its picture is {context.name}, not H.264 in mp4.", _REMEDY)
            if self._description not in (None, context.extradata):
                raise InputError(
                    f"{file.file.label} ({context.width}x{context.height}) was encoded with other settings "
                    "than the segments before it.",
                    _REMEDY,
                )
            self._description = context.extradata
            yield file

    def packets(self, file: Decoder) -> Iterator[av.Packet]:
        """Its packets in decoding order, their times counted on in 1/25 s. Raises InputError for a damaged file."""
        seen = shown = last = 0
        for packet in file.container.demux(file.stream):
            if not packet.size:  # the demuxer's end mark
                continue
            index = Fraction(-1) if packet.pts is None else packet.pts * packet.time_base * FPS
            if packet.is_corrupt or index.denominator != 1 or index < max(0, seen - REORDER):
                raise _damaged(file, seen)
            if not seen and not packet.is_keyframe:
                raise _damaged(file, seen)
            packet.time_base = Fraction(1, FPS)
            packet.pts, packet.dts, packet.duration = self.frames + int(index), self.frames + seen - REORDER, 1
            seen, shown, last = seen + 1, shown + int(index), max(last, int(index))
            yield packet
        complete = file.stream.frames in (0, seen)  # 0: a fragmented file does not say
        if not seen or not complete or last != seen - 1 or shown != seen * (seen - 1) // 2:
            raise _damaged(file, seen)
        self.frames += seen


def _damaged(file: Decoder, seen: int) -> InputError:
    known = f" of {file.stream.frames}" if file.stream.frames else ""
    return InputError(
        f"{file.file.label}: it is damaged or not at {FPS} frames a second ({seen}{known} frames read).", _REMEDY
    )


class Join:
    """An mp4 that segments are added to. sound: starts with the first frame; None: a silent film.

    Give it a name of its own, and close() or abandon() it; join() does so.
    """

    def __init__(self, path: Path, sound: Sound | None, metadata: Mapping[str, str]):
        self._splice = Splice()
        self._output = av.open(str(path), "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"})
        self._output.metadata.update(metadata)
        self._sound, self._soundtrack = sound, None
        self._picture: av.VideoStream | None = None

    @property
    def frames(self) -> int:
        return self._splice.frames

    def add(self, segment: str | Path) -> int:
        """Copy a segment; returns its number of frames. Raises InputError, and OSError for the disk."""
        before = end = self._splice.frames
        with self._splice.open(segment) as file:
            if self._picture is None:
                # opaque: take the stream's description as it is, open no encoder
                self._picture = self._output.add_stream_from_template(file.stream, opaque=True)
                self._soundtrack = None if self._sound is None else Soundtrack(self._output, self._sound)
            for packet in self._splice.packets(file):
                end = max(end, packet.pts + 1)
                packet.stream = self._picture
                self._output.mux(packet)
                self._add_sound(end)
        return self._splice.frames - before

    def close(self) -> None:
        """Cut or pad the sound to the picture's length and end the file. Not after an error: see abandon()."""
        self._add_sound(self._splice.frames, last=True)
        self._output.close()

    def abandon(self) -> None:
        """Let go of the file, which is of no use any more. Writes no packet: after a header that failed FFmpeg would
        end the whole program."""
        with contextlib.suppress(av.FFmpegError, OSError):
            self._output.close()

    def _add_sound(self, frames: int, last: bool = False) -> None:
        if self._soundtrack:
            self._output.mux(list(self._soundtrack.encode(Fraction(frames, FPS), last)))


def join(
    segments: Iterable[str | Path],
    path: str | Path,
    sound: Sound | None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Copy `segments`, in order, into one mp4 at `path`, with `sound` cut or padded to exactly its length.

    metadata: tags of the file. The file appears under its name when it is whole, over an older one; until then,
    and after an error, nothing does. Raises InputError for a segment that is missing, damaged or unlike the
    first, for a disk that is full or cannot be written and for unusable sound; ValueError without segments.
    """
    path = Path(path)
    if sound is not None:
        check_soundtrack(sound)
    with disk.whole(path, "join") as part:
        _write(segments, part, sound, metadata or {})
    return path


def _write(segments: Iterable[str | Path], part: Path, sound: Sound | None, metadata: Mapping[str, str]) -> None:
    joined = Join(part, sound, metadata)
    try:
        for segment in segments:
            joined.add(segment)
        if not joined.frames:
            raise ValueError(f"{part.name} has no segments")
        joined.close()
    except BaseException:
        joined.abandon()
        raise
    check_closed(part)
