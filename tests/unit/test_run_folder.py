"""A run's folder: what it trusts, what it makes again, what it refuses, and that nothing is ever half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.run_open import Wanted, open_run
from infinitetalk.takes import first_takes
from infinitetalk.timeline import plan

TAKES = first_takes(plan(30, WindowConfig(9, 5)))
WANTED = Wanted("", "ab" * 32, 1, False, {"made_with": {"torch": "x"}, "settings": {}, "plan": []})
ROOT = Path(__file__).resolve().parents[2]


def fill(folder, count=2):
    for take in TAKES[:count]:
        folder.finish(
            take,
            lambda part, take=take: part.write_bytes(b"segment %d" % take.number * 1000),
            {"motion": torch.full((2,), float(take.number))},
            {"frames": take.window.keep},
        )
    folder.say("running")


def content(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_what_is_finished_is_found_again(tmp_path):
    with open_run(tmp_path, WANTED) as folder:
        assert folder.new
        fill(folder)
        path = folder.path
    with open_run(tmp_path, WANTED) as folder:
        assert not folder.new and folder.path == path and folder.made_with == {"torch": "x"}
        assert [folder.record(take) is not None for take in TAKES[:3]] == [True, True, False]
        assert folder.record(TAKES[1])["window"] == 2 and folder.record(TAKES[1])["frames"] == 4
        assert folder.continued(TAKES[1])["motion"].tolist() == [2.0, 2.0]
        assert folder.segment(TAKES[1]).name == "0002-first.mp4"


def test_other_inputs_names_and_maths_are_other_folders(tmp_path):
    names = []
    for wanted in (WANTED, replace(WANTED, inputs="cd" * 32), replace(WANTED, name="two")):
        with open_run(tmp_path, wanted) as folder:
            folder.say("running")
            names.append(folder.name)
    assert len(set(names)) == 3 and names[2].startswith("two-")


@pytest.mark.parametrize("ending", [".mp4", ".safetensors", ".json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "empty"])
def test_a_damaged_window_is_made_again_and_its_neighbours_stay(tmp_path, ending, harm):
    with open_run(tmp_path, WANTED) as folder:
        fill(folder, 3)
        file = (folder.path / "windows" / "0002-first").with_suffix(ending)
    data = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    else:
        data[len(data) // 2] ^= 4
        file.write_bytes({"cut": data[:-1], "flip": data, "empty": b""}[harm])
    with open_run(tmp_path, WANTED) as folder:
        there = [folder.record(take) is not None for take in TAKES[:3]]
        assert there == [True, False, True]
        assert (harm, ending) == ("remove", ".json") or "window 2" in (folder.path / "log.txt").read_text()


def test_a_damaged_run_json_is_refused_and_nothing_is_touched(tmp_path):
    with open_run(tmp_path, WANTED) as folder:
        fill(folder)
        path = folder.path
    for text in ("", "{", "[]", "{}", (path / "run.json").read_text().replace('"maths": 1', '"maths": "1"')):
        (path / "run.json").write_text(text)
        before = content(path)
        with pytest.raises(InputError, match="run.json is damaged"):
            open_run(tmp_path, WANTED)
        assert content(path) == before
    (path / "run.json").unlink()
    with pytest.raises(InputError, match="run.json is damaged"):
        open_run(tmp_path, WANTED)
    with open_run(tmp_path, replace(WANTED, afresh=True)) as folder:  # what the message offers works
        assert folder.path != path
    assert {"windows/0001-first.mp4", "windows/0002-first.json"} < content(path).keys()


def test_a_folder_that_belongs_to_another_run_is_refused(tmp_path):
    with open_run(tmp_path, WANTED) as folder:
        fill(folder)
        path = folder.path
    head = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(head | {"identity": "00" * 32, "inputs": "00" * 32}))
    with pytest.raises(InputError, match="that of another run"):
        open_run(tmp_path, WANTED)


def test_another_version_of_the_maths_is_refused_with_the_choice(tmp_path):
    with open_run(tmp_path, WANTED) as folder:
        fill(folder)
        path = folder.path
    before = content(path)
    newer = replace(WANTED, maths=2)
    with pytest.raises(InputError, match="made by version 1 of the maths, this is 2") as problem:
        open_run(tmp_path, newer)
    assert "afresh" in str(problem.value)
    with open_run(tmp_path, replace(newer, afresh=True)) as folder:
        fill(folder, 1)
        made = folder.name
    with open_run(tmp_path, newer) as folder:  # from now on this one is continued
        assert folder.name == made != path.name
    assert content(path) == before


def test_afresh_makes_a_new_run_and_the_newest_is_continued(tmp_path):
    names = []
    for wanted in (WANTED, replace(WANTED, afresh=True), replace(WANTED, afresh=True), WANTED):
        with open_run(tmp_path, wanted) as folder:
            fill(folder, 1)
            names.append(folder.name)
    assert len(set(names)) == 3 and names[3] == names[2]


HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from infinitetalk.run_open import Wanted, open_run
from pathlib import Path
kept = open_run(Path({output!r}), Wanted("", {inputs!r}, 1, False, {{"made_with": {{}}, "plan": []}}))
print("held", flush=True)
time.sleep(60)
"""


