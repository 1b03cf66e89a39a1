"""Which takes of its windows a run needs: the first ones, and those that a redo asks for.

A take is one sampling of a window. It is named by what it depends on beyond the run itself: what is
changed in it, and the take whose motion frames it continues. So the same wish always finds the same
take, a redo leaves the old ones alone, and taking a redo back costs nothing. Knows no files and no host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from .errors import InputError
from .settings import GuidanceConfig
from .timeline import SEEDS, Window

FOLLOWING = ("keep", "blend", "resample")


@dataclass(frozen=True)
class Overrides:
    """What a table's row or a redo changes in a window; None leaves it as the run has it.

    seed: of the noise. positive: CONDITIONING; reference: as the run's own; guidance: in place of the run's;
    text_scale, audio_scale: one number for all steps, over `guidance`.
    """

    seed: int | None = None
    positive: list | None = None
    reference: Any = None
    guidance: GuidanceConfig | None = None
    text_scale: float | None = None
    audio_scale: float | None = None

    def __post_init__(self):
        if self.seed is not None and not 0 <= self.seed < SEEDS:
            raise InputError(f"seed: {self.seed} is outside 0 to {SEEDS - 1}.", "Use a whole number, for example 42.")

    def over(self, other: Overrides) -> Overrides:
        """These changes, and those of `other` where nothing is changed here."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Redo:
    """Another take of a window, counted from 1, and what becomes of the windows after it.

    "keep" leaves them as they are, so that the picture may jump where they begin; "blend" lets the last
    motion frames of the new take fade into those that the next window continues from; "resample" samples
    them anew, to the end or to the next scene.
    """

    window: int
    overrides: Overrides
    following: str = "blend"

    def __post_init__(self):
        if self.following not in FOLLOWING:
            raise InputError(
                f"following windows: {self.following!r} is unknown.", f"Use one of {', '.join(FOLLOWING)}."
            )
