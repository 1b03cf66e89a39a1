"""Writing a video while it is made: H.264 and AAC in mp4 at 25 fps, encoded in a thread of its own.

Legend: n frames of one block, H x W pixels. Frames arrive as uint8 blocks and leave memory once
encoded: what is held is QUEUE blocks and the encoder's own few dozen frames, whatever the length.
Colours are converted to BT.709 limited range and tagged so, the standard that players assume.

While it grows the file is NAME.part.mp4, a fragmented mp4: it plays up to its last fragment (of 2 s)
even when the program is killed. finish() copies it into an ordinary mp4 under its own name.
Knows no model, no window and no host.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import torch

from . import disk
from .encoder import Encoder
from .errors import InputError
from .remux import cut_torn_end, is_whole, remux
from .sound import Sound
from .soundtrack import check_soundtrack

log = logging.getLogger(__name__)

QUEUE = 2  # blocks waiting for the encoder; a third makes add() wait
BLOCK = 16  # frames that encode_frames converts at once


def to_uint8(frames: torch.Tensor) -> torch.Tensor:
    """float [F, H, W, 3] in 0..1 -> uint8, same device: cut to 0..255 and truncated, as the reference does."""
    result = torch.empty(frames.shape, dtype=torch.uint8, device=frames.device)
    for start in range(0, frames.shape[0], BLOCK):  # bounds the float copy
        block = frames[start : start + BLOCK].to(torch.float32, copy=True)
        result[start : start + BLOCK] = block.mul_(255).clamp_(0, 255)
    return result


def expected_bytes(width: int, height: int, frames: int) -> int:
    """Room that a video may need while it is written, for check_writable(): a generous guess, not a limit.

    Half a bit per pixel at crf 17, twice, since finish() copies the file.
    """
    return width * height * frames // 8


def run_bytes(width: int, height: int, frames: int, sampled: int, handed: int, heard: int) -> int:  # noqa: PLR0913
    """Room that a run may still need: its videos, what its windows hand on, and the features of its voices.

    frames: of the video; sampled: of them that are still to be made, which lie in segments too; handed: latent cells
    of 16 channels that windows hand on, in float32; heard: numbers in float32 of all voices' features.
    """
    return expected_bytes(width, height, frames + sampled // 2) + 4 * (16 * handed + heard)


class VideoWriter:
    """A growing video file. add() blocks of frames, then finish(); or abort().

    width, height: pixels, even. audio: mono or stereo; it starts with
    the first frame and is cut, or padded with silence, to exactly frames / 25 s. crf: x264's quality,
    0 (lossless) to 51. metadata: tags of the file. A file that has the name already is replaced at the
    end. Raises InputError when the file cannot be made, for an odd size and for unusable sound.

    As a context manager it finishes, or after an exception aborts and keeps what was added.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        audio: Sound | None = None,
        crf: int = 17,
        metadata: Mapping[str, str] | None = None,
    ):
        if width < 2 or height < 2 or width % 2 or height % 2:
            raise InputError(
                f"video size: {width}x{height} has an odd side, H.264 needs even ones.",
                f"Use {max(2, width // 2 * 2)}x{max(2, height // 2 * 2)}.",
            )
        if audio is not None:
            check_soundtrack(audio)
        self.path = Path(path)
        self.frames = 0  # added so far
        self._size = (width, height)
        self._part = self.path.with_name(f"{self.path.stem}.part.mp4")
        self._error: Exception | None = None
        self._discard = self._closed = False
        try:
            with disk.explained(self.path):
                encoder = Encoder(self._part, self._size, audio, crf, metadata or {})
        except Exception:
            disk.discard(self._part)
            raise
        self._blocks: queue.Queue[np.ndarray | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, args=(encoder,), name=f"encode {self.path.name}", daemon=True)
        self._thread.start()

    def add(self, frames: torch.Tensor | np.ndarray) -> None:
        """Hand over uint8 [n, H, W, 3], any device. The encoder reads it later: do not write to it again.

        Returns at once unless QUEUE blocks are waiting. Raises what the encoder met since the last
        call: InputError for a full disk; then call abort().
        """
        block = frames.cpu().numpy() if isinstance(frames, torch.Tensor) else frames
        if self._closed:
            raise RuntimeError(f"{self.path.name} is finished; no frames can be added")
        if block.dtype != np.uint8 or block.shape[1:] != (self._size[1], self._size[0], 3):
            raise ValueError(f"frames are {block.dtype} {block.shape}, not uint8 [n, H, W, 3] of {self._size[::-1]}")
        if len(block):
            self._put(block)
            self.frames += len(block)
        self._raise()

    def finish(self) -> Path:
        """Encode the rest, give the file its name and return it. Raises as add() does; then call abort()."""
        if self.frames == 0:
            raise ValueError(f"{self.path.name} has no frames")
        self._stop()
        self._raise()
        self._publish()
        return self.path

    def abort(self, keep: bool = True) -> Path | None:
        """End early. keep: what was added becomes a playable file with its sound, as far as it reached the disk.

        Returns its path, or None when nothing is left. Further calls, and a call after finish(), do nothing.
        """
        if self._closed:
            return self.path if self.path.exists() else None
        self._discard = not keep
        self._stop()
        if keep and self._part.exists() and (self._error is None or cut_torn_end(self._part)) and self.frames:
            self._publish()
            return self.path
        self._closed = True
        disk.discard(self._part)
        return None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._closed:
            return
        if kind is None and self.frames:
            self.finish()
        else:
            self.abort()

    def _publish(self) -> None:
        """An ordinary mp4 under the final name; where there is no room for a copy, the fragmented one as it is."""
        try:
            remux(self._part, self.path)
            disk.discard(self._part)
        except (InputError, av.FFmpegError, OSError) as error:
            log.warning("%s stays a fragmented mp4, which plays but seeks slowly: %s", self.path.name, error)
            disk.publish(self._part, self.path)
        self._closed = True

    def _put(self, block: np.ndarray | None) -> None:
        while self._thread.is_alive():
            try:
                return self._blocks.put(block, timeout=0.2)
            except queue.Full:
                continue

    def _stop(self) -> None:
        self._put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            with disk.explained(self.path):
                raise self._error

    def _run(self, encoder: Encoder) -> None:
        """The thread: encode until None comes, and close the file whatever happens."""
        try:
            try:
                while (block := self._blocks.get()) is not None:
                    if not self._discard:
                        encoder.write(block)
            finally:
                encoder.close()
            # FFmpeg keeps to itself what goes wrong while it ends a file: a full disk, as a rule.
            if encoder.frames and not is_whole(self._part):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._part))
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to the caller's thread
            self._error = error


