"""What a node and the command line tell about the runs: a list, one run, and that one is gone.

Knows runs.py and words.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .errors import InputError
from .run_json import read_head, read_json
from .run_names import find, runs_root
from .runs import done_windows, files_of, list_runs, numbers, read_run, remove
from .sizes import size_text
from .timeline import clock

ACTIONS = ("list", "show", "remove")

_KINDS = (
    ("features", re.compile(r"features-\d+\.safetensors")),
    ("windows", re.compile(r"windows/.*\.mp4")),
    ("motion states", re.compile(r"windows/.*\.safetensors")),
    ("finished videos", re.compile(r"video(-[0-9a-f]{8})?\.mp4")),
    ("live video", re.compile(r"live(\.mp4|/.*)")),
)


def check_action(action: str, run: str) -> None:
    """Refuse an unknown action, and one that needs a run without one. Raises InputError."""
    if action not in ACTIONS:
        raise InputError(f"action: {action!r} is unknown.", f"Use one of {', '.join(ACTIONS)}.")
    if action != "list" and not run:
        raise InputError(f"run: {action} needs a run, and none is given.", "Write its folder or its name; list tells.")


def act(output: str | Path, action: str, run: str = "", confirm: bool = False) -> str:
    """Do one of ACTIONS over the runs below the host's output folder; the text for the user. Raises InputError."""
    check_action(action, run)
    if action == "list":
        return list_text(output)
    if action == "show":
        return show_text(find(output, run))
    if not confirm:
        info = read_run(find(output, run, exact=True))
        raise InputError(
            f"run: {info.folder} would be removed with all its files, {size_text(info.bytes)}.",
            "Switch confirm on (on the command line: --yes) to remove it for good.",
        )
    gone = remove(output, run)
    return f"Removed {gone.folder}: {size_text(gone.bytes)} are free again."


def list_text(output: str | Path) -> str:
    """A table of all runs, and what they take on the disk."""
    infos = list_runs(output)
    if not infos:
        return f"There are no runs in {runs_root(output)}."
    rows = [("run", "state", "windows", "length", "size", "made")]
    rows += [
        (
            info.folder,
            info.state,
            f"{info.windows_done}/{info.windows or '?'}",
            clock(info.seconds) if info.windows else "?",
            size_text(info.bytes),
            info.made[:16].replace("T", " "),
        )
        for info in infos
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = f"{len(infos)} run{'s' * (len(infos) != 1)}, {size_text(sum(info.bytes for info in infos))}"
    return "\n".join([*lines, f"{total} in {runs_root(output)}"])


def show_text(path: Path) -> str:
    """Everything about one run: state, settings, what is missing, the disk space by kind, and the drift."""
    info, head = read_run(path), read_head(path)
    lines = [f"{info.folder}: {info.state}", f"folder: {path}"]
    if head is None:
        lines.append("run.json is missing or damaged: the run cannot go on until it is put back from a copy.")
        lines.append(f"windows: {info.windows_done} have a record")
    else:
        lines.append(f"made: {info.made}")
        lines.append(f"windows: {info.windows_done} of {info.windows}, {clock(info.seconds)}")
        missing = sorted(set(range(1, info.windows + 1)) - done_windows(path))
        if missing:
            lines.append(f"missing: {numbers(missing)}")
        lines += _section("made with", head.get("made_with"))
        lines += _section("settings", head.get("settings"))
    lines.append(f"disk: {size_text(info.bytes)}")
    lines += [f"  {kind}: {size_text(count)}" for kind, count in _by_kind(path).items()]
    drift = (read_json(path / "drift.json") or {}).get("summary")
    if isinstance(drift, dict) and isinstance(drift.get("text"), str):
        lines.append(drift["text"])
    return "\n".join(lines)


def _section(title: str, values: Any) -> list[str]:
    if not isinstance(values, dict) or not values:
        return []
    shown = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values.values())
    return [f"{title}:", *(f"  {key}: {value}" for key, value in zip(values, shown, strict=True))]


def _by_kind(path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, count in files_of(path):
        kind = next((kind for kind, pattern in _KINDS if pattern.fullmatch(name)), "others")
        found[kind] = found.get(kind, 0) + count
    return {kind: found[kind] for kind in (*(kind for kind, _ in _KINDS), "others") if kind in found}
