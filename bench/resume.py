"""A run at the published sizes that was stopped and went on in another process: is its video the same, bit for bit?

python3 dev.py bench resume [--windows 3] [--steps 1] [--tiny]
Random weights as in bench full_size. One process makes the whole run, and stops another one in its second window;
a second process, which has to load everything again, goes on with that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from infinitetalk.config import StreamConfig, WindowConfig
from infinitetalk.digests import file_digest
from infinitetalk.settings import GuidanceConfig
from tests.inprocess import ROOT, use_host

from .full_size import FULL, TINY, build, motion_frames
from .report import Report


def render(folder: Path, options: argparse.Namespace, inputs) -> dict:
    """Make or continue the run below `folder`: the video's digest and the seconds it took."""
    import torch

    from infinitetalk.host import run
    from tests.host.machine import folders

    size = TINY if options.tiny else FULL
    config = StreamConfig(WindowConfig(size["frames"], motion_frames(size)), GuidanceConfig())
    folder.mkdir(exist_ok=True)
    with folders(folder), torch.inference_mode():
        start = time.perf_counter()
        done = run.render(inputs, config)
    return {"digest": file_digest(done.path), "seconds": time.perf_counter() - start}


def stopped(folder: Path, options: argparse.Namespace, inputs) -> None:
    """Begin the run below `folder` and cancel it in its second window."""
    import comfy.model_management as management
    from comfy.patcher_extension import WrappersMP

    calls = []

    def forward(executor, x, *args, **kwargs):
        calls.append(x.shape[0])
        if len(list(folder.rglob("0001-first.json"))):
            management.interrupt_current_processing()
        return executor(x, *args, **kwargs)

    model = inputs.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "bench", forward)
    try:
        render(folder, options, replace(inputs, model=model))
    except management.InterruptProcessingException:
        return
    raise RuntimeError("the run was not stopped")


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench resume", description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--goes-on", type=Path, help="go on with the run in this folder and print JSON")
    options = parser.parse_args()
    use_host(cpu=options.tiny)
    import torch

    with torch.inference_mode():  # as the host runs nodes
        inputs = build(TINY if options.tiny else FULL, options.steps, options.windows)
    if options.goes_on:
        print(json.dumps(render(options.goes_on, options, inputs)))
        return 0
    report = Report("resume")
    with tempfile.TemporaryDirectory() as name:
        whole = render(Path(name) / "whole", options, inputs)
        stopped(Path(name) / "stopped", options, inputs)
        del inputs
        torch.cuda.empty_cache()
        again = [sys.executable, "-m", "bench.resume", *sys.argv[1:], "--goes-on", str(Path(name) / "stopped")]
        done = subprocess.run(again, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        other = json.loads(done.stdout.splitlines()[-1])
    report.figure("the whole run", whole["seconds"], "s")
    report.figure("its rest, in another process", other["seconds"], "s")
    report.figure("videos that differ", float(whole["digest"] != other["digest"]), "", 0)
    return report.verdict()


if __name__ == "__main__":
    sys.exit(main())
