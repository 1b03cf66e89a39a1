"""Guidance and step cache of a run as frozen values that check themselves, and the curves they are written as.

Knows numbers and words only: no torch, no host, no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import InputError

CACHE_KINDS = ("teacache", "magcache", "calibrate")
COEFFICIENTS = ("480", "720")
CURVE_SUFFIX = ".magcache.json"
MAX_SCALE = 100.0

Scale = float | tuple[float, ...] | tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ApgConfig:
    """Adaptive projected guidance: the weight of the running sum's past, and the norm it is cut to.

    momentum: above -1 to below 1, negative as published. threshold: norm over a whole latent, above 0.
    Source: Sadat et al. 2024, "Eliminating Oversaturation and Artifacts of High Guidance Scales"; the
    defaults are those of the public InfiniteTalk implementation.
    """

    momentum: float = -0.75
    threshold: float = 55.0

    def __post_init__(self):
        if not (_is_number(self.momentum) and -1.0 < self.momentum < 1.0):
            raise InputError(f"APG momentum: {self.momentum!r} is not between -1 and 1.", "Use -0.75.")
        if not (_is_number(self.threshold) and self.threshold > 0):
            raise InputError(f"APG threshold: {self.threshold!r} is not above 0.", "Use 55.")


@dataclass(frozen=True)
class StepScales:
    """The two scales of one step, and by them the model calls that it needs."""

    text: float
    audio: float

    @property
    def branches(self) -> tuple[str, ...]:
        """The model calls of one step.

        Three as the reference makes them, two when the text scale is 1 (as the reference) or the
        audio scale is 1 (the third then cancels out exactly), one when both are 1.
        """
        text, audio = math.isclose(self.text, 1.0), math.isclose(self.audio, 1.0)
        if text:
            return ("cond",) if audio else ("cond", "drop_audio")
        return ("cond", "drop_text") if audio else ("cond", "drop_text", "uncond")


OFF = StepScales(1.0, 1.0)


@dataclass(frozen=True)
class GuidanceConfig:
    """Text and audio guidance scales of a run, 0 to 100; 1 switches that guidance off.

    text, audio: one number for all steps; or a tuple of numbers evenly spaced from the first step to
    the last; or a tuple of (position, scale) pairs with positions rising from 0 to 1 (the first step
    to the last). Between them the scale is interpolated linearly, so as many numbers as steps are the
    steps' own scales. start, end: the part of the run, 0 to 1, that is guided: step s of n is guided
    when start <= s/n < end. apg: projected guidance instead of the plain one.
    Reference defaults: text 5, audio 4; with a distillation LoRA text 1, audio 2.
    """

    text: Scale = 5.0
    audio: Scale = 4.0
    start: float = 0.0
    end: float = 1.0
    apg: ApgConfig | None = None

    def __post_init__(self):
        _check_scale("text scale", self.text)
        _check_scale("audio scale", self.audio)
        if not (_is_number(self.start) and _is_number(self.end) and 0 <= self.start < self.end <= 1):
            raise InputError(
                f"guided part of the run: {self.start!r} to {self.end!r} is not a part of 0 to 1.",
                "Use 0 and 1 for the whole run; the start must be below the end.",
            )

    def at(self, step: int, steps: int) -> StepScales:
        """The scales of step 0 <= step < steps."""
        if not self.start <= step / steps < self.end:
            return OFF
        position = step / (steps - 1) if steps > 1 else 0.0
        return StepScales(_value_at(self.text, position), _value_at(self.audio, position))

    def branches(self, steps: int) -> tuple[str, ...]:
        """Every branch that some step of a run of `steps` calls, in a fixed order."""
        used = {name for step in range(steps) for name in self.at(step, steps).branches}
        return tuple(name for name in ("cond", "drop_text", "drop_audio", "uncond") if name in used)


@dataclass(frozen=True)
class CacheConfig:
    """Which forwards of the transformer's blocks are skipped.

    kind: "teacache" decides by how much the time embedding has moved, "magcache" by a curve measured
    for the model, "calibrate" skips nothing and measures that curve. threshold: of the accumulated
    distance (teacache; the reference's values are 0.2 to 0.5) or error (magcache; 0.02 to 0.12).
    coefficients: teacache's polynomial, by the resolution of the model. For magcache: curve, the file's
    name; max_skips, forwards of a branch skipped in a row at most; retention, the share of the steps at
    the start that is always computed.
    """

    kind: str = "teacache"
    threshold: float = 0.2
    coefficients: str = "480"
    curve: str = f"infinitetalk{CURVE_SUFFIX}"
    max_skips: int = 4
    retention: float = 0.2

    def __post_init__(self):
        if self.kind not in CACHE_KINDS:
            raise InputError(f"step cache: {self.kind!r} is unknown.", f"Use one of {', '.join(CACHE_KINDS)}.")
        if not (_is_number(self.threshold) and 0 <= self.threshold <= 10):
            raise InputError(
                f"step cache threshold: {self.threshold!r} is outside 0 to 10.",
                "Use 0.2 to 0.5 with teacache, 0.02 to 0.12 with magcache; 0 skips nothing.",
            )
        if self.coefficients not in COEFFICIENTS:
            raise InputError(
                f"step cache coefficients: {self.coefficients!r} is unknown.", "Use 480 or 720, as the model."
            )
        if self.kind != "teacache":
            check_curve_name(self.curve)
        if isinstance(self.max_skips, bool) or not isinstance(self.max_skips, int) or not 1 <= self.max_skips <= 100:
            raise InputError(f"max_skips: {self.max_skips!r} is not a whole number from 1 to 100.", "Use 4.")
        if not (_is_number(self.retention) and 0 <= self.retention <= 1):
            raise InputError(f"retention: {self.retention!r} is outside 0 to 1.", "Use 0.2.")


def check_curve_name(name: str) -> None:
    """Refuse a name of a curve file that is not a plain name with the right ending."""
    bare = isinstance(name, str) and name.endswith(CURVE_SUFFIX) and name != CURVE_SUFFIX
    if not bare or any(mark in name for mark in ("/", "\\", ":", "\0")) or name.startswith("."):
        raise InputError(
            f"curve: {name!r} is not a file name that ends in {CURVE_SUFFIX}.",
            f"Give a name without folders, like my_model{CURVE_SUFFIX}; the file is in models/infinitetalk.",
        )


def parse_curve(text: str, name: str) -> Scale | None:
    """A scale written as text: "5, 5, 3, 1" evenly spaced or "0:5 0.5:3 1:1" as position:scale; None when empty.

    Commas and spaces both separate. name: the input, for the error. Raises InputError.
    """
    parts = text.replace(",", " ").split()
    if not parts:
        return None
    if any(":" in part for part in parts):
        curve = tuple(_point(part, name) for part in parts)
    else:
        curve = tuple(_number(part, part, name) for part in parts)
    _check_scale(name, curve)
    return curve


def _point(part: str, name: str) -> tuple[float, float]:
    position, colon, value = part.partition(":")
    if not colon:
        raise InputError(
            f"{name}: {part!r} has no position while other parts have one.",
            "Write all parts as position:scale, like 0:5 0.5:3 1:1, or none.",
        )
    return _number(position, part, name), _number(value, part, name)


def _number(text: str, part: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{name}: {part!r} is not a number.", "Write it like 5, 5, 3, 1 or like 0:5 0.5:3 1:1."
        ) from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_scale(name: str, scale: object) -> None:
    if not isinstance(scale, tuple):
        scale = (scale,)
    elif not scale:
        raise InputError(f"{name}: the list is empty.", "Give one number, or one for each step.")
    pairs = [entry for entry in scale if isinstance(entry, tuple)]
    if pairs:
        if len(pairs) != len(scale) or any(len(pair) != 2 for pair in pairs):
            raise InputError(f"{name}: {scale!r} mixes forms.", "Give numbers, or (position, scale) pairs.")
        _check_positions(name, [position for position, _ in pairs])
        scale = tuple(value for _, value in pairs)
    for value in scale:
        if not (_is_number(value) and 0 <= value <= MAX_SCALE):
            raise InputError(f"{name}: {value!r} is outside 0 to 100.", "Use 5 (text) and 4 (audio), or 1 for off.")


def _check_positions(name: str, positions: list[float]) -> None:
    for before, position in zip([None, *positions], positions, strict=False):
        if not (_is_number(position) and 0 <= position <= 1):
            raise InputError(
                f"{name}: the position {position!r} is outside 0 to 1.", "0 is the first step, 1 the last."
            )
        if before is not None and position <= before:
            raise InputError(
                f"{name}: the position {position:g} comes after {before:g}.", "Write the positions in rising order."
            )


def _value_at(scale: Scale, position: float) -> float:
    """A scale at a position 0..1 of the run, constant before its first point and after its last."""
    if not isinstance(scale, tuple):
        return float(scale)
    if isinstance(scale[0], tuple):
        points = scale
    else:
        points = tuple((n / max(1, len(scale) - 1), value) for n, value in enumerate(scale))
    if position <= points[0][0]:
        return float(points[0][1])
    for (left, before), (right, after) in zip(points, points[1:], strict=False):
        if position <= right:
            return before + (after - before) * (position - left) / (right - left)
    return float(points[-1][1])
