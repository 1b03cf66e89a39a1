"""A run that was stopped goes on, a window is redone, a video is extended: in this process, on the small model."""

from __future__ import annotations

import json
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.takes import Overrides, Redo
from tests.host.test_run import read, stopping

pytestmark = pytest.mark.usefixtures("host")

FRAMES = 30  # seven windows: 9 + 5 * 4 + 1
CALLS = 6  # a window: 2 steps of 3 branches, as one batch or one by one


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def make(machine, path, model=None, config=None, **wish):
    from infinitetalk.host.planned import Wish
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    path.mkdir(exist_ok=True)
    with folders(path):
        return render(machine.inputs(FRAMES, model=model), config or CONFIG, Wish(**wish))


@pytest.fixture(scope="module")
def whole(machine, tmp_path_factory):
    """An uninterrupted run."""
    with torch.inference_mode():
        return make(machine, tmp_path_factory.mktemp("whole")).path


def packets(path, kind):
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(**{kind: 0}) if packet.size]


def same(one, other):
    assert packets(one, "video") == packets(other, "video")
    assert packets(one, "audio") == packets(other, "audio")


def stopped_at(machine, path, call, **wish):
    import comfy.model_management as management

    model, calls = stopping(machine, call, lambda: management.interrupt_current_processing(True))
    with pytest.raises(management.InterruptProcessingException):
        make(machine, path, model, **wish)
    return len(calls)


@pytest.mark.parametrize("call", [1, 2, 4, 9, 14])
def test_a_stopped_run_goes_on_and_gives_the_same_file(machine, tmp_path, whole, call):
    before = stopped_at(machine, tmp_path, call)
    model, calls = stopping(machine, 0, lambda: None)
    done = make(machine, tmp_path, model)
    same(done.path, whole)
    windows = (call - 1) // 2
    assert before == call and len(calls) == 14 - 2 * windows  # finished windows are not sampled again
    again, calls = stopping(machine, 0, lambda: None)
    assert make(machine, tmp_path, again).path == done.path and calls == []


def test_afresh_samples_again_in_a_folder_of_its_own(machine, tmp_path, whole):
    first = make(machine, tmp_path)
    model, calls = stopping(machine, 0, lambda: None)
    second = make(machine, tmp_path, model, afresh=True)
    assert len(calls) == 14 and second.run != first.run
    same(second.path, whole)
    same(first.path, whole)


def test_a_damaged_segment_is_made_again_alone(machine, tmp_path, whole):
    done = make(machine, tmp_path)
    segment = done.path.parent / "windows" / "0003-first.mp4"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    model, calls = stopping(machine, 0, lambda: None)
    same(make(machine, tmp_path, model).path, whole)
    assert len(calls) == 2
    assert "0003-first.mp4 does not match its checksum" in (done.path.parent / "log.txt").read_text()


def test_a_damaged_final_file_is_joined_again_without_sampling(machine, tmp_path, whole):
    done = make(machine, tmp_path)
    done.path.write_bytes(done.path.read_bytes()[:-100])
    model, calls = stopping(machine, 0, lambda: None)
    same(make(machine, tmp_path, model).path, whole)
    assert calls == []


def test_other_inputs_are_another_run(machine, tmp_path):
    from infinitetalk.host.planned import Wish
    from infinitetalk.host.run import render
    from infinitetalk.sound import MemorySound
    from tests.host.machine import CONFIG, folders

    inputs = machine.inputs(9)
    other_text = [[machine.texts[0][0][0] + 1, {}]]
    louder = MemorySound(inputs.features.sound.read(0, 10**6)[None] * 2, inputs.features.sound.rate)
    picture = replace(inputs.reference, picture=1 - inputs.reference.picture)
    changes = [
        {},
        {"positive": other_text},
        {"features": replace(inputs.features, sound=louder)},
        {"features": replace(inputs.features, identity="another recording of the same length")},
        {"reference": picture},
        {"sigmas": inputs.sigmas * 0.9},
    ]
    wishes = [Wish(), Wish(name="two"), Wish(graph="other models")]
    with folders(tmp_path):
        runs = [render(replace(inputs, **change), CONFIG).run for change in changes]
        runs += [render(inputs, CONFIG, wish).run for wish in wishes[1:]]
        runs += [render(inputs, replace(CONFIG, **setting)).run for setting in ({"seed": 6}, {"colour": 0.5})]
        assert render(inputs, CONFIG).run == runs[0]
    assert len(set(runs)) == len(runs) == 10


