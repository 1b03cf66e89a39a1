"""What bench quality makes of clips: drawn ones pass, exchanged ones fail, and goals are judged by their figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench import quality, quality_table
from bench.quality_cases import Case, Line, scenes
from bench.quality_lips import closed, lips, seen, together

FRAMES = 81


def line(seed: int) -> Line:
    """Syllables with a pause, before or after; no sound."""
    chance = np.random.default_rng(seed)
    opening = np.convolve(chance.uniform(0, 1, FRAMES), np.ones(5) / 5, "same").astype(np.float32)
    opening = np.clip(2 * (opening - 0.25), 0, 1)
    opening[slice(60, None) if seed % 2 else slice(0, 25)] = 0
    width = np.convolve(chance.uniform(0, 1, FRAMES), np.ones(9) / 9, "same").astype(np.float32)
    return Line(torch.zeros(FRAMES * 640), str(seed), 0, opening, width)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [Case(scene, (line(n),)) for n, scene in enumerate(scenes(2, 1, 99))]


def test_drawn_clips_pass_and_exchanged_ones_do_not(cases):
    videos = [case.video for case in cases]
    good = lips([seen(video, case)[0] for video, case in zip(videos, cases, strict=True)])
    assert good["opening"] > 0.99 and good["worst"] > 0.99 and good["lags"] == [0, 0] and good["closed"] == 1
    exchanged = [Case(case.scene, other.lines) for case, other in zip(cases, cases[::-1], strict=True)]
    bad = lips([seen(video, case)[0] for video, case in zip(videos, exchanged, strict=True)])
    assert bad["opening"] < 0.5 and bad["other"] > 0.99


def test_two_people_are_told_apart_and_an_idle_one_is_shut():
    case = Case(scenes(1, 2, 98)[0], (line(5), line(6)))
    found = together([seen(case.video, case)])
    assert found["own"] > 0.99 and found["other"] < 0.5
    listening = Case(case.scene, (line(5), None))
    people = seen(listening.video, listening)
    assert [one.speaks for one in people] == [True, False]
    assert closed([people[1]]) == {"closed": 1.0, "silent": FRAMES}


def test_the_first_scenes_do_not_depend_on_the_count():
    one, many = scenes(1, 1, 7)[0], scenes(3, 1, 7)[0]
    assert torch.equal(one.looks.skin, many.looks.skin) and torch.equal(one.x, many.x)


def test_goals_are_judged():
    results = {
        "sync": {"clips": 2, "opening": 0.95, "worst": 0.7, "lags": [0, -1], "closed": 0.991, "width": math.nan},
        "two": {"not_run": "no time"},
    }
    assert quality_table.missed(results) == [
        "lip-sync: worst clip, per frame",
        "mouth width against its truth",
    ]
    text = quality_table.table(results)
    assert "| lip-sync, held-out voices and faces: per frame | 0.950 | >= 0.930 (met) | 2 |" in text
    assert "| mouth shut in pauses, of all silent frames | 99.1 % | >= 98.0 % (met) | 2 |" in text
    assert "| two people at once: own voice | not run | >= 0.900 |" in text
    assert quality_table.judge("two", results["two"]) == ["  not run: no time"]


def test_every_measure_and_table_belongs_to_a_row():
    assert {measure.row for measure in quality_table.MEASURES} | set(quality_table.TABLES) <= set(quality.ROWS)


@pytest.mark.parametrize(
    "given, said",
    [
        (["--clips", "0"], "--clips: 0 is less than 1"),
        (["--rows", "sync,nonsense"], "no row nonsense"),
        (["--models", "nowhere"], "--models: nowhere has no diffusion_models/"),
    ],
)
def test_bad_options_are_refused_in_one_line(monkeypatch, capsys, given, said):
    monkeypatch.setattr("sys.argv", ["quality", *given])
    with pytest.raises(SystemExit) as stopped:
        quality.parse()
    assert stopped.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
