"""A text with one prompt per window or per time -> its lines, each with the span it is in force.

A span is a plain tuple (unit, start, end), unit "window" (numbers counted from 0) or "second", end None for "to the
end", so that it can travel in any container of the host. Knows no text encoder and no conditioning.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .config import FPS
from .errors import InputError
from .timeline import Window

MAX_LINES = 300  # a different text each is 2.4 GB of embeddings
LONGEST_TIME = 20  # characters; more are no time of a video
WINDOW, SECOND = "window", "second"
HOW = "Write [0] a calm face | [12.5] she laughs | [1:02:03] she waves, or the same on lines of their own."

Span = tuple[str, float, float | None]

_HEAD = re.compile(r"\[([\d\s:.,;+\-s]*\d[\d\s:.,;+\-s]*)\]\s*(.*)", re.DOTALL)
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", re.ASCII)


class Line(NamedTuple):
    """A prompt and when it is in force."""

    text: str
    span: Span


def parse_prompts(text: str) -> tuple[Line, ...]:
    """The lines of `text`, parted by `|` or line ends; empty parts do not count.

    Without times line n is for window n and the last one goes on. A part may begin with its time, [seconds],
    [minutes:seconds] or [hours:minutes:seconds]; then every part must, the first with 0, and a line holds until the
    next one's time. Together the spans cover everything once. Raises InputError.
    """
    parts = [part.strip() for part in re.split(r"[|\n]", text)] if isinstance(text, str) else []
    parts = [part for part in parts if part]
    if not parts:
        raise InputError("text: the prompt is empty.", "Say what the picture shows and how the person behaves.")
    if len(parts) > MAX_LINES:
        raise InputError(
            f"text: {len(parts)} lines are more than {MAX_LINES}.",
            "Give one line, or a line only where the prompt changes, with times: [0] ... | [60] ...",
        )
    heads = [_HEAD.fullmatch(part) for part in parts]
    timed = [n for n, head in enumerate(heads) if head]
    if not timed:
        starts: list[float] = list(range(len(parts)))
        return _lines(WINDOW, starts, parts)
    if len(timed) < len(parts):
        bare = next(n for n, head in enumerate(heads) if not head)
        raise InputError(f"text: line {timed[0] + 1} has a time and line {bare + 1} has none.", HOW)
    starts = [_seconds(head[1].strip(), n + 1) for n, head in enumerate(heads)]
    texts = [head[2].strip() for head in heads]
    _check_timed(starts, texts)
    return _lines(SECOND, starts, texts)


def in_force(span: Span, window: Window) -> bool:
    """Whether a span holds for a window: by its number, or by the middle of the frames it adds to the video."""
    unit, start, end = span
    at = window.index if unit == WINDOW else middle(window)
    return start <= at and (end is None or at < end)


def middle(window: Window) -> float:
    """The second in the middle of the frames that a window adds to the video."""
    return (window.start + window.motion + window.keep / 2) / FPS


def read_time(text: str) -> float | None:
    """The seconds of a time written as 12.5, 0:12 or 1:02:03.5; None when it is none.

    Minutes and seconds are below 60 where a larger unit stands before them.
    """
    match = _TIME.fullmatch(text)
    if match is None or len(text) > LONGEST_TIME:
        return None
    hours, minutes, seconds = match.groups()
    if (minutes and float(seconds) >= 60) or (hours and int(minutes) >= 60):
        return None
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def _lines(unit: str, starts: list[float], texts: list[str]) -> tuple[Line, ...]:
    ends = [*starts[1:], None]
    return tuple(Line(text, (unit, start, end)) for text, start, end in zip(texts, starts, ends, strict=True))


def _seconds(time: str, line: int) -> float:
    seconds = read_time(time)
    if seconds is None:
        raise InputError(
            f"text: [{time}] in line {line} is not a time.",
            "Write seconds as [12.5], or a clock as [0:12] or [1:02:03.5].",
        )
    return seconds


def _check_timed(starts: list[float], texts: list[str]) -> None:
    if starts[0] > 0:
        raise InputError(
            f"text: the first line begins at {starts[0]:g} s, nothing is said for what comes before.",
            "Begin the first line with [0].",
        )
    for n, (start, following) in enumerate(zip(starts, starts[1:], strict=False), start=1):
        if following <= start:
            raise InputError(
                f"text: line {n + 1} begins at {following:g} s, line {n} at {start:g} s.",
                "Let the times rise from line to line.",
            )
    for n, text in enumerate(texts, start=1):
        if not text:
            raise InputError(f"text: line {n} has a time and no prompt.", HOW)
