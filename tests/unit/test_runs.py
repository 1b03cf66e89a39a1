"""Kept runs: listed, shown and removed, with real folders, links, damage and a process that holds one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infinitetalk.errors import InputError
from infinitetalk.run_names import runs_root
from infinitetalk.runs import done_windows, finished_video, in_use, list_runs, remove
from infinitetalk.runs_text import act, check_action

HASH = "0123456789abcdef"
no_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


def make_run(output: Path, name: str = "talk", windows: int = 3, done: int = 3, **head) -> Path:
    """A run's folder as run_folder.py leaves it, with small files."""
    path = runs_root(output) / f"{name}-{HASH}"
    (path / "windows").mkdir(parents=True)
    plan = [
        {"window": n, "start": 72 * (n - 1), "end": 72 * n + 9, "motion": 9, "keep": 75, "seed": n}
        for n in range(1, windows + 1)
    ]
    whole = {
        "format": 1,
        "run": path.name,
        "name": name,
        "identity": HASH * 4,
        "inputs": HASH * 4,
        "maths": 1,
        "attempt": 1,
        "state": "finished" if done == windows else "stopped",
        "made": "2025-11-02T10:11:12+0000",
        "made_with": {"torch": "2.9", "device": "cpu"},
        "settings": {"seed": 42, "guidance": {"text": 5.0, "audio": 4.0}},
        "plan": plan,
        **({"video": "video.mp4"} if done == windows and head.get("state", "finished") == "finished" else {}),
        **head,
    }
    (path / "run.json").write_text(json.dumps(whole), encoding="utf-8")
    (path / "log.txt").write_text("began\n")
    (path / "features-1.safetensors").write_bytes(b"f" * 2_000_000)
    for n in range(1, done + 1):
        for take in ("first", "0a1b2c3d")[: 1 + (n == 1)]:
            (path / "windows" / f"{n:04d}-{take}.mp4").write_bytes(b"v" * 1_000_000)
            (path / "windows" / f"{n:04d}-{take}.safetensors").write_bytes(b"m" * 500_000)
            (path / "windows" / f"{n:04d}-{take}.json").write_text("{}")
    if done == windows:
        (path / "video.mp4").write_bytes(b"v" * 3_000_000)
    return path


