"""The text or the JSON of a table -> its rows, checked.

    12.5-30      seed=7 reference=2 text=5 audio=3 prompt=she laughs and waves
    0:30-1:02:03 prompt=she is serious again
    1:10:00-     seed=8

Knows what may be written, not what it is for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from .errors import InputError
from .prompts import MAX_LINES, read_time
from .settings import MAX_SCALE
from .table import Line
from .timeline import SEEDS

MAX_ROWS = 10_000  # a row for each window of eight hours
MAX_REFERENCES = 20
LONGEST = 360_000  # s; a hundred hours
KEYS = {"seed": "seed", "reference": "reference", "text": "text_scale", "audio": "audio_scale", "prompt": "prompt"}
JSON_KEYS = ("from", "to", *KEYS.values())
HOW = "Write a row as 12.5-30 seed=7 reference=2 text=5 audio=3 prompt=she laughs, with only what changes."
HOW_JSON = 'Write [{"from": 12.5, "to": 30, "seed": 7, "prompt": "she laughs"}], with ' + ", ".join(JSON_KEYS) + "."

_HEAD = re.compile(r"(\S+?)\s*-\s*([\d:.]*)(?=\s|$)(.*)", re.DOTALL)


def parse_table(text: str) -> tuple[Line, ...]:
    """The rows of a table, in the order of their times.

    text: a row on each line, those that begin with # are comments; or a JSON list of objects. Raises InputError
    for what cannot be read, times that overlap or run backward, and an empty table.
    """
    text = text if isinstance(text, str) else ""
    lines = tuple(_from_json(text) if text.lstrip()[:1] in ("[", "{") else _from_text(text))
    if not lines:
        raise InputError("text: the table has no row.", HOW)
    _check_order(lines)
    prompts = {line.prompt for line in lines if line.prompt}
    if len(prompts) > MAX_LINES:
        raise InputError(
            f"text: {len(prompts)} different prompts are more than {MAX_LINES}.",
            "Use the same prompt in several rows: each different one is kept in memory.",
        )
    return lines


def _from_text(text: str) -> Iterator[Line]:
    rows = [(number, row.strip()) for number, row in enumerate(text.splitlines(), 1)]
    rows = [(number, row) for number, row in rows if row and not row.startswith("#")]
    _check_count(len(rows))
    for number, row in rows:
        place = f"line {number}"
        head = _HEAD.match(row)
        if not head:
            raise InputError(f"text: {place} does not begin with its times: {row[:40]!r}.", HOW)
        yield _line(place, (head[1], head[2] or None), _values(place, head[3]), HOW)


def _values(place: str, text: str) -> dict[str, str]:
    """seed=7 text=5 prompt=the rest of the line -> values by their JSON keys."""
    values: dict[str, str] = {}
    rest = text.strip()
    while rest:
        key, equals, after = (part.strip() for part in rest.partition("="))
        if not equals or key not in KEYS:
            raise InputError(
                f"text: {place} has an unknown entry {(key.split() or ['='])[0][:40]!r}.",
                f"Known are {', '.join(f'{known}=' for known in KEYS)}; the prompt comes last. {HOW}",
            )
        if KEYS[key] in values:
            raise InputError(f"text: {place} gives {key} twice.", "Keep one of them.")
        value, _, rest = (after, "", "") if key == "prompt" else after.partition(" ")
        values[KEYS[key]], rest = value, rest.strip()
    return values


def _from_json(text: str) -> Iterator[Line]:
    try:
        rows = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(
            f"text: it begins as JSON and is none: {error.msg} in line {error.lineno}, column {error.colno}.", HOW_JSON
        ) from None
    except (ValueError, RecursionError):
        raise InputError("text: it begins as JSON and cannot be read.", HOW_JSON) from None
    if not isinstance(rows, list):
        raise InputError("text: the JSON is one object, not a list of rows.", HOW_JSON)
    _check_count(len(rows))
    for number, row in enumerate(rows, 1):
        place = f"row {number}"
        if not isinstance(row, dict):
            raise InputError(f"text: {place} is no object: {str(row)[:40]}.", HOW_JSON)
        unknown = [key for key in row if key not in JSON_KEYS]
        if unknown:
            raise InputError(f"text: {place} has an unknown entry {unknown[0][:40]!r}.", HOW_JSON)
        if "from" not in row:
            raise InputError(f"text: {place} does not say from when it holds.", HOW_JSON)
        values = {key: value for key, value in row.items() if key in KEYS.values() and value is not None}
        yield _line(place, (row["from"], row.get("to")), values, HOW_JSON)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"text: the JSON gives {twice[:40]!r} twice in one row.", "Keep one of them.")
    return found


def _no_constant(name: str) -> None:
    raise InputError(f"text: {name} in the JSON is no number.", HOW_JSON)


def _line(place: str, times: tuple[Any, Any], values: dict[str, Any], how: str) -> Line:
    """A row of checked values; what is text is read as the number it writes."""
    start = _time(place, times[0], how)
    end = None if times[1] is None else _time(place, times[1], how)
    if end is not None and end <= start:
        what = "ends where it begins" if end == start else "runs backward"
        raise InputError(f"text: {place} {what}: {start:g} to {end:g} s.", "Let it end after it begins.")
    if not values:
        raise InputError(f"text: {place} changes nothing.", how)
    checked = {key: _CHECKS[key](place, key, value) for key, value in values.items()}
    return Line(place, start, end, **checked)


def _time(place: str, written: Any, how: str) -> float:
    value = read_time(written.strip()) if isinstance(written, str) else written
    if value is None or not _is_number(value) or not 0 <= value <= LONGEST:
        raise InputError(
            f"text: {place} has {str(written)[:40]!r} where a time from 0 to {LONGEST // 3600} hours should stand.",
            f"Write seconds as 12.5, or a clock as 0:12 or 1:02:03.5. {how}",
        )
    return float(value)


def _whole(place: str, key: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"text: {place}: {key} {str(value)[:40]} is not a whole number from {low} to {high}.",
            f"For example {key}={max(low, 2)}.",
        )
    return value


def _seed(place: str, key: str, value: Any) -> int:
    return _whole(place, key, value, 0, SEEDS - 1)


def _reference(place: str, key: str, value: Any) -> int:
    return _whole(place, key, value, 1, MAX_REFERENCES)


def _scale(place: str, key: str, value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", value):
        value = float(value)
    if not _is_number(value) or not 0 <= value <= MAX_SCALE:
        raise InputError(
            f"text: {place}: {key} {str(value)[:40]} is not a number from 0 to {MAX_SCALE:g}.",
            "Use 5 (text) and 4 (audio), or 1 for off.",
        )
    return float(value)


def _prompt(place: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"text: {place} has an empty prompt.", "Write it, or leave prompt out.")
    return value.strip()


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS = {
    "seed": _seed,
    "reference": _reference,
    "text_scale": _scale,
    "audio_scale": _scale,
    "prompt": _prompt,
}


def _check_count(rows: int) -> None:
    if rows > MAX_ROWS:
        raise InputError(f"text: {rows} rows are more than {MAX_ROWS}.", "Let a row hold for a longer time.")


def _check_order(lines: tuple[Line, ...]) -> None:
    for before, line in zip(lines, lines[1:], strict=False):
        if line.start < before.start:
            raise InputError(
                f"text: {line.place} begins at {line.start:g} s, before {before.place} at {before.start:g} s.",
                "Write the rows in the order of their times.",
            )
        if before.end is None or line.start < before.end:
            until = "goes on to the end" if before.end is None else f"ends at {before.end:g} s"
            raise InputError(
                f"text: {line.place} begins at {line.start:g} s, and {before.place} {until}.",
                "Let one end where or before the other begins; only the last may go on to the end.",
            )
