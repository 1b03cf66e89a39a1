"""A live stream as a folder that any web server can give out: HLS, an event playlist over fragmented mp4.

Files: index.m3u8, init-1.mp4 (a header; another one after every interruption), 000001.m4s ... The playlist names
only what is whole on the disk. Knows no threads and no run.
"""

from __future__ import annotations

import math
from pathlib import Path

from .config import FPS
from .disk import discard, explained, write_whole
from .fragments import Fragments
from .sound import Sound

PLAYLIST = "index.m3u8"
# Seconds that a player waits before it looks again. It must not change, so it is as long as any group of pictures
# that encoder.py makes; a longer one, of a video from elsewhere, can only come first.
_TARGET = 2


class HlsFolder:
    """One stream, which replaces what an earlier one left in the folder. begin(), then add(); end() at last.

    All raise InputError for a disk that is full or cannot be written.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.sent = 0.0  # seconds that can be played since begin()
        self._lines: list[str] = []
        self._longest = float(_TARGET)
        self._begun = self._pieces = 0
        self._fragments = Fragments(None)

    def begin(self, sound: Sound | None) -> None:
        """Start, or after an error start again with what comes next. sound: from the next frame on."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self._begun and (self.folder / PLAYLIST).exists()):
                for pattern in (PLAYLIST, "init-*.mp4", "[0-9]*.m4s"):
                    for old in self.folder.glob(pattern):
                        discard(old)
                self._lines.clear()
        self._fragments = Fragments(sound)
        self._begun += 1

    def add(self, segment: str | Path) -> None:
        """Put a segment behind the others, and into the playlist when all of it is there."""
        lines: list[str] = []
        first = not self._fragments.header
        with explained(self.folder / PLAYLIST):
            for fragment in self._fragments.add(segment):
                if first and not lines:
                    header = f"init-{self._begun}.mp4"
                    write_whole(self.folder / header, self._fragments.header)
                    lines += ["#EXT-X-DISCONTINUITY"] if self._lines else []
                    lines.append(f'#EXT-X-MAP:URI="{header}"')
                self._pieces += 1
                name = f"{self._pieces:06}.m4s"
                write_whole(self.folder / name, fragment.data)
                self._longest = max(self._longest, fragment.frames / FPS)
                lines += [f"#EXTINF:{fragment.frames / FPS:.2f},", name]
            self._write(self._lines + lines)
        self._lines += lines
        self.sent = self._fragments.frames / FPS

    def end(self) -> None:
        """Say that nothing more will come."""
        if self._lines:
            with explained(self.folder / PLAYLIST):
                self._write([*self._lines, "#EXT-X-ENDLIST"])

    def cut(self) -> None:
        """Nothing to let go of."""

    def _write(self, lines: list[str]) -> None:
        head = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{math.ceil(self._longest)}",
            "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-PLAYLIST-TYPE:EVENT",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        write_whole(self.folder / PLAYLIST, "\n".join([*head, *lines, ""]).encode())