def test_what_the_folder_of_a_run_holds(machine, tmp_path):
    done = make(machine, tmp_path, name="portrait")
    folder = done.path.parent
    assert folder.parent == tmp_path / "output" / "InfiniteTalk" / "runs" and done.run == folder.name
    assert done.run.startswith("portrait-")
    names = sorted(file.name for file in folder.iterdir())
    assert names == sorted(
        ["drift.json", "drift.png", "features-1.safetensors", "lock", "log.txt", "run.json", "video.json"]
        + ["video.mp4", "windows"]
    )
    head = json.loads((folder / "run.json").read_text())
    assert head["state"] == "finished" and len(head["plan"]) == 7 and head["settings"]["seed"] == 5
    assert head["plan"][6]["seconds"] == [29 / 25, 30 / 25]
    kinds = sorted(file.suffix for file in (folder / "windows").iterdir())
    assert kinds == [".json"] * 7 + [".mp4"] * 7 + [".safetensors"] * 7
    drift = json.loads((folder / "drift.json").read_text())
    assert drift["summary"]["windows"] == 7 and len(drift["windows"]) == 7
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_stopped_run_leaves_a_playable_file_and_says_so(machine, tmp_path, whole):
    stopped_at(machine, tmp_path, 9)
    (folder,) = (tmp_path / "output" / "InfiniteTalk" / "runs").iterdir()
    pictures, seconds, sound = read(folder / "unfinished.mp4")
    assert np.array_equal(pictures, read(whole)[0][: len(pictures)]) and len(pictures) == 9 + 3 * 4
    assert sound == pytest.approx(len(pictures) / 25, abs=1024 / 16000)
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"
    make(machine, tmp_path)
    assert not (folder / "unfinished.mp4").exists()


def test_keep_blend_and_resample(machine, tmp_path, whole):
    before = read(whole)[0].astype(int)
    first = make(machine, tmp_path)
    segments = first.path.parent / "windows"
    kept = {path.name: path.read_bytes() for path in segments.iterdir()}
    redone = {}
    for following, calls_expected in (
        ("keep", 2),
        ("blend", 2),
        ("resample", 6),
    ):  # the take of window 4 is that of "keep"
        model, calls = stopping(machine, 0, lambda: None)
        done = make(machine, tmp_path, model, redo=(Redo(4, Overrides(seed=99), following),))
        assert done.run == first.run and len(calls) == calls_expected
        redone[following] = read(done.path)[0].astype(int)
    assert {name: (segments / name).read_bytes() for name in kept} == kept  # the first takes are all there
    begin, end = 9 + 2 * 4, 9 + 3 * 4  # of the new frames of window 4
    for frames in redone.values():
        assert np.array_equal(frames[:begin], before[:begin]) and len(frames) == FRAMES
        assert np.abs(frames[begin:end] - before[begin:end]).mean() > 5
    assert np.array_equal(redone["keep"][end:], before[end:]) and np.array_equal(redone["blend"][end:], before[end:])
    assert np.abs(redone["resample"][end:] - before[end:]).mean() > 5
    jump = {name: np.abs(frames[end] - frames[end - 1]).mean() for name, frames in redone.items()}
    assert jump["blend"] < jump["keep"]
    same(make(machine, tmp_path).path, whole)  # a redo taken back costs nothing
    assert len({path.name for path in first.path.parent.glob("video*.mp4")}) == 4  # each of the videos is there


def test_the_seam_behind_a_redone_window_is_not_told(machine, tmp_path):
    done = make(machine, tmp_path)
    make(machine, tmp_path, redo=(Redo(4, Overrides(seed=99), "keep"),))
    told = json.loads((done.path.parent / "drift.json").read_text())["windows"]
    assert ["seam" in window for window in told] == [False, True, True, True, False, True, True]


def test_redos_that_differ_in_what_made_them_are_other_takes(machine, tmp_path):
    """The same tensors, from another graph: a ControlNet in a conditioning cannot be compared by itself."""
    text = [[machine.texts[0][0][0] * -1, {}]]
    first = make(machine, tmp_path, redo=(Redo(2, Overrides(positive=text, graph="one"), "keep"),))
    other = make(machine, tmp_path, redo=(Redo(2, Overrides(positive=text, graph="two"), "keep"),))
    assert first.run == other.run and first.path != other.path


