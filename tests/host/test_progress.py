"""The line under the node: windows, frames, speed, time left and memory, of one session of a run."""

from __future__ import annotations

import re
import time

import pytest
import torch

from infinitetalk.takes import Take
from infinitetalk.timeline import Window

pytestmark = pytest.mark.usefixtures("host")

STEPS = 4
LINE = re.compile(
    r"Window (\d+)/(\d+),? (?:step (\d)/4|done) · (\d+)/(\d+) frames · ([\d.]+) frames/s "
    r"\(([\d.e-]+)x real time, ([\d:]+) per window\) · ([\d:]+) gone, about ([\d:]+) left · (?:GPU .* at most, )?"
    r"RAM ([\d.]+ [GM]B)"
)


def bytes_of(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"MB": 1e6, "GB": 1e9}[unit]


def takes(count: int) -> list[Take]:
    windows = [Window(n, 72 * n, 72 * n + 81, 9 if n else 0, 72, n) for n in range(count)]
    return [Take(window, windows[0]) for window in windows]


def told(machine, todo: list[Take], windows: int, frames: int, seconds: float) -> list[re.Match]:
    """The lines of a session whose steps take `seconds` each."""
    from infinitetalk.host.progress import RunProgress

    lines = []

    class Listening(RunProgress):
        def say(self, text: str) -> None:
            lines.append(LINE.fullmatch(text))
            assert lines[-1], text

    progress = Listening(machine.model, todo, STEPS, None, windows, frames)
    for take in todo:
        for step in range(STEPS):
            time.sleep(seconds)
            progress.step(take, step + 1, torch.zeros(1, 16, 3, 6, 6))
        progress.finished(take, torch.zeros(72, 48, 48, 3, dtype=torch.uint8))
    return lines


def test_the_line_counts_windows_and_frames_of_the_whole_run(machine):
    lines = told(machine, takes(3), 3, 216, 0.01)
    assert len(lines) == 3 * (STEPS + 1)
    assert [line.group(1, 2, 3) for line in lines[:6]] == [
        *(("1", "3", str(step)) for step in (1, 2, 3, 4)),
        ("1", "3", None),
        ("2", "3", "1"),
    ]
    assert [int(line[4]) for line in lines] == [0] * 4 + [72] * 5 + [144] * 5 + [216]
    assert {line[5] for line in lines} == {"216"} and lines[-1][10] == "0:00"
    assert all(5e7 < bytes_of(line[11]) < 64e9 for line in lines)


def test_speed_and_time_left_are_of_this_session_alone(machine):
    """197 windows are there from before: neither they nor the frames they have may make this session look fast."""
    whole = takes(200)
    lines = told(machine, whole[-3:], 200, 14_400, 0.05)
    assert lines[0].group(1, 2, 4) == ("198", "200", "14184") and lines[-1][4] == "14400"
    for line in lines:
        assert 72 / (STEPS * 0.05) * 0.2 < float(line[6]) <= 72 / (STEPS * 0.05) * 1.02
        assert float(line[7]) == pytest.approx(float(line[6]) / 25, rel=0.1)
        assert line[10] == "0:00"


def test_a_redo_tells_the_windows_that_it_samples(machine):
    whole = takes(9)
    lines = told(machine, [whole[6], whole[2]], 9, 648, 0.02)
    assert [line[1] for line in lines] == ["7"] * 5 + ["3"] * 5
    assert lines[0][4] == "504" and lines[-1][4] == "648"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3599, "59:59"), (7389.9, "2:03:09")])
def test_long_times_have_hours(seconds, text):
    from infinitetalk.host.progress import clock

    assert clock(seconds) == text


def test_memory_is_that_of_the_process(machine):
    from infinitetalk.host.progress import Memory

    memory = Memory(torch.device("cpu"))

    def resident() -> float:
        return bytes_of(memory.told().removeprefix("RAM "))

    before = resident()
    held = torch.ones(2**28)
    assert resident() - before == pytest.approx(held.nbytes, abs=0.15e9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_memory_of_a_gpu_is_the_most_that_was_seen(machine):
    from infinitetalk.host.progress import Memory

    memory = Memory(torch.device("cuda"))
    held = torch.ones(2**28, device="cuda")
    most = memory.told().split(",")[0]
    del held
    torch.cuda.empty_cache()
    assert re.fullmatch(r"GPU [1-9][\d.]* [GM]B of [\d.]+ GB at most", most) and memory.told().split(",")[0] == most


def test_without_a_server_nothing_is_offered(machine, tmp_path):
    from infinitetalk.host.progress import watch

    watch(tmp_path / "live.mp4", "12")
    watch(tmp_path / "live.mp4", None)