@pytest.fixture
def held():
    """hold(path): lets another process take a run's lock until the test ends."""
    processes = []

    def hold(path: Path) -> None:
        code = (
            "import filelock, sys\nlock = filelock.FileLock(sys.argv[1])\nlock.acquire()\nprint('held', flush=True)\n"
            "sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"

    yield hold
    for process in processes:
        process.communicate("")


def test_no_runs_are_listed_and_nothing_is_made(tmp_path):
    assert list_runs(tmp_path) == [] and list(tmp_path.iterdir()) == []
    assert act(tmp_path, "list") == f"There are no runs in {runs_root(tmp_path)}."


def test_runs_are_listed_with_state_progress_length_and_space(tmp_path):
    make_run(tmp_path, "b", done=3, made="2025-01-01T00:00:00+0000")
    make_run(tmp_path, "a", windows=1300, done=1)
    first, second = list_runs(tmp_path)
    assert (first.folder, first.state, first.windows_done, first.windows) == (f"b-{HASH}", "finished", 3, 3)
    assert first.seconds == 9.0 and 11_000_000 < first.bytes < 11_010_000
    assert (second.state, second.windows_done, second.windows) == ("stopped", 1, 1300)
    text = act(tmp_path, "list")
    assert text.splitlines()[1].split() == [
        first.folder,
        "finished",
        "3/3",
        "0:09",
        "11.0",
        "MB",
        "2025-01-01",
        "00:00",
    ]
    assert "1/1300" in text and "1:05:00" in text and text.splitlines()[-1].startswith("2 runs, 16.")


def test_running_is_believed_only_while_a_process_holds_the_run(tmp_path, held):
    path = make_run(tmp_path, done=1, state="running")
    assert list_runs(tmp_path)[0].state == "stopped" and not (path / "lock").exists()
    held(path)
    assert in_use(path) and list_runs(tmp_path)[0].state == "running"


DAMAGE = {
    "nothing": "",
    "half": '{"format": 1, "run": "ta',
    "a list": "[]",
    "other run": json.dumps({"format": 1, "run": "x", "state": "finished", "made": "", "plan": []}),
    "no plan": json.dumps({"format": 1, "run": f"talk-{HASH}", "state": "finished", "made": ""}),
    "odd plan": json.dumps({"format": 1, "run": f"talk-{HASH}", "state": "finished", "made": "", "plan": [1]}),
    "odd state": json.dumps({"format": 1, "run": f"talk-{HASH}", "state": "x", "made": "", "plan": []}),
    "later format": json.dumps({"format": 2, "run": f"talk-{HASH}", "state": "finished", "made": "", "plan": []}),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_listed_as_such_and_can_be_shown_and_removed(damage, tmp_path):
    path = make_run(tmp_path)
    make_run(tmp_path, "whole")
    (path / "run.json").write_text(DAMAGE[damage])
    info = list_runs(tmp_path)[-1]
    assert (info.folder, info.state, info.windows_done, info.windows) == (path.name, "damaged", 3, 0)
    assert "damaged" in act(tmp_path, "list") and "missing or damaged" in act(tmp_path, "show", "talk")
    with pytest.raises(InputError, match="run.json cannot be read"):
        finished_video(path)
    assert remove(tmp_path, "talk").folder == path.name
    assert [run.folder for run in list_runs(tmp_path)] == [f"whole-{HASH}"]


def test_a_run_without_run_json_or_of_odd_bytes_is_damaged_too(tmp_path):
    path = make_run(tmp_path)
    (path / "run.json").write_bytes(b"\xff\xfe\x00{")
    assert list_runs(tmp_path)[0].state == "damaged"
    (path / "run.json").unlink()
    assert list_runs(tmp_path)[0].state == "damaged"


def test_a_run_is_shown_with_settings_missing_windows_space_by_kind_and_drift(tmp_path):
    path = make_run(tmp_path, windows=9, done=4)
    (path / "windows" / "0002-first.json").unlink()
    (path / "drift.json").write_text(json.dumps({"summary": {"windows": 4, "text": "Drift: little."}}))
    (path / "live").mkdir()
    (path / "live" / "index.m3u8").write_bytes(b"x" * 100_000)
    text = act(tmp_path, "show", "talk")
    for part in (
        f"{path.name}: stopped",
        f"folder: {path}",
        "windows: 3 of 9, 0:27",
        "missing: windows 2, 5-9",
        "device: cpu",
        "seed: 42",
        'guidance: {"text": 5.0, "audio": 4.0}',
        "features: 2.0 MB",
        "windows: 5.0 MB",
        "motion states: 2.5 MB",
        "live video: 100.0 kB",
        "Drift: little.",
    ):
        assert part in text, text
    assert "finished video" not in text


def test_the_video_of_a_run_that_is_not_finished_is_refused_with_what_is_missing(tmp_path):
    path = make_run(tmp_path, windows=12, done=10)
    (path / "windows" / "0003-first.json").unlink()
    with pytest.raises(InputError, match="windows 3, 11-12 of 12 are missing"):
        finished_video(path)
    whole = make_run(tmp_path, "whole")
    assert finished_video(whole) == whole / "video.mp4"
    (whole / "windows" / "0003-first.json").unlink()
    with pytest.raises(InputError, match="window 3 of 3 is missing"):
        finished_video(whole)
    for name in ("joined", "gone"):
        other = make_run(tmp_path, name, state="running" if name == "joined" else "finished")
        if name == "gone":
            (other / "video.mp4").unlink()
        with pytest.raises(InputError, match="its video is not joined yet"):
            finished_video(other)


def test_remove_takes_one_run_and_leaves_the_others(tmp_path):
    make_run(tmp_path, "talk")
    other = make_run(tmp_path, "talk2")
    before = sorted(file.relative_to(other) for file in other.rglob("*"))
    with pytest.raises(
        InputError, match=r"talk-0123456789abcdef would be removed with all its files, 11\.0 MB"
    ) as asked:
        act(tmp_path, "remove", "talk")
    assert "confirm" in asked.value.remedy and len(list_runs(tmp_path)) == 2
    assert act(tmp_path, "remove", "talk", confirm=True) == f"Removed talk-{HASH}: 11.0 MB are free again."
    assert os.listdir(runs_root(tmp_path)) == [other.name]
    assert sorted(file.relative_to(other) for file in other.rglob("*")) == before


@pytest.mark.parametrize("name", ["..", "../..", "/", "", "tal", "nothing", "x" * 300, "talk/windows", ".removed-x"])
def test_remove_refuses_what_is_not_exactly_one_run(name, tmp_path):
    (tmp_path / "precious").write_text("")
    for run in ("talk1", "talk2"):
        make_run(tmp_path, run)
    with pytest.raises(InputError, match="^run: "):
        act(tmp_path, "remove", name, confirm=True)
    assert len(list_runs(tmp_path)) == 2 and (tmp_path / "precious").exists()


def test_remove_refuses_a_run_in_use_and_touches_nothing(tmp_path, held):
    path = make_run(tmp_path, done=1, state="running")
    held(path)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    with pytest.raises(InputError, match="is in use"):
        remove(tmp_path, "talk")
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@no_links
def test_remove_unlinks_links_and_leaves_what_they_lead_to(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    path = make_run(tmp_path)
    (path / "folder").symlink_to(outside)
    (path / "windows" / "9999-first.mp4").symlink_to(outside / "precious")
    (path / "lock").symlink_to(outside / "precious")
    assert list_runs(tmp_path)[0].bytes < 11_020_000
    remove(tmp_path, "talk")
    assert os.listdir(runs_root(tmp_path)) == [] and (outside / "precious").read_text() == "kept"


@no_links
def test_links_in_place_of_a_run_or_its_parts_are_not_followed(tmp_path):
    path = make_run(tmp_path)
    other = make_run(tmp_path / "elsewhere", "linked", done=2)
    (runs_root(tmp_path) / other.name).symlink_to(other)
    assert [run.folder for run in list_runs(tmp_path)] == [path.name]
    with pytest.raises(InputError, match="no run 'linked'"):
        remove(tmp_path, "linked")
    (path / "run.json").unlink()
    (path / "run.json").symlink_to(other / "run.json")
    assert list_runs(tmp_path)[0].state == "damaged"
    (path / "windows").rename(tmp_path / "windows")
    (path / "windows").symlink_to(tmp_path / "windows")
    assert done_windows(path) == set()
    assert (other / "run.json").exists()


def test_what_a_removal_cut_off_has_left_is_hidden_and_cleaned_by_the_next(tmp_path):
    half = make_run(tmp_path, "half")
    half.rename(half.with_name(f".removed-{half.name}"))  # as a crash right after the renaming leaves it
    make_run(tmp_path, "half")  # the same run, made again
    kept = make_run(tmp_path, "kept")
    (runs_root(tmp_path) / ".mine").mkdir()
    assert [run.folder for run in list_runs(tmp_path)] == [half.name, kept.name]
    remove(tmp_path, "half")
    assert sorted(os.listdir(runs_root(tmp_path))) == [".mine", kept.name]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom rights bind")
def test_a_run_that_cannot_be_removed_says_why(tmp_path):
    path = make_run(tmp_path)
    path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be removed"):
            remove(tmp_path, "talk")
        assert len(list_runs(tmp_path)) == 1
    finally:
        path.chmod(0o700)


def test_actions_are_checked():
    check_action("list", "")
    check_action("show", "a")
    for action, run in (("delete", "a"), ("show", ""), ("remove", "")):
        with pytest.raises(InputError, match="^(action|run): "):
            check_action(action, run)
