"""Pictures by time: what a source video, or a batch of pictures, shows at a given second.

A source has .width and .height in pixels as shown, .seconds, frame(seconds) and frames(seconds, count), which give
uint8 RGB [H, W, 3] on the CPU. Shown at the time t is the frame with the latest time at or before t, counted from
the first frame's, whatever the frame rate and however it varies; before the start the first frame, past the end the
last. A video is read from disk as it is needed: in memory are the few frames of one decoder.
Knows no window, no model and no host.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import torch
from av.video.reformatter import VideoReformatter

from .buckets import check_picture
from .config import FPS
from .decoding import Decoder, File, Look
from .digests import digest, file_digest
from .errors import InputError

COARSE = Fraction(1, 1000)  # s; a longer tick is that of the frames themselves and rounds nothing
NEAR = 2  # s; not worth a seek
TORN = 0.05  # share of the stated length that may be missing; headers are imprecise


class Source(Protocol):
    """What a window, the scene finder and the sampler's start read from."""

    width: int
    height: int
    seconds: float
    identity: str  # sha256 hex of all that it shows

    def frame(self, seconds: float) -> torch.Tensor:
        """uint8 [H, W, 3] shown at `seconds`."""
        ...

    def frames(self, seconds: float, count: int, longest: int | None = None) -> Iterator[torch.Tensor]:
        """`count` pictures, shown at seconds + i / 25, in one pass; do not write to them, they may repeat.

        longest: scale down so that no side has more pixels.
        """
        ...


class VideoSource:
    """A video file, or its bytes. Every read opens its own decoder, so threads may read at once.

    start, duration: the part to use, in seconds of the file's picture; duration 0 is up to the end.
    Raises InputError for what is missing, empty, damaged, torn, without frames or picture, transparent, HDR, turned by
    odd angles, too small or too large, and for a part that begins past the end. Damage in the middle is no error: the
    last good frame stays, and the log tells.
    """

    def __init__(self, source: str | Path | io.BytesIO, start: float = 0.0, duration: float = 0.0, name: str = "video"):
        self._file = File.of(source, name)
        with Decoder(self._file) as decoder:
            first = decoder.first()
            self._look = Look.of(first, decoder.stream, self._file)
            check_picture(self._look.rgb(first, VideoReformatter())[None], self._file.label)
            self._tick, self._first = decoder.tick, first.pts
        end = self._end()
        self._last, total = end - 1, (end - self._first) * self._tick
        self._start, length = _exact(start), _exact(duration)
        if self._start < 0 or self._start >= total:
            raise InputError(
                f"{self._file.label} is {float(total):.2f} s long, and the part to use begins at {start:g} s.",
                "Let it begin earlier.",
            )
        self._cut = length > 0 and self._start + length < total
        if self._cut:
            self._last = self._first + math.ceil((self._start + length - self._slack) / self._tick) - 1
        self.width, self.height = self._look.size
        self.seconds = float(length if self._cut else total - self._start)

    @property
    def identity(self) -> str:
        """sha256 hex of what it shows: the bytes of the file, read anew, and the part in use."""
        part = f"{self._start} {self._last - self._first}"
        source = self._file.source
        return digest(part, source if isinstance(source, bytes) else file_digest(source))

    def frame(self, seconds: float) -> torch.Tensor:
        with contextlib.closing(self.frames(seconds, 1)) as pictures:
            return next(pictures)

    def frames(self, seconds: float, count: int, longest: int | None = None) -> Iterator[torch.Tensor]:
        begin = _exact(seconds)
        with self._open_at(self._wanted(begin)) as frames:
            scaler, shown, following, picture = VideoReformatter(), next(frames), next(frames, None), None
            for index in range(count):
                wanted = self._wanted(begin + Fraction(index, FPS))
                while following is not None and following.pts <= wanted:
                    shown, following, picture = following, next(frames, None), None
                if picture is None:
                    picture = self._look.rgb(shown, scaler, longest)
                yield picture

    @property
    def _slack(self) -> Fraction:
        """Times are rounded to whole ticks when they are stored, so a frame may seem to come half a tick late."""
        return self._tick / 2 if self._tick <= COARSE else Fraction(0)

    def _wanted(self, seconds: Fraction) -> int:
        """The latest pts that may be shown at `seconds` of the part in use."""
        return min(self._last, self._first + math.floor((self._start + seconds + self._slack) / self._tick))

    @contextlib.contextmanager
    def _open_at(self, wanted: int) -> Iterator[Iterator[av.VideoFrame]]:
        """Frames in the order shown, beginning at or before `wanted`, or with the file's first.

        A file's index may lead too far, or to a key frame that cannot be decoded alone: then from further back.
        """
        for back in (0, 5, 30, None):
            target = None if back is None else wanted - math.ceil(back / self._tick)
            if target is None or target - self._first <= NEAR / self._tick:
                break
            with Decoder(self._file) as decoder:
                first = _first_from(decoder, target)
                if first is not None and first[0].pts <= wanted:
                    yield _chain(*first)
                    return
        with Decoder(self._file) as decoder:
            frames = decoder.frames()
            first = next(frames, None)
            if first is None:
                raise InputError(f"{self._file.label} cannot be decoded any more.", "Do not change it during a run.")
            yield _chain(first, frames)

    def _end(self) -> int:
        """Pts at which the last frame ends, from the packets at the file's end; InputError for a torn file."""
        with Decoder(self._file) as decoder:
            stated = Fraction(decoder.container.duration or 0, av.time_base)
            begin = Fraction(decoder.container.start_time or 0, av.time_base)
            with contextlib.suppress(av.FFmpegError, OSError):
                decoder.seek(self._first + math.floor(stated / self._tick))
            end, reached = decoder.reach()
        if end <= self._first or self._lacks(stated, reached):
            with Decoder(self._file) as decoder:  # no index, or a wrong one: read all packets
                end, reached = decoder.reach()
        if self._lacks(stated, reached):
            raise InputError(
                f"{self._file.label} is torn: it should last {float(stated):.1f} s and ends after "
                f"{float(reached - begin):.1f} s.",
                "Copy or download it again; if it is all you have, convert it to mp4 first.",
            )
        return max(end, self._first + 1)

    @staticmethod
    def _lacks(stated: Fraction, reached: Fraction) -> bool:
        """Both in seconds from zero; some headers state the length from the first frame, which is less."""
        return stated - reached > max(1, TORN * stated)