def test_two_processes_do_not_write_the_same_run(tmp_path):
    script = HOLD.format(root=str(ROOT), output=str(tmp_path), inputs=WANTED.inputs)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(InputError, match="being made by another process"):
                open_run(tmp_path, WANTED)
        finally:
            other.kill()
    with open_run(tmp_path, WANTED) as folder:  # the system has dropped the lock with the process
        assert folder.path.is_dir()


def test_a_write_that_fails_leaves_no_window(tmp_path):
    def fails(part):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with open_run(tmp_path, WANTED) as folder:
        with pytest.raises(InputError, match="the disk is full"):
            folder.finish(TAKES[0], fails, {}, {})
        assert folder.record(TAKES[0]) is None
        assert list((folder.path / "windows").iterdir()) == []


def test_the_video_is_known_by_its_parts_and_its_checksum(tmp_path):
    parts = {"takes": [[1, "first"]]}
    with open_run(tmp_path, WANTED) as folder:
        assert folder.video(parts, True) is None
        path = folder.finish_video(lambda path: path.write_bytes(b"video"), parts, True)
        assert path.name == "video.mp4" and folder.video(parts, True) == path
        assert folder.video({"takes": [[1, "other"]]}, True) is None
        other = folder.finish_video(lambda path: path.write_bytes(b"other"), {"takes": [[1, "other"]]}, False)
        assert other != path and folder.video(parts, True) == path  # an earlier one is left alone
        path.write_bytes(b"vide0")
        assert folder.video(parts, True) is None


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_out_of_the_output_folder_are_refused(tmp_path):
    output, other = tmp_path / "output", tmp_path / "other"
    other.mkdir()
    with open_run(output, WANTED) as folder:
        path = folder.path
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()
    path.symlink_to(other)
    with pytest.raises(InputError, match="is a link"):
        open_run(output, WANTED)
    assert list(other.iterdir()) == []


def test_what_a_killed_call_left_is_removed_and_the_state_is_told(tmp_path):
    with open_run(tmp_path, WANTED) as folder:
        fill(folder)
        path = folder.path
        assert json.loads((path / "run.json").read_text())["state"] == "running"
    for name in ("windows/0003-first.part.mp4", "windows/0003-first.safetensors.part", "video.join.mp4"):
        (path / name).write_bytes(b"half")
    with open_run(tmp_path, WANTED) as folder:
        assert folder.record(TAKES[1]) is not None
    assert not [name for name in content(path) if "part" in name or "join" in name]


def test_the_newest_attempt_is_refused_when_it_is_damaged(tmp_path):
    for wanted in (WANTED, replace(WANTED, afresh=True)):
        with open_run(tmp_path, wanted) as folder:
            fill(folder, 1)
    (folder.path / "run.json").write_text("{")
    with pytest.raises(InputError, match="run.json is damaged"):
        open_run(tmp_path, WANTED)


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["windows", "live", "lock"])
def test_links_inside_a_run_are_refused(tmp_path, name):
    with open_run(tmp_path / "output", WANTED) as folder:
        path = folder.path
    (path / "windows").rmdir() if name == "windows" else (path / name).unlink(missing_ok=True)
    other = tmp_path / "other"
    other.mkdir()
    (path / name).symlink_to(other)
    with pytest.raises(InputError, match=f"{name} is a link"):
        open_run(tmp_path / "output", WANTED)
    assert list(other.iterdir()) == []
