"""Which takes of its windows a run needs: the first ones, and those that a redo asks for.

A take is one sampling of a window. It is named by what it depends on beyond the run itself: what is
changed in it, and the take whose motion frames it continues. So the same wish always finds the same
take, a redo leaves the old ones alone, and taking a redo back costs nothing. Knows no files and no host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .errors import InputError
from .settings import GuidanceConfig
from .timeline import SEEDS, Window

FOLLOWING = ("keep", "blend", "resample")


@dataclass(frozen=True)
class Overrides:
    """What a table's row or a redo changes in a window; None leaves it as the run has it.

    seed: of the noise. positive: CONDITIONING; reference: as the run's own; guidance: in place of the run's;
    text_scale, audio_scale: one number for all steps, over `guidance`. graph: digest of what made prompt and
    reference, by which two that look alike are told apart.
    """

    seed: int | None = None
    positive: list | None = None
    reference: Any = None
    guidance: GuidanceConfig | None = None
    text_scale: float | None = None
    audio_scale: float | None = None
    graph: str | None = None

    def __post_init__(self):
        if self.seed is not None and not 0 <= self.seed < SEEDS:
            raise InputError(f"seed: {self.seed} is outside 0 to {SEEDS - 1}.", "Use a whole number, for example 42.")

    def over(self, other: Overrides) -> Overrides:
        """These changes, and those of `other` where nothing is changed here."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
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


FIRST = "first"


@dataclass(frozen=True, eq=False)  # takes hang on each other in long chains: compared by what they are, not by value
class Take:
    """One sampling of a window.

    key: names it among the takes of its window, FIRST for the one without any redo. overrides: a table's row
    and the redo together. source: the take whose motion frames it continues, None where sampling starts afresh
    or after another video. scene: the window that its scene begins with. hand_on: how many frames of its end
    the next window continues from. blend: the take of the same window into whose last frames this one's fade.
    """

    window: Window
    scene: Window
    key: str = FIRST
    overrides: Overrides = Overrides()
    source: Take | None = field(default=None, repr=False)
    hand_on: int = 0
    blend: Take | None = field(default=None, repr=False)

    @property
    def seed(self) -> int:
        return self.window.seed if self.overrides.seed is None else self.overrides.seed

    @property
    def number(self) -> int:
        """The window, as users count it."""
        return self.window.index + 1


def first_takes(windows: Sequence[Window], row: Callable[[Window], Overrides] = lambda _: Overrides()) -> list[Take]:
    """The takes of a run that nothing is redone in.

    row: what a table changes in a window, the same object for all windows of a row. A row's seed is that of its
    first window, and each later one adds 1, since equal noise would repeat the movements.
    """
    takes: list[Take] = []
    current, plain, turn = None, Overrides(), 0
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        changed = row(window)
        if changed is not current:
            current, plain, turn = changed, replace(changed, seed=None), 0
        if changed.seed is not None:
            window = replace(window, seed=(changed.seed + turn) % SEEDS)
        turn += 1
        source = takes[-1] if takes and window.motion else None
        scene = source.scene if source else window
        takes.append(Take(window, scene, FIRST, plain, source, following.motion if following else 0))
    return takes


def plan_takes(first: Sequence[Take], redos: Sequence[Redo], digest: Callable[[Overrides], str]) -> list[Take]:
    """The take of every window that goes into the video.

    digest: of what a redo changes, so that the same wish gives the same take again. Raises InputError for a redo
    of a window that does not exist, or of one window twice.
    """
    wanted = {redo.window: redo for redo in redos}
    missing = [number for number in wanted if not 1 <= number <= len(first)]
    if missing:
        raise InputError(
            f"redo: window {missing[0]} does not exist, the run has {len(first)}.",
            f"Use 1 to {len(first)}, as the line below the sampler counts them.",
        )
    if len(wanted) < len(redos):
        raise InputError("redo: the same window is redone twice.", "Keep one InfiniteTalk Redo for each window.")
    chosen: list[Take] = []
    following = "keep"
    for take in first:
        before = chosen[-1] if take.source else None
        redo = wanted.get(take.number)
        if redo:
            following = redo.following
            take = _named(
                replace(take, overrides=redo.overrides.over(take.overrides), source=before), digest(redo.overrides)
            )
        elif before and before.key != FIRST:
            if following == "resample":
                take = _named(replace(take, source=before), "")
            elif following == "blend":
                chosen[-1] = _named(replace(before, blend=take.source), before.key)
        chosen.append(take)
    return chosen


def to_sample(chosen: Sequence[Take], done: Callable[[Take], bool]) -> list[Take]:
    """The takes that have to be sampled for `chosen`, each after those that it needs.

    done: whether a take is there already; then what it once needed is not asked for.
    """
    found: dict[tuple[int, str], Take] = {}

    def visit(take: Take) -> None:
        open_takes = [take]
        while open_takes:  # a loop, because a run may have thousands of windows in a row
            take = open_takes.pop()
            if (take.window.index, take.key) in found or done(take):
                continue
            found[take.window.index, take.key] = take
            open_takes += [needed for needed in (take.source, take.blend) if needed]

    for take in chosen:
        visit(take)
    return sorted(found.values(), key=lambda take: (take.window.index, take.blend is not None, take.key != FIRST))


def _named(take: Take, change: str) -> Take:
    parts = (change, take.source.key if take.source else "", take.blend.key if take.blend else "")
    return replace(take, key=hashlib.sha256("|".join(parts).encode()).hexdigest()[:8])