class PictureSource:
    """A batch of pictures, float [B, H, W, 3] in 0..1, shown at `rate` per second; converted one by one, never copied.

    Raises InputError for a batch that is no reference (see check_picture), with NaN anywhere, and for a rate outside
    0.01 to 1000.
    """

    def __init__(self, images: torch.Tensor, rate: float | Fraction, name: str = "video"):
        if not 0.01 <= rate <= 1000:
            raise InputError(f"{name}: {rate} frames per second is outside 0.01 to 1000.", "Give the video's own rate.")
        check_picture(images[:1], name)
        for index, image in enumerate(images):  # one by one: a mask of a long batch would fill the memory
            if not torch.isfinite(image).all():
                raise InputError(
                    f"{name}: frame {index} holds values that are not numbers (NaN or infinite).",
                    "Look at the node that made it: a half-precision VAE decode is the usual cause.",
                )
        self._images, self._rate = images, _exact(rate)
        self.height, self.width = images.shape[1:3]
        self.seconds = float(len(images) / self._rate)

    @property
    def identity(self) -> str:
        """sha256 hex of the pictures and their rate."""
        return digest(self._images, str(self._rate))

    def frame(self, seconds: float) -> torch.Tensor:
        return self._picture(_exact(seconds), None)

    def frames(self, seconds: float, count: int, longest: int | None = None) -> Iterator[torch.Tensor]:
        begin = _exact(seconds)
        return (self._picture(begin + Fraction(index, FPS), longest) for index in range(count))

    def _picture(self, seconds: Fraction, longest: int | None) -> torch.Tensor:
        index = math.floor(seconds * self._rate + self._rate * Fraction(1, 10**6))
        image = self._images[min(max(index, 0), len(self._images) - 1)].float()
        scale = longest / max(self.width, self.height) if longest else 1.0
        if scale < 1.0:
            size = (max(1, round(self.height * scale)), max(1, round(self.width * scale)))
            image = torch.nn.functional.interpolate(image.movedim(-1, 0)[None], size=size, mode="area")[0].movedim(
                0, -1
            )
        return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().contiguous()


def _exact(number: float | Fraction) -> Fraction:
    """A float means the simple fraction that it stands for: 29.97002997002997 is 30000/1001."""
    return Fraction(number).limit_denominator(10**6)


def _first_from(decoder: Decoder, pts: int) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]] | None:
    try:
        decoder.seek(pts)
    except (av.FFmpegError, OSError):
        return None
    frames = decoder.frames()
    first = next(frames, None)
    return None if first is None else (first, frames)


def _chain(first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    yield first
    yield from rest
