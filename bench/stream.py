"""What a window of the small model costs on this machine, part by part, and whether memory grows with length.

python3 dev.py bench stream
Runs the Sampler node's own code. The parts are timed from outside, around the calls that do the work;
the rest is everything else of the run: plan, progress, colour, conversion, waiting for the encoder.
Each length runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from demo import small_model
from infinitetalk.config import WindowConfig
from tests.inprocess import ROOT, use_host

from .report import Report

LENGTHS = (2, 8, 32)  # windows
REST_SHARE = 0.05
GROWTH = 0.05
# glibc raises its threshold for large blocks as they are freed and then keeps freed memory: peaks wander by 100 MB
# from run to run. With a fixed threshold they show what the program holds.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "2097152"}
STEPS = 4
SIZE = 64  # pixels a side
WINDOW = WindowConfig()  # 81 and 9, as users run it


class Clock:
    """Seconds per part, measured around functions."""

    def __init__(self, synchronize: bool = False):
        self.seconds: dict[str, float] = defaultdict(float)
        self._synchronize = synchronize  # with a GPU: its work belongs to the part that asked for it

    def around(self, part: str, function):
        def timed(*args, **kwargs):
            self._wait()
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._wait()
                self.seconds[part] += time.perf_counter() - start

        return timed

    def _wait(self) -> None:
        if self._synchronize:
            import torch

            torch.cuda.synchronize()


def measure(windows: int) -> dict:
    """One run of `windows` windows in this process: seconds per part, whole seconds, peak MB."""
    use_host()
    import torch
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.host import denoise, run, vae
    from tests.host.machine import CONFIG, Machine, folders

    models = ROOT / ".dev" / "small_model"
    small_model.make(models)
    machine, clock = Machine(models, SIZE, WINDOW), Clock()
    config = replace(CONFIG, window=WINDOW)
    model = machine.model.clone()
    model.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL,
        "bench",
        lambda executor, *args, **kwargs: clock.around("DiT", executor)(*args, **kwargs),
    )
    frames = WINDOW.frames + (windows - 1) * (WINDOW.frames - WINDOW.motion)
    inputs = machine.inputs(frames, STEPS, model)
    vae.WanVae.encode = clock.around("VAE", vae.WanVae.encode)
    vae.WanVae.decode = clock.around("VAE", vae.WanVae.decode)
    denoise.window_tokens = clock.around("audio", denoise.window_tokens)
    with tempfile.TemporaryDirectory() as folder, folders(Path(folder)), torch.inference_mode():
        start = time.perf_counter()
        run.render(inputs, config)
        whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {"parts": dict(clock.seconds), "whole": whole, "peak": peak}


def child(windows: int) -> dict:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "bench.stream", "--windows", str(windows)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **MALLOC},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench stream", description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, help="run this many windows in this process and print JSON")
    options = parser.parse_args()
    if options.windows:
        print(json.dumps(measure(options.windows)))
        return 0
    report = Report("stream")
    results = {}
    for windows in LENGTHS:
        print(f"running {windows} windows ...", flush=True)
        results[windows] = child(windows)
    for windows, result in results.items():
        parts = result["parts"]
        rest = result["whole"] - sum(parts.values())
        print(f"{windows} windows, {STEPS} steps, three branches")
        for part, seconds in parts.items():
            report.figure(f"{part}, per window", seconds / windows, "s")
        report.figure("rest, per window", rest / windows, "s")
        # A short run's rest is mostly starting and ending; the goal is about the loop.
        report.figure(
            "rest, share of the whole", 100 * rest / result["whole"], "%", 100 * REST_SHARE if windows > 2 else None
        )
        report.figure("peak memory", result["peak"], "MB")
    base = results[LENGTHS[0]]["peak"]
    for windows in LENGTHS[1:]:
        growth = 100 * (results[windows]["peak"] / base - 1)
        report.figure(f"peak memory, {windows} windows against {LENGTHS[0]}", growth, "%", 100 * GROWTH)
    return report.verdict()


if __name__ == "__main__":
    sys.exit(main())
