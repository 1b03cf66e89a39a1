"""All arithmetic between frames, latent frames and audio samples, and the window plan.

The plan is a value computed before anything is loaded. Knows no tensors and no host.
Source of the plan's rules: the streaming loop of the public InfiniteTalk implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

from .config import FPS, SAMPLE_RATE, VAE_TIME, WindowConfig

SEEDS = 2**64  # as many as the host's noise takes


def feature_frames(samples: int) -> int:
    """Number of 25 Hz audio feature frames of `samples` samples at 16 kHz; the video gets as many frames.

    In whole numbers: the reference's int(samples / 16000 * 25) loses a frame to rounding at some
    exact lengths (1.16 s gives it 28 frames, not 29).
    """
    return samples * FPS // SAMPLE_RATE


def latent_frames(frames: int) -> int:
    """Latent frames of `frames` video frames: the first frame alone, then one per four."""
    return (frames - 1) // VAE_TIME + 1


def frames_of_latent(latent: int) -> int:
    """Video frames that `latent` latent frames decode to."""
    return (latent - 1) * VAE_TIME + 1


@dataclass(frozen=True)
class Window:
    """One sampling window.

    index: 0, 1, ...; start, end: range of video frames it samples (end may lie past the speech);
    motion: leading frames it shares with the window before (0 where sampling starts afresh); keep: frames of it
    that go into the video, counted after the motion frames; seed: of its noise.
    """

    index: int
    start: int
    end: int
    motion: int
    keep: int
    seed: int

    @property
    def frames(self) -> int:
        return self.end - self.start


def plan(
    total: int,
    config: WindowConfig,
    mode: str = "streaming",
    seed: int = 0,
    cuts: tuple[int, ...] = (),
    begun: bool = False,
) -> tuple[Window, ...]:
    """The windows that cover `total` frames of speech; in "clip" mode only the first.

    Windows advance by frames - motion; the last is the first whose end reaches `total`. All are
    full length: the model is given as many frames as it was trained with, and `keep` cuts the rest.
    cuts: rising frame numbers where the source's picture changes to another scene; there a window
    without motion frames starts, and the window before keeps only the frames up to it. begun: the speech goes on
    after a video that is there, whose last frames are the first window's motion frames, at negative times.
    """
    inside = [cut for cut in cuts if 0 < cut < total]
    windows: list[Window] = []
    for first, stop in zip([0, *inside], [*inside, total], strict=True):
        start, motion = (first, 0) if first or not begun else (-config.motion, config.motion)
        while start + motion < stop:
            end = start + config.frames
            keep = min(end, stop) - start - motion
            windows.append(Window(len(windows), start, end, motion, keep, (seed + len(windows)) % SEEDS))
            if mode == "clip":
                return tuple(windows)
            start, motion = end - config.motion, config.motion
    return tuple(windows)


def video_frames(windows: tuple[Window, ...]) -> int:
    """Length of the finished video, in frames."""
    return sum(window.keep for window in windows)


def clock(seconds: float) -> str:
    """Whole seconds for people: 1:05, and 2:03:09 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
