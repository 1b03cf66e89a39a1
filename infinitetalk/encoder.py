"""One growing mp4: H.264 picture at 25 fps, AAC sound beside it, encoded in the caller's thread.

Shapes: blocks of frames are uint8 [n, H, W, 3]. Colours are converted to BT.709 limited range and
tagged so, the standard that players assume. Unless told otherwise the file is a fragmented mp4: it plays
up to its last fragment whatever happens to the program. Knows no threads, no final name and no errors of the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from .config import FPS
from .sound import Sound
from .soundtrack import Soundtrack

FRAGMENT = 2 * FPS  # at most, frames between two key frames; each key frame begins a fragment
PRESET = "fast"
GROWING = "frag_keyframe+delay_moov+use_metadata_tags"  # kinds of mp4: readable while it is written, ...
ORDINARY = "use_metadata_tags"  # ... or only at the end, but with an index of all its frames
# x264's macroblock tree reads memory that nobody wrote at some widths (448 pixels for one, not 640): the same
# frames then give other bits from run to run.
REPEATABLE = "mbtree=0"
THREADS = 8  # left alone it follows the number of cores, and the bits follow it
_ROUNDING = 0x4 | 0x40000  # swscale's bicubic chroma, accurately rounded: its default tints by up to 0.6 of 255
_YUV = {
    "format": "yuv420p",
    "dst_colorspace": "ITU709",
    "src_color_range": "JPEG",
    "dst_color_range": "MPEG",
    "interpolation": _ROUNDING,
}
_BT709, _LIMITED = 1, 1  # numbers of AVCOL_*_BT709 and AVCOL_RANGE_MPEG, the same for matrix, primaries, curve


class Encoder:
    """A container with its picture stream and its sound, for one thread at a time.

    size: (width, height), even. audio: sound that passed check_soundtrack(), or None. kind: GROWING or ORDINARY.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        audio: Sound | None,
        crf: int,
        metadata: Mapping[str, str],
        kind: str = GROWING,
    ):
        path.touch()  # PyAV opens the file with the first packet; a closed folder should be known now
        # flush_packets: every fragment goes to the disk when it is whole, not when a buffer is full
        self.container = av.open(str(path), "w", format="mp4", options={"movflags": kind, "flush_packets": "1"})
        self.container.metadata.update(metadata)
        options = {"crf": str(crf), "preset": PRESET, "x264-params": REPEATABLE}
        self.stream = self.container.add_stream("libx264", rate=FPS, options=options)
        self.stream.width, self.stream.height = size
        self.stream.pix_fmt = "yuv420p"
        context = self.stream.codec_context
        context.time_base = Fraction(1, FPS)
        context.gop_size = FRAGMENT
        context.thread_type = "FRAME"  # slices, the default, cost quality
        context.thread_count = THREADS
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        self.soundtrack = None if audio is None else Soundtrack(self.container, audio)
        self._scaler = VideoReformatter()
        self.frames = 0
        self._failed = False

    def write(self, block: np.ndarray) -> None:
        """Encode uint8 [n, H, W, 3] and the sound beside it."""
        self._failed = True
        for image in block:
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = self._scaler.reformat(rgb, **_YUV)
            frame.pts, frame.time_base, frame.duration = self.frames, Fraction(1, FPS), 1
            self.container.mux(self.stream.encode(frame))
            self.frames += 1
            self._sound()
        self._failed = False

    def close(self) -> None:
        """Flush both streams and end the file; it is closed even when that fails."""
        try:
            # After a header that the disk had no room for, the next packet would end the whole program.
            if self.frames and not self._failed:
                self.container.mux(self.stream.encode(None))
                self._sound(last=True)
        finally:
            self.container.close()

    def _sound(self, last: bool = False) -> None:
        if self.soundtrack:
            self.container.mux(list(self.soundtrack.encode(Fraction(self.frames, FPS), last)))
