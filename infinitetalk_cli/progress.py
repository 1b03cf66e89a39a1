"""The line that shows a run's progress. Knows nothing of what runs."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO


class ProgressLine:
    """Progress as one line that is rewritten on a terminal; elsewhere a line for a node that has come to its end."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.live, self.last = self.stream.isatty(), ""

    def __call__(self, node: str, value: int, maximum: int) -> None:
        text = f"{node}  {value}/{maximum}" if maximum else node
        if self.live:
            self.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        elif value == maximum and text != self.last:
            self.write(f"{text}\n")
        self.last = text

    def end(self) -> None:
        if self.live and self.last:
            self.write("\r\x1b[K")

    def write(self, text: str) -> None:
        print(text, end="", flush=True, file=self.stream)
