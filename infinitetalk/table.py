"""What changes in a run's windows, by time: rows, and which one a window obeys.

Between the rows the run's own settings hold. Knows no text, no text encoder, no encoding of pictures and no nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import InputError
from .prompts import middle
from .takes import Overrides
from .timeline import Window


class Line(NamedTuple):
    """A row as it is written: its place in the text for messages, seconds, and what it changes; None is no change.

    reference: number of the connected one, from 1.
    """

    place: str
    start: float
    end: float | None
    seed: int | None = None
    reference: int | None = None
    text_scale: float | None = None
    audio_scale: float | None = None
    prompt: str | None = None


class Row(NamedTuple):
    """What is changed in the windows whose middle lies from `start` to before `end`, seconds; None: to the end."""

    start: float
    end: float | None
    overrides: Overrides


def bind(
    lines: tuple[Line, ...], references: Mapping[int, Any], encode: Callable[[str], list] | None
) -> tuple[Row, ...]:
    """The rows with what they name: references by number, and prompts encoded, each different one once.

    encode: prompt -> CONDITIONING, None when no text encoder is connected. Raises InputError, before anything is
    encoded, for a reference that is not connected and a prompt without an encoder.
    """
    for line in lines:
        if line.reference is not None and line.reference not in references:
            there = ", ".join(map(str, sorted(references))) or "none"
            raise InputError(
                f"text: {line.place} wants reference {line.reference}; connected: {there}.",
                f"Connect InfiniteTalk Reference to reference{line.reference}, or change the number.",
            )
        if line.prompt is not None and encode is None:
            raise InputError(
                f"clip: {line.place} of the table has a prompt, and no text encoder is connected.",
                "Connect Load CLIP (umt5_xxl, type wan), or leave the prompt out.",
            )
    encoded: dict[str, list] = {}
    for line in lines:
        if line.prompt is not None and line.prompt not in encoded:
            encoded[line.prompt] = encode(line.prompt)
    return tuple(
        Row(
            line.start,
            line.end,
            Overrides(
                seed=line.seed,
                positive=None if line.prompt is None else encoded[line.prompt],
                reference=None if line.reference is None else references[line.reference],
                text_scale=line.text_scale,
                audio_scale=line.audio_scale,
            ),
        )
        for line in lines
    )


def overrides_at(table: tuple[Row, ...], window: Window) -> Overrides:
    """What the table changes in a window: the row in force in the middle of the frames that the window adds."""
    at = middle(window)
    row = bisect_right(table, at, key=lambda row: row.start) - 1
    if row < 0 or (table[row].end is not None and at >= table[row].end):
        return Overrides()
    return table[row].overrides
