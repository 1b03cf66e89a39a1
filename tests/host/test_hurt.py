"""What hurts a run: a disk that fills or closes, a second process, another clock, and two hundred windows in a row."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from demo.base import ASSETS
from infinitetalk_cli.client import HostError
from tests.host.server import ServerUnderTest, changed
from tests.host.test_resume import make, same, stopped_at
from tests.host.test_run import stopping
from tests.inprocess import ROOT

pytestmark = pytest.mark.usefixtures("host")

NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def may_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*NAMESPACE, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0


@pytest.fixture
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def whole(machine, tmp_path_factory):
    with torch.inference_mode():
        return make(machine, tmp_path_factory.mktemp("whole")).path


@pytest.mark.skipif(not may_mount(), reason="this machine lets nobody mount a small disk")
@pytest.mark.parametrize(("what", "size"), [("full", "200k"), ("closed", "8m")])
def test_a_disk_that_fills_or_closes_in_the_middle_loses_nothing(tmp_path, whole, what, size):
    disk, video = tmp_path / "disk", tmp_path / "second.mp4"
    disk.mkdir()
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    child = [sys.executable, "-m", "tests.host.on_small_disk", str(disk), what, str(video)]
    done = subprocess.run([*NAMESPACE, script, "sh", size, str(disk), *child], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    expected = "the disk is full" if what == "full" else "it cannot be written (Read-only file system)"
    assert expected in seen["first"] and len(seen["first"].splitlines()) == 2, seen
    assert 0 < seen["records"] < 7, seen
    assert seen["calls"] == 2 * (7 - seen["records"])  # what was recorded is not sampled again
    assert what == "closed" or seen["left"] == []  # nobody can remove a file from a closed disk
    same(video, whole)


def test_times_of_files_and_the_clock_decide_nothing(machine, tmp_path, whole, as_the_host_runs_nodes):
    """After the clock was set back, or far ahead: the same run is found, and the newest of two is the newest."""
    make(machine, tmp_path)
    stopped_at(machine, tmp_path, 9, afresh=True)
    runs = tmp_path / "output" / "InfiniteTalk" / "runs"
    first, second = sorted(runs.iterdir(), key=lambda run: json.loads((run / "run.json").read_text())["attempt"])
    for run, stamp, made in ((first, 4e9, "2096-10-02T07:06:40"), (second, 1e9, "2001-09-09T01:46:40")):
        head = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(head | {"made": made}))
        for file in run.rglob("*"):
            os.utime(file, (stamp, stamp))
    model, calls = stopping(machine, 0, lambda: None)
    done = make(machine, tmp_path, model)
    assert done.run == second.name and len(calls) == 14 - 2 * 4
    same(done.path, whole)


def test_a_second_host_does_not_write_the_same_run(comfyui, server, small_models, tmp_path):
    """Two hosts on one output folder, the same graph in both: one makes the video, the other says why it does not."""
    prompt = changed(server.workflow(), "LoadImage", image=server.put("face.png", (ASSETS / "face.png").read_bytes()))
    prompt = changed(prompt, "LoadAudio", audio=server.put("speech.flac", (ASSETS / "speech.flac").read_bytes()))
    prompt = changed(prompt, "InfiniteTalkReference", width=64, height=64)
    prompt = changed(prompt, "InfiniteTalkSampler", run_name="shared")
    shared = ["--output-directory", str(server.base / "output"), "--input-directory", str(server.base / "input")]
    with ServerUnderTest(comfyui, tmp_path / "second", small_models, arguments=shared) as other:
        first = json.loads(server.post("/prompt", {"prompt": prompt}))["prompt_id"]
        runs = server.base / "output" / "InfiniteTalk" / "runs"
        while not list(runs.glob("shared-*/run.json")):
            assert first not in server.get(f"/history/{first}"), "it ended before the other one was asked"
            time.sleep(0.01)
        with pytest.raises(HostError, match="is being made by another process right now"):
            other.queue(prompt)
        while first not in server.get(f"/history/{first}"):
            time.sleep(0.1)
        assert server.get(f"/history/{first}")[first]["status"]["status_str"] == "success"
        other.queue(prompt)  # finished now: the second one finds it
    assert len(list(runs.glob("shared-*"))) == 1


def test_two_hundred_windows_in_one_process_leave_nothing_behind(machine, tmp_path, as_the_host_runs_nodes):
    import comfy.samplers

    from infinitetalk.config import WindowConfig
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    process, seen = psutil.Process(), []

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        seen.append((process.memory_info().rss / 1e6, process.num_fds() if os.name == "posix" else 0))
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(len(seen)))

    inputs = replace(machine.inputs(9 + 4 * 199), sampler=comfy.samplers.KSAMPLER(sample))
    with folders(tmp_path):
        done = render(inputs, replace(CONFIG, window=WindowConfig(9, 5)))
    assert len(seen) == 200 and done.path.is_file()
    memory, handles = zip(*seen, strict=True)
    assert max(handles[20:]) <= max(handles[:20])
    assert max(memory[150:]) < max(memory[20:50]) + 20, (memory[20], memory[100], memory[199])


def test_the_folder_of_a_finished_run_can_be_moved_to_another_output(machine, tmp_path, whole, as_the_host_runs_nodes):
    first = make(machine, tmp_path / "one")
    target = tmp_path / "two" / "output" / "InfiniteTalk" / "runs"
    target.mkdir(parents=True)
    shutil.move(first.path.parent, target)
    model, calls = stopping(machine, 0, lambda: None)
    same(make(machine, tmp_path / "two", model).path, whole)
    assert calls == [] and not list(Path(tmp_path / "one").rglob("video.mp4"))
