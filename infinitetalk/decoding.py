"""One pass through the picture of a video file: opening, seeking, decoding, and frames as players show them.

Pixels come out as uint8 RGB [H, W, 3]: 10 bits rounded to 8, the range and matrix that the file states, turned as
its display matrix says. A file without a stated matrix is BT.709 from high definition on and BT.601 below, as
players take it. Knows times only as ticks of the stream; what is shown at which second is source.py's.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from .errors import InputError

log = logging.getLogger(__name__)

_SCALING = 0x4 | 0x2000 | 0x40000  # swscale: bicubic, chroma at every pixel, accurate rounding
_SHRINKING = 0x2 | 0x2000 | 0x40000  # bilinear, which averages when it shrinks
_UNSTATED = {0: 2, 3: 2}  # matrices that say nothing: RGB's number in a YUV file, and a reserved one
_ITU709, _ITU601 = 1, 5  # swscale's numbers of the matrices
_MPEG, _JPEG = 1, 2  # limited and full range
_HDR = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of a piece of music


@dataclass(frozen=True)
class File:
    """A path, or the bytes of a video in memory; `label` begins every message about it."""

    source: str | bytes
    name: str

    @classmethod
    def of(cls, source: str | Path | io.BytesIO, name: str) -> File:
        return cls(source.getvalue() if isinstance(source, io.BytesIO) else str(source), name)

    @property
    def label(self) -> str:
        where = "the data in memory" if isinstance(self.source, bytes) else Path(self.source).name
        return f"{self.name}: {where}"


class Decoder:
    """An open file for one use in one thread; a context manager. Raises InputError for a file without a picture.

    tick: seconds of one unit of its frames' pts.
    """

    def __init__(self, file: File):
        self.file = file
        in_memory = isinstance(file.source, bytes)
        try:
            # BytesIO shares the bytes; a reader of its own keeps threads from moving each other's position
            self.container = av.open(io.BytesIO(file.source) if in_memory else file.source, "r")
        except (av.FFmpegError, OSError) as error:
            raise _unreadable(file, error) from error
        try:
            self.stream = _picture(self.container, file)
        except InputError:
            self.container.close()
            raise
        self.stream.thread_type = "AUTO"
        self.tick = Fraction(self.stream.time_base)
        self._damaged = 0

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()
        if self._damaged:
            log.warning("%s has %d damaged packets; the frame before each is shown.", self.file.label, self._damaged)

    def seek(self, pts: int) -> None:
        """Go to the last key frame at or before `pts`, as the file's index has it: it may be later or wrong."""
        self.container.seek(pts, stream=self.stream)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decoded frames from here on, in the order shown. What is damaged is left out; a torn file just ends."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self._damaged += 1
                return
            try:
                decoded = packet.decode()
            except (av.FFmpegError, OSError):
                self._damaged += 1
                continue
            yield from (frame for frame in decoded if frame.pts is not None)

    def first(self) -> av.VideoFrame:
        """The next frame; InputError where there is none."""
        frame = next(self.frames(), None)
        if frame is None:
            raise InputError(
                f"{self.file.label} holds no frame with a time that can be decoded ({self.stream.codec_context.name}).",
                "It is empty or damaged: copy it again, or convert it to mp4.",
            )
        return frame

    def reach(self) -> tuple[int, Fraction]:
        """(end of the picture in ticks, end of all streams in seconds) as far as packets can be read from here on."""
        picture, everything = 0, Fraction(0)
        try:
            for packet in self.container.demux():
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    end = packet.pts + _duration(packet)
                    everything = max(everything, end * packet.time_base)
                    if packet.stream_index == self.stream.index:
                        picture = max(picture, end)
        except (av.FFmpegError, OSError):
            pass  # a torn file: what was reached is the answer
        return picture, everything


def _unreadable(file: File, error: Exception) -> InputError:
    where = Path(file.source) if isinstance(file.source, str) else None
    if where is not None and not where.exists():
        return InputError(
            f"{file.label} is not there ({file.source}).",
            "Choose an existing file; ComfyUI empties its temp folder when it starts.",
        )
    size = len(file.source) if where is None else where.stat().st_size
    if size == 0:
        return InputError(f"{file.label} is empty (0 bytes).", "Choose another file, or copy it again.")
    return InputError(
        f"{file.label} ({size} bytes) cannot be read as a video ({getattr(error, 'strerror', None) or error}).",
        "It is damaged, unfinished or no video: copy or download it again, or convert it to mp4.",
    )


