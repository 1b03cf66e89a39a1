"""The small workflows through a real ComfyUI in each of its memory modes: do they finish, and with the same pictures?

python3 dev.py bench host_modes [-- host arguments]
A source video and two speakers, on the small model: what differs between the modes is where weights and pictures
lie. Needs a GPU to say anything; on a CPU all modes are one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from demo import small_model
from demo.base import ASSETS
from demo.commands import fit_speech
from tests.host.server import ServerUnderTest, read_video
from tests.host.small_workflow import for_small_model

from .report import Report

MODES = {
    "default": [],
    "without dynamic VRAM": ["--disable-dynamic-vram"],  # the next reference is encoded beside the sampling
    "frames on the GPU in fp16": ["--gpu-only", "--fp16-intermediates"],  # the audio encoder runs on the GPU too
    "weights in RAM": ["--novram"],
    "weights in RAM, without dynamic VRAM": ["--lowvram", "--disable-dynamic-vram"],
}
NAMES = ("infinitetalk_video_dubbing", "infinitetalk_two_speakers")
SAME = ["--force-fp32", "--fp32-vae"]  # left alone, the host computes in another type where weights stay in RAM
SAME_BITS = 0.0  # mean difference of 255 where only the place of the weights differs


def main() -> int:
    extra = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    report, first = Report("host_modes"), {}
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        small_model.make(models)
        for mode, arguments in MODES.items():
            if arguments and not torch.cuda.is_available():
                continue
            with ServerUnderTest(
                Path(os.environ["COMFYUI_PATH"]), Path(folder) / "base", models, [*arguments, *SAME, *extra]
            ) as server:
                fit_speech(ASSETS / "speech.flac", 2.0, server.base / "input" / "workflow.wav")
                for name in NAMES:
                    server.queue(for_small_model(server.workflow(name)))  # the first run loads
                    prompt = for_small_model(server.workflow(name))
                    next(entry for entry in prompt.values() if "seed" in entry["inputs"])["inputs"]["seed"] = 7
                    start = time.perf_counter()
                    frames, _ = read_video(server.video(server.queue(prompt), Path(folder)))
                    report.figure(f"{name}, {mode}", time.perf_counter() - start, "s")
                    frames = frames.astype(np.float32)
                    apart = float(np.abs(frames - first.setdefault(name, frames)).mean())
                    goal = None if "--gpu-only" in arguments else SAME_BITS
                    report.figure("  mean difference from the default, of 255", apart, "", goal)
    return report.verdict()


if __name__ == "__main__":
    sys.exit(main())
