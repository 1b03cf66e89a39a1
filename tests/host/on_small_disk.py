"""Run in a mount namespace of its own by test_hurt.py: python -m tests.host.on_small_disk FOLDER WHAT

FOLDER is a small tmpfs. WHAT is "full": the disk fills in the middle of a run and is then made larger; or "closed":
a run was stopped after some windows and it becomes read-only. Prints a line of JSON about what was seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from demo import small_model
from tests.inprocess import ROOT, use_host


def run(machine, path: Path, model=None) -> str:
    """The finished video's path, or the error's text."""
    from infinitetalk.errors import InputError
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    with folders(path):
        try:
            return str(render(machine.inputs(30, model=model), CONFIG).path)
        except InputError as error:
            return str(error)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def main() -> int:
    path, what = Path(sys.argv[1]), sys.argv[2]
    use_host()
    import torch

    from tests.host.machine import Machine
    from tests.host.test_resume import stopped_at
    from tests.host.test_run import stopping

    small_model.make(ROOT / ".dev" / "small_model")
    machine = Machine(ROOT / ".dev" / "small_model")
    with torch.inference_mode():
        if what == "closed":
            stopped_at(machine, path, 7)
            remount(path, "ro")
        first = run(machine, path)
        records = len(list(path.glob("output/InfiniteTalk/runs/*/windows/*.json")))
        left = [file.name for file in path.rglob("*") if ".part" in file.name or ".join" in file.name]
        remount(path, "rw,size=64m")
        model, calls = stopping(machine, 0, lambda: None)
        second = run(machine, path, model)
    print(json.dumps({"first": first, "records": records, "left": left, "second": second, "calls": len(calls)}))
    Path(sys.argv[3]).write_bytes(Path(second).read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
