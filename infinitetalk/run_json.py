"""What the JSON files of a run's folder say, read with distrust: a file that is not as we write it says nothing.

Knows paths and plain values only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .disk import write_whole
from .run_names import is_link

FORMAT = 1
STATES = ("running", "stopped", "finished")
LARGEST = 64_000_000  # bytes of a run.json; a plan of ten hours has 2 million

_HEAD = {
    "run": str,
    "identity": str,
    "inputs": str,
    "maths": int,
    "attempt": int,
    "state": str,
    "made": str,
    "made_with": dict,
    "plan": list,
}


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None for what is missing, too large, a link or anything else."""
    try:
        if is_link(path) or path.stat().st_size > LARGEST:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, whole or not at all. Raises OSError."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def read_head(path: Path) -> dict[str, Any] | None:
    """run.json of a run's folder, or None when it is missing, damaged, or that of another folder."""
    head = read_json(path / "run.json")
    if head is None or any(not isinstance(head.get(key), kind) for key, kind in _HEAD.items()):
        return None
    if head.get("format") != FORMAT or head["run"] != path.name or head["state"] not in STATES:
        return None
    for number, window in enumerate(head["plan"], 1):
        if not isinstance(window, dict) or window.get("window") != number or not isinstance(window.get("keep"), int):
            return None
    return head


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record with a checksum of itself, by which `unbroken` knows it."""
    return {**record, "checksum": _checksum(record)}


def unbroken(record: dict[str, Any] | None) -> bool:
    """Whether a record is as `sealed` made it."""
    return record is not None and record.get("checksum") == _checksum(record)


def _checksum(record: dict[str, Any]) -> str:
    told = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
