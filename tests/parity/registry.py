"""Golden files, their results, and the table of recompute functions.

A recompute function lives in a `case_*.py` module of this package and is registered for the metadata `case` of the
files it can recompute:

    @case("loudness")
    def loudness(golden: Golden) -> Iterable[Result]:
        lufs, gain = ...
        yield Result("lufs", error(lufs, golden["lufs"]), 1e-3)

Several functions may share a file: `@case("guidance/vanilla")` and `@case("guidance/apg")`. A result's full name is
the registered name, "/", and its own name; results of one full name become one line, the worst. A function that
raises fails by its registered name and stops nobody else. Tensors of the file that no function read are failures
too, one for each first part of their dotted names: nothing recorded goes unchecked in silence.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from . import rule


@dataclass(frozen=True)
class Result:
    """One comparison. error: the largest one found, in the unit of tolerance; not finite means failed."""

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # false for NaN

    @property
    def line(self) -> str:
        verdict = "ok" if self.ok else "FAIL"
        text = f"{self.name:<48} error {self.error:<9.2e} tolerance {self.tolerance:<8.0e} {verdict}"
        return f"{text}  {self.note}" if self.note else text


class Golden:
    """One golden file: `golden[name]` is a recorded tensor; everything else is remade by the rule.

    kind: the metadata `case`; meta: the parsed metadata; seed, config: from it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with safe_open(self.path, "pt") as file:
            self.meta = {key: _parsed(text) for key, text in (file.metadata() or {}).items()}
            self.names = tuple(file.keys())
        self.kind = str(self.meta.get("case") or self.meta.get("kind") or self.path.stem)
        self.seed = int(self.meta.get("seed", 0))
        self.config: dict = self.meta.get("config", {})
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self.path, "pt") as file:
            tensor = file.get_tensor(name)
        self.read.add(name)
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def inp(self, key: str) -> torch.Tensor:
        """An input made by the rule with the shape and scale of the metadata: float32, or uint8 for pictures."""
        entry = self.meta["inputs"][key]
        if entry.get("kind") == "image":
            return torch.from_numpy(rule.image(key, entry["shape"], self.seed))
        return torch.from_numpy(rule.inp(key, entry["shape"], self.seed, entry.get("scale", 1.0)))

    def weights(self, part: str | None = None) -> dict[str, torch.Tensor]:
        """The model's state dict, float32, checked against the recorded hash.

        part: "dit" or "vae" in files that hold two models.
        """
        table, recorded = self.meta["weights"], self.meta["weights_sha256"]
        overrides = self.meta.get("weight_overrides", {})
        if part is not None:
            table, recorded = table[part], recorded[part]
            # overrides stand under their model's name, or flat when they are the transformer's
            flat = overrides if part == "dit" and all("scale" in entry for entry in overrides.values()) else {}
            overrides = overrides.get(part, flat)
        made = {key: rule.weight(key, shape, self.seed, overrides) for key, (shape, _) in table.items()}
        found = rule.sha256(made)
        if found != recorded:
            raise ValueError(f"weights of {self.path.name} do not follow the rule: sha256 {found}, recorded {recorded}")
        return {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in made.items()}


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # `case` and `description` are plain words


def error(actual: torch.Tensor | np.ndarray | float, expected: torch.Tensor | np.ndarray | float) -> float:
    """Largest absolute difference, in float64; infinite when the shapes differ or a value is not a number.

    Equal infinities do not differ.
    """
    a, b = (torch.as_tensor(value).detach().cpu().double() for value in (actual, expected))
    if a.shape != b.shape:
        return math.inf
    if a.numel() == 0:
        return 0.0
    difference = torch.where(a == b, torch.zeros_like(a), (a - b).abs())
    worst = difference.max().item()
    return math.inf if math.isnan(worst) else worst


Recompute = Callable[[Golden], Iterable[Result]]


@dataclass
class Registry:
    """Recompute functions by registered name; `broken` holds case modules that could not be imported."""

    functions: dict[str, Recompute] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)

    def of_kind(self, kind: str) -> dict[str, Recompute]:
        return {name: call for name, call in self.functions.items() if name.split("/")[0] == kind}


REGISTRY = Registry()


def case(name: str) -> Callable[[Recompute], Recompute]:
    """Register a recompute function as `kind` or `kind/part`."""

    def register(function: Recompute) -> Recompute:
        if name in REGISTRY.functions:
            raise ValueError(f"two recompute functions are registered as {name!r}")
        REGISTRY.functions[name] = function
        return function

    return register


def load_cases() -> Registry:
    """Import every `case_*.py` of this package; one that cannot be imported fails only its own cases."""
    package = __package__
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("case_"):
            try:
                importlib.import_module(f"{package}.{module.name}")
            except Exception as problem:  # noqa: BLE001  # whatever it is, it is reported with the cases then missing
                REGISTRY.broken[module.name] = problem
    return REGISTRY


def _one(name: str, function: Recompute, golden: Golden) -> Iterator[Result]:
    try:
        for result in function(golden):
            yield replace(result, name=f"{name}/{result.name}" if result.name else name)
    except Exception as problem:  # noqa: BLE001  # a crash is one failed line, by name; the other cases still run
        yield Result(name, math.inf, 0.0, short(problem))


def short(problem: Exception) -> str:
    """Type and first line of an exception, for one line of the report."""
    return f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"[:200]


def _unread(golden: Golden) -> Iterator[Result]:
    groups: dict[str, list[str]] = {}
    for name in golden.names:
        if name not in golden.read:
            groups.setdefault(name.split(".")[0], []).append(name)
    for group, names in groups.items():
        yield Result(f"{golden.kind}/{group}", math.inf, 0.0, f"not recomputed: {len(names)} tensors, {names[0]} first")


@torch.no_grad()
def run_file(path: str | Path, registry: Registry) -> list[Result]:
    """All results of one golden file, one per full name (the worst), in the order they came."""
    path = Path(path)
    try:
        golden = Golden(path)
    except (OSError, SafetensorError, ValueError, TypeError) as problem:
        return [Result(path.stem, math.inf, 0.0, short(problem))]
    functions = registry.of_kind(golden.kind)
    if not functions:
        broken = f"; could not be imported: {', '.join(registry.broken)}" if registry.broken else ""
        return [Result(golden.kind, math.inf, 0.0, f"no recompute function{broken}")]
    found = [result for name, function in functions.items() for result in _one(name, function, golden)]
    found.extend(_unread(golden))
    worst: dict[str, Result] = {}
    for result in found:
        if result.name not in worst or _rank(result) > _rank(worst[result.name]):
            worst[result.name] = result
    label = "" if path.stem == golden.kind else f"{path.stem}: "
    return [replace(result, name=label + result.name) for result in worst.values()]


def _rank(result: Result) -> tuple[bool, float]:
    share = result.error / result.tolerance if result.tolerance else result.error
    return (not result.ok, share if math.isfinite(share) else math.inf)