def test_a_curve_of_the_same_name_is_another_run(machine, tmp_path):
    import folder_paths

    from infinitetalk.host.model_files import register_folders
    from infinitetalk.settings import CacheConfig
    from tests.host.machine import CONFIG

    register_folders()
    folder = tmp_path / "curves"
    folder.mkdir()
    known = folder_paths.folder_names_and_paths
    before = known["infinitetalk"]
    known["infinitetalk"] = ([str(folder)], before[1])
    try:
        make(machine, tmp_path, config=replace(CONFIG, cache=CacheConfig("calibrate")))
        cached = replace(CONFIG, cache=CacheConfig("magcache", 0.1, retention=0.0))
        first = make(machine, tmp_path, config=cached)
        (curve,) = folder.iterdir()
        curve.write_text(curve.read_text() + " ")
        assert make(machine, tmp_path, config=cached).run != first.run
    finally:
        known["infinitetalk"] = before


@pytest.mark.parametrize("live", [" hls ", "hls"])
def test_a_playlist_lies_in_the_runs_folder(machine, tmp_path, live):
    done = make(machine, tmp_path, live=live)
    assert (done.path.parent / "live" / "index.m3u8").read_text().rstrip().endswith("#EXT-X-ENDLIST")


def test_a_run_that_was_killed_after_its_join_is_told_finished(machine, tmp_path, whole):
    done = make(machine, tmp_path)
    folder = done.path.parent
    head = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(head | {"state": "running"}))
    (folder / "live.mp4").write_bytes(b"left")
    (folder / "drift.json").unlink()
    same(make(machine, tmp_path).path, whole)
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"
    assert (folder / "drift.json").exists() and not (folder / "live.mp4").exists()


def test_a_redo_may_change_prompt_reference_and_guidance(machine, tmp_path):
    from infinitetalk.settings import GuidanceConfig

    make(machine, tmp_path)
    videos = []
    text = [[machine.texts[0][0][0] * -1, {}]]
    picture = replace(
        machine.reference, latent=machine.reference.latent.flip(-1), picture=1 - machine.reference.picture
    )
    for change in (
        {"positive": text},
        {"reference": picture},
        {"guidance": GuidanceConfig(4.0, 1.0)},
        {"audio_scale": 6.0},
    ):
        model, calls = stopping(machine, 0, lambda: None)
        done = make(machine, tmp_path, model, redo=(Redo(2, Overrides(**change), "keep"),))
        assert len(calls) == 2
        videos.append(read(done.path)[0].astype(int)[9:13])
    for n, one in enumerate(videos):
        assert all(np.abs(one - other).mean() > 0.5 for other in videos[n + 1 :])


def test_a_redo_of_a_window_that_does_not_exist_touches_nothing(machine, tmp_path):
    done = make(machine, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in done.path.parent.rglob("*")}
    with pytest.raises(InputError, match="window 8 does not exist, the run has 7"):
        make(machine, tmp_path, redo=(Redo(8, Overrides(seed=1)),))
    assert {path: path.stat().st_mtime_ns for path in done.path.parent.rglob("*")} == before


def test_a_table_changes_windows_by_time(machine, tmp_path, whole):
    from infinitetalk.table import Row

    row = Row(0.5, 0.7, Overrides(seed=1234))  # frames 13 to 16: window 3 has its middle at 0.6 s
    done = make(machine, tmp_path, table=(row,))
    frames, before = read(done.path)[0].astype(int), read(whole)[0].astype(int)
    assert np.array_equal(frames[:13], before[:13]) and np.abs(frames[13:17] - before[13:17]).mean() > 5
    plan = json.loads((done.path.parent / "run.json").read_text())["plan"]
    assert [window["seed"] for window in plan] == [5, 6, 1234, 8, 9, 10, 11]


def test_a_cancel_while_the_video_is_joined_leaves_all_windows_playable(machine, tmp_path, whole, monkeypatch):
    import comfy.model_management as management

    from infinitetalk.host import run_outputs

    joined = run_outputs.join

    def cancelled(segments, path, sound):
        if path.name == "video.mp4":
            management.interrupt_current_processing(True)
        return joined(segments, path, sound)

    monkeypatch.setattr(run_outputs, "join", cancelled)
    with pytest.raises(management.InterruptProcessingException):
        make(machine, tmp_path)
    monkeypatch.undo()
    (folder,) = (tmp_path / "output" / "InfiniteTalk" / "runs").iterdir()
    assert np.array_equal(read(folder / "unfinished.mp4")[0], read(whole)[0])
    model, calls = stopping(machine, 0, lambda: None)
    same(make(machine, tmp_path, model).path, whole)
    assert calls == [] and not (folder / "unfinished.mp4").exists()
