"""What a run shows and leaves beside its windows: the growing video, the live output, the finished video, the report.

Knows the takes that go into the video and their files, not how they are made.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import comfy.model_management

from .. import disk
from ..config import FPS
from ..drift import CONTINUED, summary
from ..drift_plot import plot
from ..extend import Start, prefix
from ..join import join
from ..live import Growing, LiveOutput
from ..rtmp import HLS
from ..run_folder import RunFolder
from ..sound import Chain, Sound
from ..takes import FIRST
from .planned import Planned
from .progress import say, watch

log = logging.getLogger(__name__)

WAIT_FOR_LIVE = 30  # seconds that a live output gets for its last segments; a user who cancels waits less
WAIT_WHEN_STOPPED = 3


class Outputs:
    """The outputs of one run, made in its folder."""

    def __init__(self, folder: RunFolder, run: Planned, node_id: str | None):
        self.node_id = node_id
        self._folder, self._run = folder, run
        self._before, self._sound = [], run.inputs.features.sound
        self._growing: Growing | None = None
        self._live: LiveOutput | None = None
        self.drift = ""  # a line on it, at the end
        self._added = 0  # takes whose segments are in the growing video

    @property
    def parts(self) -> dict[str, Any]:
        """What the finished video is made of."""
        start = self._run.wish.start
        takes = [[take.number, take.key] for take in self._run.takes]
        return {
            "takes": takes,
            "sound": self._run.inputs.features.sound.digest,
            "start": [start.digest, start.include] if start else [],
        }

    def made(self) -> Path | None:
        """The finished video, if nothing is left to do but to tell so."""
        path = self._folder.video(self.parts, self._plain)
        if path is not None and (self._folder.state != "finished" or self._folder.shown != path.name):
            self._tell_finished(path)
        return path

    def begin(self) -> None:
        """Put a start that is to be in the file before the windows."""
        start = self._run.wish.start
        if start is not None and start.include:
            reference = self._run.inputs.reference
            path, frames = prefix(start, self._folder.path, reference.width, reference.height, self._encoded)
            self._before, self._sound = [path], _after(start, frames, self._sound)

    def open(self) -> None:
        """Begin the growing video and the live output with the windows that are there."""
        self._growing = Growing(self._folder.path / "live.mp4", self._sound)
        target = self._run.wish.live
        if target == HLS:
            self._live = LiveOutput(self._folder.path / "live", self._sound)
        for path in self._before:
            self._add(path)
        self.add()
        if target and target != HLS:  # a server is not sent again what an earlier call sent
            self._live = LiveOutput(target, self._sound, self._growing.frames)

    def add(self) -> None:
        """Add the segments that follow without a gap."""
        takes = self._run.takes
        while self._added < len(takes) and self._folder.record(takes[self._added]) is not None:
            self._add(self._folder.segment(takes[self._added]))
            self._added += 1
            comfy.model_management.throw_exception_if_processing_interrupted()
        if self._added:
            watch(self._folder.path / "live.mp4", self.node_id)

    def finish(self) -> Path:
        """Join the video, write the report on drift, and say that the run is finished."""
        say(f"Joining {len(self._run.takes)} windows", self.node_id)
        self.close()
        segments = _interruptible(self._segments(len(self._run.takes)))
        path = self._folder.finish_video(lambda path: join(segments, path, self._sound), self.parts, self._plain)
        watch(path, self.node_id)  # the growing video is gone
        self._tell_finished(path)
        return path

    def stopped(self, error: BaseException) -> None:
        """Leave a playable file of the windows that are there; what stopped the run stays the error."""
        folder, total = self._folder, len(self._run.takes)
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, comfy.model_management.InterruptProcessingException):
            problem = "cancelled"
        folder.log(f"stopped after {self._added} of {total} windows: {problem}")
        growing, path = folder.path / "live.mp4", folder.path / "unfinished.mp4"
        try:
            folder.say("stopped")
            self.close(WAIT_WHEN_STOPPED)
            if not self._added:
                disk.discard(growing)
                return
            if self._added == total:  # stopped while it was joined, which would take as long again
                disk.publish(growing, path)
            else:
                join(self._segments(self._added), path, self._sound)
                disk.discard(growing)
            watch(path, self.node_id)
        except Exception as trouble:  # noqa: BLE001  # whatever it is, it is not what stopped the run
            log.warning("InfiniteTalk: no file was made of the %d finished windows: %s", self._added, trouble)
            say(
                f"Stopped: {self._added} of {total} windows are kept in {folder.path}; run again to go on", self.node_id
            )
            return
        log.info("InfiniteTalk: %d of %d windows are kept, %s plays them", self._added, total, path)
        say(f"Stopped: {self._added} of {total} windows are kept; {path} plays them, run again to go on", self.node_id)

    def close(self, seconds: float = WAIT_FOR_LIVE) -> None:
        """End the live output, which gets so long for what it has not sent; further calls do nothing."""
        live, self._live = self._live, None
        if live is not None:
            live.close(seconds)
            self._folder.log(f"live output: {live.state}")

    def _add(self, segment: Path) -> None:
        if self._growing is not None:
            self._growing.add(segment)
        if self._live is not None:
            self._live.add(segment)

    def _segments(self, count: int) -> list[Path]:
        return [*self._before, *(self._folder.segment(take) for take in self._run.takes[:count])]

    def _encoded(self, frames: int) -> None:
        """While another video is made to fit before the new part: told and interruptible."""
        say(f"Encoding the start: {frames} of {self._run.wish.start.frames} frames", self.node_id)
        comfy.model_management.throw_exception_if_processing_interrupted()

    @property
    def _plain(self) -> bool:
        """Whether it is the video without any redo, and without another one before it."""
        start = self._run.wish.start
        return not (start and start.include) and all(take.key == FIRST for take in self._run.takes)

    def _tell_finished(self, path: Path) -> None:
        self._report()
        self._folder.say("finished", path.name)
        self._folder.log(f"finished: {len(self._run.takes)} windows, {self._run.frames} frames")

    def _report(self) -> None:
        """drift.json and drift.png; a report that cannot be made is no reason to lose the video.

        A kept window after a redone one was measured against what it continued then, which is not shown: its seam
        is left out.
        """
        records, shown = [], None
        for take in self._run.takes:
            measured = self._folder.record(take)["drift"]
            if take.source is not shown and take.window.motion and shown is not None:
                measured = {name: value for name, value in measured.items() if name not in CONTINUED}
            records.append(measured)
            shown = take
        told = {"summary": summary(records), "windows": records}
        self.drift = told["summary"]["text"]
        try:
            disk.write_whole(self._folder.path / "drift.json", json.dumps(told, indent=1).encode())
            plot(records, self._folder.path / "drift.png")
        except Exception as error:  # noqa: BLE001  # the plot's library may fail in its own ways
            log.warning("InfiniteTalk: the report on drift could not be written: %s", error)


def _interruptible(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths one by one; a cancel ends them."""
    for path in paths:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield path


def _after(start: Start, frames: int, sound: Sound) -> Chain:
    """The sound of a start's `frames`, cut or padded with silence to them, and then the run's own."""
    rate = max(sound.rate, start.sound.rate if start.sound else 0)
    channels = max(sound.channels, start.sound.channels if start.sound else 0)
    lengths = round(frames * rate / FPS), round(sound.samples * rate / sound.rate)
    return Chain(list(zip((start.sound, sound), lengths, strict=True)), rate, channels)
