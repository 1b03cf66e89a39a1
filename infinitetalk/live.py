"""Watching a run while it goes on: one growing file for the browser, and a live output beside the run.

The growing file belongs to the run and tells its errors. The live output does not: it has a thread of its own,
is given finished segments and never stops, delays or fails the run, whatever becomes of its target.
Knows no windows and no host.
"""

from __future__ import annotations

import logging
import queue
import threading
from fractions import Fraction
from pathlib import Path

from .config import FPS
from .decoding import Decoder, File
from .disk import explained
from .errors import InputError
from .fragments import Fragments
from .hls import PLAYLIST, HlsFolder
from .rtmp import RtmpLink, shown
from .sound import Part, Sound

log = logging.getLogger(__name__)


class Growing:
    """A fragmented mp4 that plays, in a browser too, as far as segments have been added. An older file is replaced.

    Raises InputError for a disk that is full or cannot be written; what was added before stays playable.
    """

    def __init__(self, path: str | Path, sound: Sound | None):
        self.path = Path(path)
        self._fragments = Fragments(sound)
        with explained(self.path):
            self.path.write_bytes(b"")

    @property
    def frames(self) -> int:
        return self._fragments.frames

    def add(self, segment: str | Path) -> None:
        """Put a segment behind the others; it is in the file when this returns."""
        begins = not self._fragments.header
        with explained(self.path), open(self.path, "ab") as file:
            for fragment in self._fragments.add(segment):
                file.write(self._fragments.header + fragment.data if begins else fragment.data)
                begins = False


class LiveOutput:
    """Segments sent on as a stream while the run makes the next ones.

    target: a folder (Path) for HLS, or a text that check_target() took for an RTMP address. sound: of the whole
    run. first: frames of the run that are not sent. A target that is lost is tried again with the next segment;
    of those that wait then, an RTMP server gets the newest, a folder all. The queue holds only paths.
    """

    def __init__(self, target: str | Path, sound: Sound | None, first: int = 0):
        self._sound, self._frames = sound, first
        self._folder = isinstance(target, Path)
        self._link = HlsFolder(target) if self._folder else RtmpLink(target)
        self._name = str(target / PLAYLIST) if self._folder else shown(target)
        self._note = "waiting for the first window"
        self._open = self._closing = False
        self._count = 0
        self._waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="live output", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """One line for the user: where to, and how it goes. Holds no key of a stream."""
        return f"Live {self._name}: {self._note}"

    def add(self, segment: str | Path) -> None:
        """Send a segment when its turn comes; returns at once."""
        self._waiting.put(Path(segment))

    def close(self, seconds: float = 30.0) -> str:
        """Send what waits, for at most so long, then end the stream; returns the last state."""
        self._waiting.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._closing = True
            self._link.cut()
            self._thread.join(1.0)
            self._tell(f"ended before everything was sent ({self._link.sent:.0f} s were)")
        return self.state

    def _run(self) -> None:
        """The thread."""
        while (segment := self._next()) is not None:
            if self._closing:
                return
            try:
                frames = _frames(segment)
                self._send(segment, frames)
            except Exception as error:  # noqa: BLE001  # whatever it is must not reach the run
                self._lose(error)
        if (self._open or self._folder) and not self._closing:
            try:
                self._link.end()
                self._tell(f"ended, {self._count} windows sent")
            except Exception as error:  # noqa: BLE001
                self._lose(error)

    def _next(self) -> Path | None:
        segment = self._waiting.get()
        while not self._folder and not self._open and segment is not None and not self._waiting.empty():
            following = self._waiting.get()
            if following is None:
                self._waiting.put(None)
                break
            self._skip(segment)
            segment = following
        return segment

    def _send(self, segment: Path, frames: int) -> None:
        try:
            if not self._open:
                self._tell("connecting")
                self._link.begin(self._rest())
                self._open = True
            self._link.add(segment)
        finally:
            self._frames += frames
        self._count += 1
        self._tell(f"{self._count} windows sent ({self._link.sent:.0f} s)")

    def _rest(self) -> Part | None:
        """The sound from the next frame on."""
        if self._sound is None:
            return None
        first = round(Fraction(self._frames * self._sound.rate, FPS))
        return Part(self._sound, first, max(0, self._sound.samples - first))

    def _skip(self, segment: Path) -> None:
        try:
            self._frames += _frames(segment)
        except InputError as error:
            log.warning("Live output: %s", error.problem)

    def _lose(self, error: Exception) -> None:
        self._open = False
        self._link.cut()
        if not self._closing:
            reason = error.problem if isinstance(error, InputError) else error
            self._tell(f"lost ({reason}); it is tried again with the next window")

    def _tell(self, note: str) -> None:
        self._note = note
        log.info("InfiniteTalk: %s", self.state)


def _frames(segment: Path) -> int:
    """The length of a segment, from its index."""
    with Decoder(File.of(segment, "segment")) as file:
        return file.stream.frames
