"""Small real video files for the tests of everything that reads a source; their frames carry their own number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NTSC = Fraction(30000, 1001)
CELL = 16  # pixels; a number is 16 black or white squares


def numbered_picture(number: int) -> np.ndarray:
    """uint8 [64, 64, 3] whose squares are the bits of `number`."""
    bits = (number >> np.arange(16)) & 1
    return np.repeat((bits.reshape(4, 4) * 255).astype(np.uint8).repeat(CELL, 0).repeat(CELL, 1)[..., None], 3, 2)


def number_of(picture) -> int:
    """The number that a picture of numbered_picture() carries, after lossy coding too."""
    bits = np.asarray(picture)[CELL // 2 :: CELL, CELL // 2 :: CELL, 1].flatten() > 127
    return int((bits << np.arange(16)).sum())


def write_clip(
    path: Path,
    pictures: Sequence[np.ndarray],
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    tick: Fraction | None = None,
    **options,
) -> Path:
    """Encode uint8 [H, W, 3] pictures; times: their pts in `tick`s, evenly spaced at `rate` when not given.

    options: codec, pixels (the format), rotation (degrees, counter-clockwise), matrix (nine numbers), stream and
    container (options of the encoder and the file), tags (of the stream), context (attributes of the encoder's
    context), reformat (how the pixels are converted), sound (seconds of silence).
    """
    with av.open(str(path), "w", options=options.get("container", {})) as file:
        coder = {"preset": "ultrafast", "crf": "18"} if options.get("codec", "libx264") == "libx264" else {}
        stream = file.add_stream(
            options.get("codec", "libx264"), rate=rate, options={**coder, **options.get("stream", {})}
        )
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = options.get("pixels", "yuv420p")
        stream.metadata.update(options.get("tags", {}))
        for name, value in options.get("context", {}).items():
            setattr(stream.codec_context, name, value)
        if tick:
            stream.codec_context.time_base = tick
        if "rotation" in options:
            stream.set_display_rotation(options["rotation"])
        if "matrix" in options:
            stream.set_display_matrix(options["matrix"])
        sound = file.add_stream("aac", rate=16_000, layout="mono") if options.get("sound") else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if "reformat" in options:
                frame = frame.reformat(format=stream.pix_fmt, **options["reformat"])
            frame.pts = index if times is None else times[index]
            frame.time_base = tick or 1 / Fraction(rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if sound:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, int(16_000 * options["sound"])), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate, silence.pts = 16_000, 0
            file.mux(sound.encode(silence))
            file.mux(sound.encode(None))
    return path


class Numbered(Sequence):
    """The pictures 0 .. count - 1, made when they are asked for."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return numbered_picture(index)
