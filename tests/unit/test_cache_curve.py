"""Files with MagCache's curve: written whole, read back, refused when something is wrong with them."""

from __future__ import annotations

import json

import pytest

from infinitetalk.cache_curve import Curve, read_curve, resample, write_curve
from infinitetalk.errors import InputError

CURVE = Curve("2 blocks of width 64", (1.0, 0.5, 0.25, 0.0), {"cond": (1.0, 0.9, 0.8), "uncond": (1.0, 1.1, 0.7)})


def test_a_curve_comes_back_as_it_was(tmp_path):
    path = tmp_path / "new folder" / "a.magcache.json"
    write_curve(path, CURVE)
    assert read_curve(path) == CURVE and CURVE.steps == 3
    write_curve(path, Curve(CURVE.model, CURVE.sigmas, {"cond": (1.0, 0.5, 0.5)}))
    assert read_curve(path).branches == {"cond": (1.0, 0.5, 0.5)}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_other_numbers_of_steps_take_the_nearest():
    assert resample([1, 2, 3], 3) == [1, 2, 3]
    assert resample([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert resample([1, 2, 3], 6) == [1, 1, 2, 2, 3, 3]
    assert resample([1, 2, 3], 1) == [1]
    assert resample([7], 3) == [7, 7, 7]
    assert CURVE.resampled(2) == {"cond": (1.0, 0.8), "uncond": (1.0, 0.7)}


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