def encode_frames(
    images: torch.Tensor,
    path: str | Path,
    audio: Sound | None = None,
    crf: int = 17,
    metadata: Mapping[str, str] | None = None,
    report: Callable[[int], None] | None = None,
) -> Path:
    """Write a whole IMAGE batch, float [F, H, W, 3 or 4] in 0..1, as a video; transparency is dropped.

    An odd last row or column is left out: it is less visible than a repeated one. report: called with the
    number of frames handed over so far; an exception of it ends the work and leaves no file. Otherwise
    as VideoWriter. Working memory beside the batch: a few blocks of 8-bit frames.
    """
    height, width = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    if images.shape[-1] not in (3, 4) or not height or not width:
        raise InputError(
            f"video: its frames are {images.shape[2]}x{images.shape[1]} pixels with {images.shape[-1]} channels.",
            "Give RGB frames of at least 2x2 pixels.",
        )
    writer = VideoWriter(path, width, height, audio, crf, metadata)
    try:
        for start in range(0, images.shape[0], BLOCK):
            block = images[start : start + BLOCK, :height, :width, :3]
            if not torch.isfinite(block).all():
                raise InputError(
                    f"video: frames {start} to {start + len(block) - 1} hold values that are not numbers (NaN).",
                    "Look at the node that made them: a half-precision VAE decode is the usual cause.",
                )
            writer.add(to_uint8(block))
            if report:
                report(writer.frames)
        return writer.finish()
    except BaseException:  # an interruption too: half of a batch that is in memory is of no use
        writer.abort(keep=False)
        raise
