"""The real host is killed with SIGKILL at twenty seeded moments; queued again, each run gives the same video."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from demo.base import ASSETS
from tests.host.server import ServerUnderTest, changed, read_video

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL to a process group")

SEED = 20
SECONDS = 4  # of speech: eight windows of 17 frames, 5 of them motion frames
KINDS = ["any time"] * 8 + ["inside a segment"] * 4 + ["before the record"] * 4 + ["inside the join"] * 4
LONGEST = 120  # seconds until a moment must have come


class Killed(ServerUnderTest):
    """A host that may be dead when the block ends."""

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def runs(self) -> Path:
        return self.base / "output" / "InfiniteTalk" / "runs"


def workflow(server: Killed, name: str) -> dict:
    sound = np.random.default_rng(1).normal(0, 0.1, 16_000 * SECONDS)
    prompt = changed(server.workflow(), "LoadImage", image=server.put("face.png", (ASSETS / "face.png").read_bytes()))
    prompt = changed(prompt, "LoadAudio", audio=server.put_speech("noise.wav", sound))
    prompt = changed(prompt, "InfiniteTalkReference", width=64, height=64, window_frames=17)
    prompt = changed(prompt, "InfiniteTalkSchedule", steps=1)
    return changed(prompt, "InfiniteTalkSampler", frames_per_window=17, motion_frames=5, run_name=name)


def folder_of(server: Killed, name: str) -> Path:
    """The run's folder, as soon as it is there."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        found = list(server.runs().glob(f"{name}-*"))
        if found and (found[0] / "run.json").exists():
            return found[0]
        time.sleep(0.001)
    raise AssertionError(f"no run began:\n{server.log_tail()}")


def wait_for(moment) -> None:
    deadline = time.monotonic() + LONGEST
    while not moment():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.0002)  # without it this loop takes a core from the host, whose threads then wait for each other


def strike(server: Killed, kind: str, folder: Path, chance: random.Random, whole: float) -> bool:
    """Kill the host at a moment of the wanted kind; whether the folder shows that it was that moment."""
    window = folder / "windows" / f"{chance.randint(1, 8):04d}-first"
    if kind == "any time":
        time.sleep(chance.uniform(0, whole))
        server.kill()
        return True
    if kind == "inside a segment":
        part = Path(f"{window}.part.mp4")
        wait_for(lambda: part.exists() or window.with_suffix(".json").exists())
        server.kill()
        return part.exists()
    if kind == "before the record":
        wait_for(window.with_suffix(".mp4").exists)
        server.kill()
        return not window.with_suffix(".json").exists()
    part = folder / "video.join.mp4"
    wait_for(lambda: part.exists() or (folder / "video.json").exists())
    server.kill()
    return part.exists() and not (folder / "video.mp4").exists()


def test_twenty_kills_change_nothing(comfyui, small_models, tmp_path):
    chance = random.Random(SEED)
    server = Killed(comfyui, tmp_path / "base", small_models).__enter__()
    try:
        history = server.queue(workflow(server, "whole"))
        folder = folder_of(server, "whole")
        whole = read_video(folder / "video.mp4")
        saved = read_video(server.video(history, tmp_path))
        assert all(np.array_equal(one, other) for one, other in zip(saved, whole, strict=True))
        spent = (folder / "video.json").stat().st_mtime - (folder / "lock").stat().st_mtime
        hits: dict[str, int] = {}
        for number, kind in enumerate(chance.sample(KINDS, len(KINDS))):
            name = f"killed {number}"
            prompt = workflow(server, name)
            server.post("/prompt", {"prompt": prompt})
            folder = folder_of(server, name)
            hits[kind] = hits.get(kind, 0) + strike(server, kind, folder, chance, spent)
            there = {path.name: path.stat().st_mtime_ns for path in (folder / "windows").glob("*.json")}
            server = Killed(comfyui, tmp_path / "base", small_models).__enter__()
            server.queue(prompt)
            video = read_video(folder / "video.mp4")
            assert all(np.array_equal(one, other) for one, other in zip(video, whole, strict=True)), (number, kind)
            after = {path.name: path.stat().st_mtime_ns for path in (folder / "windows").glob("*.json")}
            assert len(after) == 8 and there.items() <= after.items(), "a finished window was made again"
            assert not list(folder.rglob("*.part*")) and not list(folder.glob("*.join.*")), sorted(folder.rglob("*"))
        print(hits)
        assert hits["any time"] == 8 and all(hits.get(kind, 0) for kind in KINDS), hits
    finally:
        server.stop()
