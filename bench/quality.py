"""How well the talking model talks: lip-sync, faces, colours, cameras, speakers and speed-ups, measured in the pixels.

python3 dev.py bench quality [--rows sync,two] [--clips 12] [--models DIR] [--table] [--plots DIR]
Every clip is made by the Sampler node's own code in a real ComfyUI on the CPU, of faces and voices that no training has
seen, and measured as a finished video. All rows take about two hours on two cores; each adds its figures to
results.json in .dev/quality/WEIGHTS (a folder for each set of weights) when it is done, and what was made stays there
too, so a bench that was stopped goes on where it was, and a measure that was changed only measures again. --table
prints the rows that are there, --plots draws them. The status is that of the goals among the rows shown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from demo.talking_model import FILES, MODELS
from tests.inprocess import ROOT

from .human_speech import NotFetched
from .quality_studio import place
from .quality_table import judge, missed, table
from .report import machine

WORK = ROOT / ".dev" / "quality"
CLIPS = 12
ROWS = {  # name -> (module, function)
    "drawn": ("quality_rows", "drawn"),
    "vae": ("quality_rows", "vae"),
    "sync": ("quality_rows", "sync"),
    "silence": ("quality_rows", "silence"),
    "human": ("quality_rows", "human"),
    "two": ("quality_rows", "two"),
    "idle": ("quality_rows", "idle"),
    "three": ("quality_rows", "three"),
    "minute_drawn": ("quality_long", "minute_drawn"),
    "minute": ("quality_long", "minute"),
    "minute_uncorrected": ("quality_long", "minute_uncorrected"),
    "dubbing": ("quality_long", "dubbing"),
    "settings": ("quality_settings", "settings"),
    "caches": ("quality_settings", "caches"),
    "weights": ("quality_settings", "weights"),
    "window": ("quality_settings", "window"),
    "gate": ("quality_rows", "gate"),
    "anchor": ("quality_long", "anchor"),
    "pan_and_zoom": ("quality_long", "pan_and_zoom"),
}


def measure(name: str, studio, voices, clips: int) -> dict:
    """One row's figures, or why it was not run."""
    import importlib

    import torch

    module, function = ROWS[name]
    begun, spent = time.perf_counter(), time.process_time()
    try:
        with torch.inference_mode():  # as the host runs nodes
            figures = getattr(importlib.import_module(f"bench.{module}"), function)(studio, voices, clips)
    except NotFetched as error:
        figures = {"not_run": str(error)}
    return {
        **figures,
        "machine": machine(),
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - spent,
        "model": studio.digest,
    }


def load(path: Path) -> dict:
    """The results of a file, none where it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(path: Path, results: dict) -> None:
    """Write the results whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="dev.py bench quality", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="", help=f"which, with commas between: {', '.join(ROWS)}; default: all")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of a row; those that cost more take a share of it")
    parser.add_argument("--models", type=Path, default=MODELS, help="a models folder with the talking model")
    parser.add_argument("--work", type=Path, default=WORK, help="where clips and results are kept")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw what is there")
    options = parser.parse_args()
    options.rows = [name for name in options.rows.split(",") if name] or list(ROWS)
    if options.clips < 1:
        parser.error(f"--clips: {options.clips} is less than 1; give a number of clips")
    lost = [name for name in FILES if not (options.models / name).is_file()]
    if lost:
        parser.error(f"--models: {options.models} has no {lost[0]}; give a folder like demo/models")
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return options


def main() -> int:
    options = parse()
    path = place(options.work, options.models) / "results.json"
    results = load(path)
    if not (options.table or options.plots):
        from .quality_cases import Voices
        from .quality_studio import Studio

        studio, voices = Studio(options.models, options.work), Voices.of(options.work)
        for name in options.rows:
            print(f"{name} ...", flush=True)
            found = measure(name, studio, voices, options.clips)
            results = {**load(path), name: found}
            save(path, results)
            print(*judge(name, found), sep="\n", flush=True)
    shown = {name: results[name] for name in options.rows if name in results}
    if options.plots:
        from .quality_plots import draw

        drawn = draw(shown, options.plots) or ["nothing to draw: of sync, minute and settings no row is there"]
        print(*drawn, sep="\n")
    print(table(shown))
    wrong = missed(shown)
    met = "every goal that was measured is met" if shown else "nothing is measured yet"
    print(f"quality: missed {', '.join(wrong)}" if wrong else f"quality: {met}")
    return 1 if wrong or not shown else 0


if __name__ == "__main__":
    sys.exit(main())
