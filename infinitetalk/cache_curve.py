"""Files with MagCache's curve of a model: how the residual's length changes from step to step, by branch.

JSON: {"model": words, "steps": n, "sigmas": [n + 1 numbers], "branches": {name: [n ratios], ...}}.
Knows no model; folders and names are the caller's.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .disk import discard, explained, publish
from .errors import InputError

SLACK = 1e-3  # of a sigma: one of the thousand training times
MEASURE_AGAIN = "Measure it again with InfiniteTalk Step Cache's kind calibrate, or give another file."


@dataclass(frozen=True)
class Curve:
    """model: the blocks it was measured on, in words; branches: one ratio a step, 1 in the first."""

    model: str
    sigmas: tuple[float, ...]
    branches: dict[str, tuple[float, ...]]

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def at(self, sigmas: Sequence[float]) -> dict[str, tuple[float, ...]]:
        """The ratios of a run with these sigmas, [steps + 1]: one a step, of the curve's step with the nearest sigma.

        Of two equally near the earlier. The same schedule, or its last steps alone, gets its own ratios back. Another
        number of steps with the same shift gets, to a step, what the public MagCache picks by position; another
        shift gets what was measured at that noise and not at that place in the run. A ratio is the change of one
        step of the curve: a run with fewer, longer steps changes at least as much where the curve runs one way, so
        that the error is then underestimated, and with more steps overestimated.
        """
        own = self.sigmas[:-1]
        nearest = [min(range(self.steps), key=lambda n, sigma=sigma: abs(own[n] - sigma)) for sigma in sigmas[:-1]]
        return {name: tuple(ratios[n] for n in nearest) for name, ratios in self.branches.items()}

    def covers(self, sigmas: Sequence[float]) -> bool:
        """Whether every step of a run with these sigmas, [steps + 1], lies between the curve's first and last sigma."""
        return all(self.sigmas[-1] - SLACK <= sigma <= self.sigmas[0] + SLACK for sigma in sigmas[:-1])


def write_curve(path: str | Path, curve: Curve) -> None:
    """Write `curve`; an older file is replaced whole or not at all. Raises InputError when the disk refuses."""
    path = Path(path)
    text = json.dumps(
        {"model": curve.model, "steps": curve.steps, "sigmas": curve.sigmas, "branches": curve.branches}, indent=1
    )
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            publish(Path(part), path)
        finally:
            discard(Path(part))


def read_curve(path: str | Path) -> Curve:
    """The curve in a file. Raises InputError that says what is wrong with it."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"curve: {path} does not exist.", MEASURE_AGAIN) from None
    except (OSError, ValueError) as error:  # bad JSON and bad UTF-8 are ValueErrors
        raise InputError(f"curve: {path.name} cannot be read ({error}).", MEASURE_AGAIN) from None
    if not isinstance(data, dict):
        raise _wrong(path, "it is not an object with model, steps, sigmas and branches")
    model, steps, sigmas, branches = (data.get(name) for name in ("model", "steps", "sigmas", "branches"))
    if not isinstance(model, str):
        raise _wrong(path, f"model is {model!r}, not a text")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise _wrong(path, f"steps is {steps!r}, not a whole number above 0")
    if not isinstance(branches, dict) or not branches:
        raise _wrong(path, "branches is empty or no object")
    found = {str(name): _numbers(path, f"branch {name}", ratios, steps) for name, ratios in branches.items()}
    return Curve(model, _numbers(path, "sigmas", sigmas, steps + 1), found)


def _numbers(path: Path, name: str, values: object, count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        length = len(values) if isinstance(values, list) else "no"
        raise _wrong(path, f"{name} has {length} numbers instead of {count}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise _wrong(path, f"{name} holds {value!r}, which is no number from 0 on")
    return tuple(float(value) for value in values)


def _wrong(path: Path, problem: str) -> InputError:
    return InputError(f"curve: {path.name}: {problem}.", MEASURE_AGAIN)
