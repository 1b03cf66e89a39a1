"""The cuts of a source video, found by PySceneDetect in the very frames that a run would be shown.

The source is read at 25 frames per second of its own time, whatever its rate, so that a cut is a frame number of the
plan and nothing between two scenes is lost. Frames are looked at one by one and small, as PySceneDetect does itself.
Knows no window, no model and no host.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from .config import FPS
from .errors import InputError
from .source import Source

# name -> the classes of scenedetect that look, and the name of their threshold
DETECTORS = {
    "adaptive": (("AdaptiveDetector",), "adaptive_threshold"),
    "content": (("ContentDetector",), "threshold"),
    "threshold": (("ThresholdDetector",), "threshold"),
    "all": (("ContentDetector", "AdaptiveDetector", "ThresholdDetector"), ""),
}
LONGEST = 256  # pixels; PySceneDetect's own thresholds are made for frames of this width
MAX_MINIMUM = 3600.0  # s


@dataclass(frozen=True)
class Scenes:
    """starts: of each scene, in seconds, rising, the first 0.0; seconds: length of the whole video."""

    starts: tuple[float, ...]
    seconds: float

    def __post_init__(self):
        rising = all(a < b for a, b in pairwise((*self.starts, self.seconds)))
        if not self.starts or self.starts[0] != 0.0 or not rising:
            raise InputError(
                f"scenes: starts {self.starts} in {self.seconds} s do not begin at 0 and rise.",
                "Connect InfiniteTalk Scenes.",
            )

    def cuts(self, total_frames: int) -> tuple[int, ...]:
        """Numbers of the frames, at 25 per second, that begin a scene: above 0 and below `total_frames`."""
        numbers = {round(start * FPS) for start in self.starts}
        return tuple(sorted(number for number in numbers if 0 < number < total_frames))

    def table(self) -> str:
        """The scenes as text for people: number, start, end and length of each."""
        ends = (*self.starts[1:], self.seconds)
        rows = [
            f"{number:>5}  {_clock(start):>10}  {_clock(end):>10}  {end - start:>8.2f} s"
            for number, (start, end) in enumerate(zip(self.starts, ends, strict=True), 1)
        ]
        count = "1 scene" if len(rows) == 1 else f"{len(rows)} scenes"
        head = f"scene  {'start':>10}  {'end':>10}  {'length':>10}"
        return "\n".join((f"{count} in {_clock(self.seconds)}", head, *rows))


def check_detection(detector: str, threshold: float, min_seconds: float) -> None:
    """Refuse settings that find_scenes() cannot use: InputError."""
    if detector not in DETECTORS:
        raise InputError(f"detector: {detector!r} is unknown.", f"Use one of {', '.join(DETECTORS)}.")
    if not 0 <= threshold <= 255:
        raise InputError(f"threshold: {threshold} is outside 0 to 255.", "Use 0 for the detector's own value.")
    if threshold and not DETECTORS[detector][1]:
        raise InputError(
            f"threshold: {threshold} is given, and the detectors of {detector!r} have thresholds of different kinds.",
            "Set threshold to 0 for each one's own value, or choose one detector.",
        )
    if not 0 <= min_seconds <= MAX_MINIMUM:
        raise InputError(f"min_seconds: {min_seconds} is outside 0 to {MAX_MINIMUM:g} s.", "Use 0.5.")


def find_scenes(
    source: Source,
    detector: str = "adaptive",
    threshold: float = 0.0,
    min_seconds: float = 0.5,
    report: Callable[[int, int], None] | None = None,
) -> Scenes:
    """The scenes of `source`; together they cover it to its last frame.

    detector: a name of DETECTORS; "all" is the union of three, which the public implementation takes. threshold: 0 is
    the detector's own. A scene below min_seconds joins the one before it, the first one the next. report: called
    with (frames seen, frames in all) after each; an exception of it ends the search.
    Raises InputError for settings out of range and for a PySceneDetect that cannot be loaded.
    """
    check_detection(detector, threshold, min_seconds)
    detectors, timecode = _load(detector, threshold)
    total = max(1, math.ceil(source.seconds * FPS - 1e-3))
    found: set[int] = set()
    with contextlib.closing(source.frames(0.0, total, LONGEST)) as frames:
        for number, frame in enumerate(frames):
            picture = np.ascontiguousarray(frame.numpy()[..., ::-1])  # BGR
            for each in detectors:
                found.update(cut.frame_num for cut in each.process_frame(timecode(number, Fraction(FPS)), picture))
            if report:
                report(number + 1, total)
    for each in detectors:
        found.update(cut.frame_num for cut in each.post_process(timecode(total - 1, Fraction(FPS))))
    starts = join_short(sorted(cut for cut in found if 0 < cut < total), total, min_seconds * FPS)
    return Scenes(tuple(start / FPS for start in starts), source.seconds)


def join_short(cuts: Iterable[int], total: int, shortest: float) -> list[int]:
    """First frames of the scenes that are left, 0 included, when those below `shortest` frames join their neighbour."""
    kept = [cut for cut, end in pairwise((*cuts, total)) if end - cut >= shortest]
    if kept and kept[0] < shortest:
        kept = kept[1:]
    return [0, *kept]


def _load(name: str, threshold: float) -> tuple[list, Callable]:
    """Detectors of PySceneDetect and its time code. Loaded here: only this needs it, and OpenCV breaks easily."""
    try:
        import scenedetect
    except ImportError as error:
        raise InputError(
            f"scenes: PySceneDetect cannot be loaded ({error}).",
            'Install it: pip install "scenedetect-headless>=0.7,<0.8".',
        ) from error
    classes, keyword = DETECTORS[name]
    options = {keyword: threshold} if threshold else {}
    # 0: short scenes are joined afterwards, where none of their time is lost
    detectors = [getattr(scenedetect, each)(min_scene_len=0, **options) for each in classes]
    return detectors, scenedetect.FrameTimecode


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:05.2f}"
