"""Files with MagCache's curve: written whole, read back, refused when something is wrong with them."""

from __future__ import annotations

import json

import pytest

from infinitetalk.cache_curve import Curve, read_curve, write_curve
from infinitetalk.errors import InputError
from infinitetalk.schedule import flow_sigmas, last_steps

CURVE = Curve("2 blocks of width 64", (1.0, 0.5, 0.25, 0.0), {"cond": (1.0, 0.9, 0.8), "uncond": (1.0, 1.1, 0.7)})


def test_a_curve_comes_back_as_it_was(tmp_path):
    path = tmp_path / "new folder" / "a.magcache.json"
    write_curve(path, CURVE)
    assert read_curve(path) == CURVE and CURVE.steps == 3
    write_curve(path, Curve(CURVE.model, CURVE.sigmas, {"cond": (1.0, 0.5, 0.5)}))
    assert read_curve(path).branches == {"cond": (1.0, 0.5, 0.5)}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def numbered(steps: int, shift: float = 7.0) -> Curve:
    """A curve of a whole run whose ratios are the numbers of its steps."""
    return Curve("m", tuple(flow_sigmas(steps, shift).tolist()), {"cond": tuple(range(steps))})


def picked(curve: Curve, sigmas) -> list[int]:
    return list(curve.at(sigmas.tolist())["cond"])


def test_a_step_takes_the_ratio_of_the_nearest_sigma():
    assert CURVE.at((1.0, 0.7, 0.4, 0.3, 0.1, 0.0)) == {
        "cond": (1.0, 0.9, 0.9, 0.8, 0.8),
        "uncond": (1.0, 1.1, 1.1, 0.7, 0.7),
    }
    assert CURVE.at((0.75, 0.375, 0.0)) == {"cond": (1.0, 0.9), "uncond": (1.0, 1.1)}  # halfway: the earlier


def test_the_last_steps_of_a_schedule_get_their_own_ratios():
    curve = numbered(40)
    assert picked(curve, flow_sigmas(40, 7.0)) == list(range(40))
    assert picked(curve, last_steps(flow_sigmas(40, 7.0), 0.7)) == list(range(12, 40))


def test_other_numbers_of_steps_get_what_their_position_gives():
    """The public MagCache's choice; from it the nearest sigma differs by a step at most."""
    for own, steps in ((40, 20), (40, 8), (8, 40), (20, 30)):
        found = picked(numbered(own), flow_sigmas(steps, 7.0))
        by_position = [round(n * (own - 1) / (steps - 1)) for n in range(steps)]
        assert found == sorted(found)
        assert max(abs(a - b) for a, b in zip(found, by_position, strict=True)) <= 1
    assert picked(numbered(40), flow_sigmas(1, 7.0)) == [0]


def test_another_shift_gets_what_was_measured_at_its_noise():
    found = picked(numbered(40, 7.0), flow_sigmas(40, 11.0))
    assert found == sorted(found) and found[0] == 0 and found[-1] == 39
    assert found[20] < 20  # a higher shift stays longer at high noise


def test_a_curve_of_the_last_steps_covers_no_whole_run():
    whole = flow_sigmas(10, 5.0)
    part = Curve("m", tuple(last_steps(whole, 0.7).tolist()), {"cond": (1.0,) * 7})
    assert not part.covers(whole.tolist()) and not part.covers(last_steps(whole, 0.8).tolist())
    assert part.covers(last_steps(whole, 0.7).tolist()) and part.covers(last_steps(flow_sigmas(40, 5.0), 0.5).tolist())
    first = Curve("m", tuple(whole[:6].tolist()), {"cond": (1.0,) * 5})
    assert not first.covers(whole.tolist()) and first.covers(whole[:6].tolist())
    for steps, shift in ((10, 5.0), (4, 11.0), (40, 1.0)):
        assert numbered(10).covers(flow_sigmas(steps, shift).tolist())


def changed(**values) -> str:
    data = {"model": "m", "steps": 3, "sigmas": [1.0, 0.5, 0.25, 0.0], "branches": {"cond": [1.0, 0.9, 0.8]}}
    return json.dumps(data | values)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "not an object"),
        (changed(model=None), "model is None"),
        (changed(steps=0), "steps is 0"),
        (changed(steps=2.5), "steps is 2.5"),
        (changed(steps=True), "steps is True"),
        (changed(sigmas=[1.0, 0.0]), "sigmas has 2 numbers instead of 4"),
        (changed(branches={}), "branches is empty"),
        (changed(branches={"cond": [1.0, 0.9]}), "branch cond has 2 numbers instead of 3"),
        (changed(branches={"cond": None}), "branch cond has no numbers instead of 3"),
        (changed(branches={"cond": [1.0, "x", 0.8]}), "branch cond holds 'x'"),
        (changed(branches={"cond": [1.0, float("nan"), 0.8]}), "branch cond holds nan"),
        (changed(branches={"cond": [1.0, -1.0, 0.8]}), "branch cond holds -1.0"),
    ],
)
def test_a_bad_file_is_named_by_what_is_wrong(tmp_path, text, named):
    path = tmp_path / "bad.magcache.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_curve(path)
    assert named in error.value.problem and "bad.magcache.json" in error.value.problem


def test_missing_binary_and_unwritable(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_curve(tmp_path / "none.magcache.json")
    (tmp_path / "b.magcache.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_curve(tmp_path / "b.magcache.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_curve(tmp_path / "file" / "c.magcache.json", CURVE)