def _picture(container: av.container.InputContainer, file: File) -> av.video.stream.VideoStream:
    streams = [stream for stream in container.streams.video if not stream.disposition.value & _ATTACHED]
    if not streams:
        raise InputError(
            f"{file.label} has no picture ({len(container.streams.audio)} audio streams, 0 video streams).",
            "Choose a video; connect sound to an audio input.",
        )
    if streams[0].codec_context is None:
        raise InputError(f"{file.label}: nothing here can decode its picture.", "Convert it to H.264 in mp4 first.")
    return streams[0]


def _duration(packet: av.Packet) -> int:
    if packet.duration:
        return packet.duration
    rate = getattr(packet.stream, "average_rate", None)
    return round(1 / (rate * packet.time_base)) if rate else 0


@dataclass(frozen=True)
class Look:
    """How the frames of one file become RGB: their size as stored, their colours, and how they are turned.

    turn: (transposed, rows reversed, columns reversed), applied in this order.
    """

    width: int
    height: int
    matrix: int
    colour_range: int
    turn: tuple[bool, bool, bool]

    @classmethod
    def of(cls, frame: av.VideoFrame, stream: av.video.stream.VideoStream, file: File) -> Look:
        """From the first frame. Raises InputError for transparency, HDR and angles that are not multiples of 90."""
        kind = frame.format
        clear = any(component.is_alpha for component in kind.components) or kind.name == "pal8"
        tags = {key.lower(): value for key, value in stream.metadata.items()}
        if clear or tags.get("alpha_mode") == "1":
            raise InputError(
                f"{file.label}: its pixels have transparency (alpha, {kind.name}, {frame.width}x{frame.height}).",
                "Flatten the transparency first: put the video on a background and save it without alpha.",
            )
        curve = stream.codec_context.color_trc
        if curve in _HDR:
            raise InputError(
                f"{file.label}: its colours are HDR ({_HDR[curve]}, {kind.name}), the model knows SDR only.",
                "Convert it to SDR (BT.709) first; a phone has a switch for HDR video.",
            )
        full = frame.color_range == _JPEG or kind.is_rgb or kind.name.startswith("yuvj")
        unstated = not kind.is_rgb and _UNSTATED.get(frame.colorspace, frame.colorspace) == 2
        high = frame.width >= 1280 or frame.height > 576
        matrix = (_ITU709 if high else _ITU601) if unstated else frame.colorspace
        return cls(frame.width, frame.height, matrix, _JPEG if full else _MPEG, _turn(frame, file))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        return (self.height, self.width) if self.turn[0] else (self.width, self.height)

    def rgb(self, frame: av.VideoFrame, scaler: VideoReformatter, longest: int | None = None) -> torch.Tensor:
        """uint8 [H, W, 3] as shown; scaled down so that no side is above `longest`. scaler: kept over a pass."""
        scale = min(1.0, longest / max(self.width, self.height)) if longest else 1.0
        small = scaler.reformat(
            frame,
            width=max(1, round(self.width * scale)),  # also for a file that changes its size on the way
            height=max(1, round(self.height * scale)),
            format="rgb24",
            src_colorspace=self.matrix,
            # Of RGB there is no other matrix; PyAV before 17 heeds a stated range only where the matrices differ.
            dst_colorspace=_ITU601 if self.matrix == _ITU709 else _ITU709,
            src_color_range=self.colour_range,
            dst_color_range=_JPEG,
            interpolation=_SCALING if scale == 1.0 else _SHRINKING,
        )
        pixels = small.to_ndarray()
        transposed, rows, columns = self.turn
        if transposed:
            pixels = pixels.transpose(1, 0, 2)
        pixels = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
        return torch.from_numpy(np.ascontiguousarray(pixels))


def _turn(frame: av.VideoFrame, file: File) -> tuple[bool, bool, bool]:
    """From the display matrix a b u / c d v / x y w, which maps a stored point (p, q) to (ap + cq, bp + dq)."""
    matrix = bytes(frame.side_data["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in frame.side_data else None
    if matrix is None:
        return False, False, False
    a, b, _, c, d = (value / 65536 for value in np.frombuffer(matrix, np.int32)[:5].tolist())
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 0 and max(abs(b), abs(c)) < 0.01 * straight:
        return False, d < 0, a < 0
    if crossed > 0 and max(abs(a), abs(d)) < 0.01 * crossed:
        return True, b < 0, c < 0
    raise InputError(
        f"{file.label} is turned by {-frame.rotation} degrees, not by a multiple of 90.",
        "Turn the picture itself in an editor first.",
    )
