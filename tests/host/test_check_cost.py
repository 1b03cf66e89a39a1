"""What the check says that a run costs on a machine, and that looking costs next to nothing itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infinitetalk.check.cost import Machine
from infinitetalk.check.report import Report
from tests.host.full_files import UMT5, infinitetalk_shapes, wan_shapes
from tests.host.looks import CARD, put
from tests.unit.test_check_scene import write_wave
from tests.unit.workflow import graph

pytestmark = pytest.mark.usefixtures("host")


def taken_in() -> tuple[int, int]:
    """(bytes that this process has read so far, pages that it has touched: a mapped file is not read but touched)."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    resource = pytest.importorskip("resource")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(lines["rchar"]), usage.ru_minflt + usage.ru_majflt


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
def test_forty_five_gigabytes_are_looked_at_by_their_headers(look):
    """The whole workflow's check takes in no more than headers: all of it would be 45 GB, or millions of pages."""
    files = [
        put(look, "diffusion_models", "wide.safetensors", wan_shapes(), "F16"),
        put(look, "model_patches", "wide.safetensors", infinitetalk_shapes(), "F32"),
        put(look, "text_encoders", "wide.safetensors", UMT5, "F16"),
    ]
    assert sum(path.stat().st_size for path in files) > 45e9
    wide = {
        "model": {"model": "wide.safetensors", "adapter": "wide.safetensors"},
        "text": {"clip_name": "wide.safetensors"},
    }
    look()  # modules that are imported at the first look are read too
    before = taken_in()
    report = look(wide)
    read, touched = (after - earlier for after, earlier in zip(taken_in(), before, strict=True))
    assert not report.problems, report.text()
    assert sum("wide.safetensors" in line for line in report.sections["Files"]) == 3
    assert 0 < read < 2e6 and touched < 10_000


def test_what_other_programs_leave_of_the_memory_is_told(look):
    cost = look().sections["Cost"]
    assert "GPU memory: 23.0 GB can be had now, the rest is other programs'" in cost
    assert any(line.endswith("64.0 GB in this machine, 60.0 GB free now") for line in cost)


def test_this_machine_is_measured_again_after_a_probe_without_room(monkeypatch):
    from infinitetalk.host import machine

    machine._measured.cache_clear()
    monkeypatch.setattr(machine, "SMALL", ((10**9, 10**9, 8), (1, 8, 8)))  # 4 EB
    assert machine.speeds("cpu") == (None, None, None)
    monkeypatch.undo()
    linear, attention, copy = machine.speeds("cpu")
    assert linear > 1e9 and attention > 1e8 and copy is None
    assert machine.speeds("cpu") == (linear, attention, copy)  # measured once


def on_machine(machine: Machine, given: dict | None = None, **nodes) -> Report:
    """What the check says of the small files' workflow on a machine."""
    from infinitetalk.check.workflow import check_sampler
    from infinitetalk.host.headers import open_weight
    from infinitetalk.host.preflight import locate_input

    report = Report()
    changes = {"encoder": {"audio_encoder": "wav2vec.safetensors"}, **(given or {})}
    made = graph(changes, **nodes)
    check_sampler(made, "sampler", locate_input, open_weight, machine, report)
    return report


def test_a_machine_that_is_too_small_is_told(look):
    report = on_machine(replace(CARD, disk_free=10**6, ram=10**9, memory=35 * 10**8))
    assert not report.problems
    warned = [finding.what for finding in report.findings]
    assert any("GPU memory: a window of 81 frames at 640x640 needs" in what for what in warned)
    assert any("RAM: the model files are" in what for what in warned)
    assert any("disk: the run may need" in what for what in warned)  # a run that goes on may need no more


def test_a_clip_of_a_long_speech_needs_the_disk_of_one_window(look, tmp_path):
    write_wave(tmp_path / "speech.wav", 1200.0)
    small = replace(CARD, disk_free=2 * 10**9)
    (warned,) = on_machine(small).findings
    assert warned.level == "warning" and "disk: the run may need 3.9 GB" in warned.what
    clip = on_machine(small, {"sampler": {"mode": "clip"}})
    assert not clip.findings, clip.text()
    (disk,) = (line for line in clip.sections["Cost"] if line.startswith("disk:"))
    assert disk.startswith("disk: about 1.1 GB of ")  # the features of all of it, the pictures of one window


def test_a_card_that_may_be_too_small_is_no_reason_to_stop(look):
    tight = replace(CARD, memory=5 * 10**9)
    report = on_machine(tight)
    (told,) = (finding for finding in report.findings if "GPU memory" in finding.what)
    assert not report.problems and "needs about 5.9 GB at once, the card has 5.0 GB" in told.what
    fitted = on_machine(tight, {"sampler": {"memory": ["memory", 0]}}, memory=("InfiniteTalkMemory", {}))
    assert not [finding for finding in fitted.findings if "GPU memory" in finding.what]
    assert any("windows of 61 frames" in line for line in fitted.sections["Plan"])
