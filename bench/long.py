"""Ten seconds, ten minutes and an hour of speech: does memory grow, does a window cost the same at the end?

python3 dev.py bench long
The path of a user's run with nothing left out but the transformer: the speech is decoded from a file, measured,
encoded by a wav2vec2 with the convolutions of the published one (and narrow layers, to fit the small adapter), the
windows are planned, decoded by the VAE, colour-corrected, measured, kept in the run's folder and joined. In place of
the transformer a sampler hands out latents at once. Each length runs in a process of its own, on one thread; what a
window costs is counted in seconds of the processor, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import replace
from pathlib import Path

from demo import small_model
from infinitetalk.config import WindowConfig
from tests.inprocess import ROOT, use_host

from .report import Report
from .stream import MALLOC

LENGTHS = (10, 600, 3600)  # seconds
GROWTH, GROWTH_MB = 1.1, 200  # the longest run's peak at most so many times the shortest's, and so many MB
FLAT = 5  # percent
RATE = 44_100
SIZE = 32  # pixels a side
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PARTS = 10  # of a run, of which the first whole and the last are compared


def write_speech(path: Path, seconds: int) -> None:
    """The sample speech, repeated, as a stereo WAV file of 16 bits."""
    import av
    import numpy as np

    resampler = av.AudioResampler("s16", "stereo", RATE)
    with av.open(str(ROOT / "demo" / "assets" / "speech.flac")) as source:
        pieces = [part.to_ndarray() for frame in source.decode(audio=0) for part in resampler.resample(frame)]
    once = np.concatenate(pieces, axis=1).reshape(-1, 2)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        left = seconds * RATE
        while left > 0:
            file.writeframes(once[:left].tobytes())
            left -= len(once)


def write_encoder(folder: Path) -> None:
    """A wav2vec2 with the published base model's convolutions and the small adapter's width."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    speech = small_model.SPEECH
    config = Wav2Vec2Config(
        hidden_size=speech["hidden"],
        num_hidden_layers=speech["layers"],
        num_attention_heads=speech["heads"],
        intermediate_size=speech["ffn"],
    )
    Wav2Vec2Model(config).save_pretrained(folder)


def measure(seconds: int) -> dict:
    """One run in this process: peak MB, seconds of each stage, seconds of every window."""
    use_host()
    import comfy.samplers
    import torch

    from infinitetalk.host import run
    from infinitetalk.host.audio_encoder import Wav2VecEncoder, encode
    from infinitetalk.run_folder import RunFolder
    from infinitetalk.sound_file import open_sound_file
    from tests.host.machine import CONFIG, Machine, folders

    models = ROOT / ".dev" / "small_model"
    small_model.make(models)
    window = WindowConfig()  # 81 and 9, as users run it
    machine = Machine(models, SIZE, window)
    spent, ends = {}, []  # seconds of stages; seconds of the processor at each window's end

    def handed_out(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(len(ends)))

    keep = RunFolder.finish

    def finish(*args, **kwargs):
        ends.append(time.process_time())
        return keep(*args, **kwargs)

    RunFolder.finish = finish  # a clock beside it, in this process only
    with tempfile.TemporaryDirectory() as name, folders(Path(name)), torch.inference_mode():
        folder = Path(name)
        write_speech(folder / "speech.wav", seconds)
        write_encoder(folder / "wav2vec2")
        start = time.perf_counter()
        sound = open_sound_file(folder / "speech.wav", folder / "temp" / "speech.f32")
        spent["decode the sound"] = time.perf_counter() - start
        start = time.perf_counter()
        features = encode(Wav2VecEncoder(str(folder / "wav2vec2")), sound, None)
        spent["encode the speech"] = time.perf_counter() - start
        before = _peak()
        inputs = replace(machine.inputs(9, 2), features=features, sampler=comfy.samplers.KSAMPLER(handed_out))
        start = time.perf_counter()
        done = run.render(inputs, replace(CONFIG, window=window))
        spent["the run"] = time.perf_counter() - start
        size = sum(file.stat().st_size for file in done.path.parent.rglob("*") if file.is_file()) / 1e6
    return {"peak": _peak(), "peak_audio": before, "spent": spent, "ends": ends, "disk": size}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def child(seconds: int) -> dict:
    """`measure` in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.long", "--seconds", str(seconds)],
        cwd=ROOT,
        env={**os.environ, **MALLOC, **ONE_THREAD},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def drifted(ends: list[float]) -> float:
    """How much longer a window of the run's last part takes than one of its second part, in percent."""
    steps = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    part = max(1, len(steps) // PARTS)
    early, late = statistics.median(steps[part : 2 * part]), statistics.median(steps[-part:])
    return 100 * (late / early - 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench long", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, help="run this length in this process and print JSON")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="seconds, the shortest first")
    options = parser.parse_args()
    if options.seconds:
        print(json.dumps(measure(options.seconds)))
        return 0
    report, results = Report("long"), {}
    for seconds in options.lengths:
        print(f"running {seconds} s of speech ...", flush=True)
        results[seconds] = result = child(seconds)
        for part, spent in result["spent"].items():
            report.figure(part, spent, "s")
        windows = len(result["ends"])
        report.figure("windows", windows, "")
        if windows > PARTS:
            report.figure("time per window, last tenth against the second", drifted(result["ends"]), "%", FLAT)
        report.figure("peak memory after the audio", result["peak_audio"], "MB")
        report.figure("peak memory", result["peak"], "MB")
        report.figure("disk", result["disk"], "MB")
    shortest, longest = options.lengths[0], options.lengths[-1]
    allowed = GROWTH * results[shortest]["peak"] + GROWTH_MB
    report.figure(f"peak memory, {longest} s of speech", results[longest]["peak"], "MB", allowed)
    return report.verdict()


if __name__ == "__main__":
    sys.exit(main())
