"""What a run is asked for, and a run that passed every check: values that the parts of a run share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import StreamConfig
from ..extend import Start
from ..memory import MemoryConfig
from ..table import Row
from ..takes import Redo, Take
from .denoise import Inputs


@dataclass(frozen=True)
class Wish:
    """What a run is asked for beside its inputs and settings.

    name: of its folder; afresh: even if there is such a run; table: changes by time; redo: other takes of windows;
    start: a video to go on from; live: a target of `live.LiveOutput`; graph: digest of what made the models;
    memory: what of speed is given for memory, or None for what the host does by itself.
    """

    name: str = ""
    afresh: bool = False
    table: tuple[Row, ...] = ()
    redo: tuple[Redo, ...] = ()
    start: Start | None = None
    live: str = ""
    graph: str = ""
    memory: MemoryConfig | None = None


@dataclass(frozen=True)
class Rendered:
    """The video's path; forwards of the model that our step cache skipped; a line for the user; the run's folder."""

    path: Path
    skipped: int
    report: str
    run: str


@dataclass(frozen=True)
class Planned:
    """takes: of the windows, in order; memory: settled, with what is told of it."""

    inputs: Inputs
    config: StreamConfig
    wish: Wish
    takes: Sequence[Take]
    memory: MemoryConfig = MemoryConfig()
    told: str = ""

    @property
    def frames(self) -> int:
        """Length of the video that is made, without a start before it."""
        return sum(take.window.keep for take in self.takes)
