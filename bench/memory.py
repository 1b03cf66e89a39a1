"""A whole window at the published sizes on a card of 24, 16, 12 and 8 GB: does it finish, how fast, at what peak?

python3 dev.py bench memory [--formats bf16 fp8 int8 q4] [--caps 24 16 12 8] [--speakers 1 2] [--settings] [--tiny]
One window of 81 frames at 640x640 through the Sampler node's own code, weights random (`memory_files.py`), each cell in
a process of its own (`memory_cell.py`). A cap is kept twice: this process holds the rest of the card, so that the
driver, the host's estimates and dynamic VRAM all find no more than on a real card; and torch's own allocator gets it
as its limit. --by reserve leaves the card free and starts the host with --reserve-vram instead: what the host asks the
driver then is too much, and dynamic VRAM's weights are outside torch's limit. q4 wants --gguf-pack, a checkout of the
ComfyUI-GGUF pack. --settings measures what each memory setting does at 12 GB (--settings-at), with three branches.
Rows go to FILE.jsonl after every cell and are read from there, so that several calls fill one table; --out FILE.md
gets the table. --tiny runs the same on a CPU at toy sizes without caps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.inprocess import ROOT

from .memory_files import FORMATS
from .memory_table import line_of, read_rows, write_page

GIB = 2**30
GB_CAPS = (24, 16, 12, 8)
OWN_RESERVE = 0.4  # GB that the host reserves of any card
LONGEST = 240  # seconds of a cell
SETTINGS = {
    "": (None, None),
    "adapter in RAM": ({"adapter": "in RAM"}, None),
    "VAE tiled": ({"vae": "tiled"}, None),
    "one by one": ({"branches": "one by one"}, None),
    "41 frames": (None, 41),
    "fit my card": ({"fit": True}, None),
}
GOALS = {("fp8", 16): 1.3, ("fp8", 12): None, ("q4", 8): None}  # most of the uncapped time, or only to finish


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench memory", description=__doc__.splitlines()[0])
    parser.add_argument("--formats", nargs="+", default=["bf16", "fp8", "q4"], choices=FORMATS)
    parser.add_argument("--caps", nargs="*", type=int, default=list(GB_CAPS), help="GB; no cap is always measured too")
    parser.add_argument("--speakers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--modes", nargs="+", default=["dynamic"], choices=("dynamic", "static"), help="of the host")
    parser.add_argument("--by", default="ballast", choices=("ballast", "reserve"))
    parser.add_argument("--branches-at", type=int, default=16, help="the cap that is also run with three branches")
    parser.add_argument("--settings", action="store_true", help="the settings instead of the caps")
    parser.add_argument("--settings-at", type=int, default=12, help="GB")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="of the settings")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--gguf-pack", type=Path)
    parser.add_argument("--folder", type=Path, help="where the model files are kept (default: made and removed)")
    parser.add_argument("--out", type=Path, default=Path("memory.md"))
    parser.add_argument("--minutes", type=float, default=9.0, help="no cell begins after that")
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


def cells_of(options: argparse.Namespace, form: str) -> list[dict]:
    """The cells of a format: without a cap first, as the others are compared with it."""

    def cell(cap, speakers, branches, mode, settings="") -> dict:
        return {"format": form, "cap": cap, "speakers": speakers, "branches": branches, "asked": mode, "by": options.by,
                "settings": settings}  # fmt: skip

    found = []
    for mode in options.modes:
        if options.settings:
            at, names = options.settings_at, options.only or SETTINGS
            found += [cell(0, 1, 3, mode), *(cell(at, 1, 3, mode, name) for name in names)]
            continue
        for speakers in options.speakers:
            found += [cell(cap, speakers, 1, mode) for cap in (0, *options.caps)]
        if options.branches_at in options.caps:
            found += [cell(cap, 1, 3, mode) for cap in (0, options.branches_at)]
    return found


class Ballast:
    """Holds so much of the card that a number of bytes is free; nothing on a CPU, or where the host reserves it."""

    def __init__(self, tiny: bool, by: str):
        self._held, self._tiny, self._reserves = [], tiny, by == "reserve"

    def leave(self, cap: int) -> tuple[int, float | None]:
        """Leave `cap` GB (0: everything): (the bytes that may be used now, what the host is to reserve in GB)."""
        if self._tiny:
            return 0, None
        import torch

        self._held.clear()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        if cap and self._reserves:
            return min(free, cap * GIB), total / GIB - cap + OWN_RESERVE
        if cap:
            self._held.append(torch.empty(max(0, free - cap * GIB), dtype=torch.uint8, device="cuda"))
        return torch.cuda.mem_get_info()[0], None


def measured(cell: dict, options: argparse.Namespace, folder: Path, left: tuple[int, float | None]) -> dict:
    """The outcome of a cell, from a process of its own."""
    from .full_size import FULL, TINY

    memory, frames = SETTINGS[cell["settings"]]
    size = TINY if options.tiny else FULL
    task = {
        **cell,
        "mode": cell["asked"],
        "memory": memory,
        "frames": size["frames"] if frames is None or options.tiny else frames,
        "size": size,
        "steps": options.steps,
        "tiny": options.tiny,
        "bytes": left[0],
        "reserve": left[1],
        "folder": str(folder),
        "gguf_pack": str(options.gguf_pack or ""),
    }
    row = {**cell, "frames": task["frames"], "pixels": size["pixels"], "steps": options.steps}
    command = [sys.executable, "-m", "bench.memory_cell", json.dumps(task)]
    # As the host's own start does; it has to be said before torch is imported.
    allocator = {} if options.tiny else {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **allocator}, capture_output=True, text=True, timeout=LONGEST
        )
        last = (done.stdout.splitlines() or [""])[-1]
        return {**row, **json.loads(last)}
    except subprocess.TimeoutExpired:
        return {**row, "finished": False, "error": f"over {LONGEST} s"}
    except ValueError:
        print(done.stderr[-3000:], file=sys.stderr)
        return {**row, "finished": False, "error": f"the process ended with {done.returncode}"}


def verdict(rows: list[dict]) -> int:
    """Say which goals are met, by the rows with one branch; 1 when one is missed."""
    missed = 0
    for (form, cap), most in GOALS.items():
        for row in (row for row in rows if (row["format"], row["cap"], row["branches"]) == (form, cap, 1)):
            same = [r for r in rows if (r["format"], r["cap"], r["branches"], r["speakers"], r["asked"], r["machine"])
                    == (form, 0, 1, row["speakers"], row["asked"], row["machine"])]  # fmt: skip
            ratio = (
                row["forward_s"] / same[0]["forward_s"] if row["finished"] and same and same[0]["finished"] else None
            )
            met = row["finished"] and (most is None or (ratio is not None and ratio <= most))
            missed += not met
            wanted = "finishes" if most is None else f"at most {most} times the uncapped forward"
            found = f"{ratio:.2f}" if ratio else ("finished" if row["finished"] else row["error"])
            print(f"goal {form} {cap} GB {row['speakers']} speakers {row['asked']}: {wanted}: {found}: "
                  f"{'met' if met else 'MISSED'}")  # fmt: skip
    return 1 if missed else 0


def main() -> int:
    options, started = parse(), time.monotonic()
    import torch

    from .full_size import FULL, TINY
    from .memory_files import make_files
    from .report import machine

    if not options.tiny and not torch.cuda.is_available():
        print("memory: this machine has no CUDA GPU; --tiny tries the harness on a CPU.")
        return 1
    if "q4" in options.formats and options.gguf_pack is None:
        print("memory: q4 needs --gguf-pack DIR, a checkout of ComfyUI-GGUF; it is left out.")
        options.formats.remove("q4")
    name, lines, ballast = machine(), options.out.with_suffix(".jsonl"), Ballast(options.tiny, options.by)
    print(f"memory on {name}", flush=True)
    for form in options.formats:
        with tempfile.TemporaryDirectory() as made:
            folder = options.folder or Path(made)
            start = time.monotonic()
            make_files(folder, form, TINY if options.tiny else FULL)
            print(f"files {form} made in {time.monotonic() - start:.0f} s", flush=True)
            for cell in cells_of(options, form):
                if time.monotonic() - started > 60 * options.minutes:
                    print(f"left out, no time: {cell}", flush=True)
                    continue
                row = {"machine": name, **measured(cell, options, folder, ballast.leave(cell["cap"]))}
                with open(lines, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                write_page(options.out, read_rows(lines))
                print(line_of(row), flush=True)
            ballast.leave(0)
    return 0 if options.tiny else verdict(read_rows(lines))


if __name__ == "__main__":
    sys.exit(main())
