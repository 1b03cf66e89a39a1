"""The table of a run: what is read from text and JSON, what is refused, and which row a window obeys."""

from __future__ import annotations

import json
import time

import pytest

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.prompts import MAX_LINES
from infinitetalk.table import Row, bind, overrides_at
from infinitetalk.table_text import MAX_ROWS, parse_table
from infinitetalk.takes import Overrides
from infinitetalk.timeline import plan

TEXT = """
# the whole talk
12.5-30 seed=7 reference=2 text=5 audio=3.5 prompt=she laughs and waves, seed=9 # not a comment
 0:30 - 1:02:03   prompt = calm

1:10:00-  seed=18446744073709551615
"""
JSON = json.dumps(
    [
        {
            "from": 12.5,
            "to": 30,
            "seed": 7,
            "reference": 2,
            "text_scale": 5,
            "audio_scale": 3.5,
            "prompt": "she laughs and waves, seed=9 # not a comment",
        },
        {"from": "0:30", "to": "1:02:03", "prompt": " calm ", "seed": None},
        {"from": 4200, "to": None, "seed": 2**64 - 1},
    ]
)


@pytest.mark.parametrize("text", [TEXT, JSON, TEXT.replace("\n", "\r\n"), f"\n{JSON}\n"])
def test_text_and_json_say_the_same(text):
    lines = parse_table(text)
    assert [line[1:] for line in lines] == [
        (12.5, 30.0, 7, 2, 5.0, 3.5, "she laughs and waves, seed=9 # not a comment"),
        (30.0, 3723.0, None, None, None, None, "calm"),
        (4200.0, None, 2**64 - 1, None, None, None, None),
    ]
    assert [line.place for line in lines] == (
        ["row 1", "row 2", "row 3"] if "[" in text else ["line 3", "line 4", "line 6"]
    )


REFUSED = {
    "": "no row",
    " \n# only a comment": "no row",
    "[]": "no row",
    "0-10 seed=1\n5-20 seed=2": "line 2 begins at 5 s, and line 1 ends at 10 s",
    "0-10 seed=1\n0-20 seed=2": "line 2 begins at 0 s, and line 1 ends at 10 s",
    "0- seed=1\n30-40 seed=2": "line 2 begins at 30 s, and line 1 goes on to the end",
    "30-40 seed=1\n0-10 seed=2": "line 2 begins at 0 s, before line 1 at 30 s",
    "30-10 seed=1": "line 1 runs backward: 30 to 10 s",
    "5-5 seed=1": "line 1 ends where it begins",
    "-5-10 seed=1": "line 1 has '-5' where a time",
    "nan-10 seed=1": "line 1 has 'nan' where a time",
    "inf- seed=1": "line 1 has 'inf' where a time",
    "1e3-2000 seed=1": "'1e3' where a time",
    "0:75-2:00 seed=1": "'0:75' where a time",
    "1:2:3:4-9:00 seed=1": "'1:2:3:4' where a time",
    "99999999-  seed=1": "from 0 to 100 hours",
    "9" * 500 + "- seed=1": "where a time",
    "seed=7": "line 1 does not begin with its times: 'seed=7'",
    "12.5 seed=7": "does not begin with its times",
    "0-10": "line 1 changes nothing",
    "0-10 sed=1": "unknown entry 'sed'",
    "0-10 steps=1 seed=2": "unknown entry 'steps'",
    "0-10 seed": "unknown entry 'seed'",
    "0-10 =5": "unknown entry '='",
    "0-10 she laughs": "unknown entry 'she'",
    "0-10 text_scale=1": "unknown entry 'text_scale'",
    "0-10 seed=1 seed=2": "gives seed twice",
    "0-10 seed=-1": "seed -1 is not a whole number from 0 to 18446744073709551615",
    "0-10 seed=18446744073709551616": "is not a whole number",
    "0-10 seed=1.5": "is not a whole number",
    "0-10 seed=": "is not a whole number",
    "0-10 seed=" + "9" * 5000: "is not a whole number",
    "0-10 seed=٣": "is not a whole number",
    "0-10 reference=0": "reference 0 is not a whole number from 1 to 20",
    "0-10 text=nan": "text_scale nan is not a number from 0 to 100",
    "0-10 audio=inf": "audio_scale inf is not a number",
    "0-10 text=101": "text_scale 101.0 is not a number from 0 to 100",
    "0-10 text=-1": "text_scale -1 is not a number",
    "0-10 prompt=": "line 1 has an empty prompt",
    "{}": "one object, not a list",
    '{"from": 0, "seed": 1}': "one object, not a list",
    "[1]": "row 1 is no object: 1",
    '[{"from": 0, "seed": 1]': "begins as JSON and is none: .* in line 1, column 23",
    "[0] a man talks": "begins as JSON and is none",
    "[" * 100_000: "cannot be read|is none",
    '[{"to": 3, "seed": 1}]': "row 1 does not say from when",
    '[{"from": null, "seed": 1}]': "row 1 has 'None' where a time",
    '[{"from": 0, "to": NaN, "seed": 1}]': "NaN in the JSON is no number",
    '[{"from": 0, "to": Infinity, "seed": 1}]': "Infinity in the JSON is no number",
    '[{"from": 0, "to": 1e999, "seed": 1}]': "row 1 has 'inf' where a time",
    '[{"from": -1, "seed": 1}]': "row 1 has '-1' where a time",
    '[{"from": true, "seed": 1}]': "row 1 has 'True' where a time",
    '[{"from": [0], "seed": 1}]': r"row 1 has '\[0\]' where a time",
    '[{"from": 0, "to": 1' + "0" * 400 + ', "seed": 1}]': "where a time",
    '[{"from": 0, "to": ' + "9" * 5000 + ', "seed": 1}]': "cannot be read",
    '[{"from": 0, "from": 1, "seed": 1}]': "gives 'from' twice",
    '[{"from": 0, "steps": 1}]': "unknown entry 'steps'",
    '[{"from": 0, "text": 1}]': "unknown entry 'text'",
    '[{"from": 0, "seed": true}]': "seed True is not a whole number",
    '[{"from": 0, "seed": 1.0}]': "seed 1.0 is not a whole number",
    '[{"from": 0, "text_scale": "much"}]': "text_scale much is not a number",
    '[{"from": 0, "audio_scale": false}]': "audio_scale False is not a number",
    '[{"from": 0, "prompt": 5}]': "row 1 has an empty prompt",
    '[{"from": 0, "seed": null}]': "row 1 changes nothing",
    "\n".join(f"{n}-{n + 1} seed=1" for n in range(MAX_ROWS + 1)): f"{MAX_ROWS + 1} rows are more than {MAX_ROWS}",
    "\n".join(f"{n}-{n + 1} prompt=p{n}" for n in range(MAX_LINES + 1)): f"more than {MAX_LINES}",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:40]))
def test_what_cannot_be_read_is_refused_with_its_place(text):
    with pytest.raises(InputError, match=f"^text: .*(?:{REFUSED[text]})") as refused:
        parse_table(text)
    assert refused.value.remedy and len(str(refused.value)) < 600


@pytest.mark.parametrize("text", [None, 5, b"0-1 seed=1"])
def test_what_is_no_text_has_no_row(text):
    with pytest.raises(InputError, match="no row"):
        parse_table(text)


def test_unknown_entries_name_the_known_ones():
    with pytest.raises(InputError, match="Known are seed=, reference=, text=, audio=, prompt="):
        parse_table("0-1 cfg=3")
    with pytest.raises(InputError, match="from, to, seed, reference, text_scale, audio_scale, prompt"):
        parse_table('[{"from": 0, "cfg": 3}]')


def test_references_and_prompts_become_what_is_connected():
    asked = []

    def encode(prompt: str) -> list:
        asked.append(prompt)
        return [[prompt, {}]]

    lines = parse_table(
        "0-1 reference=2 prompt=a\n1-2 prompt=b\n5-6 prompt=a seed=3\n6- audio=2".replace(" seed=3", "")
    )
    rows = bind(lines, {1: "first", 2: "second"}, encode)
    assert asked == ["a", "b"]
    assert rows[0] == Row(0.0, 1.0, Overrides(reference="second", positive=[["a", {}]]))
    assert rows[2].overrides.positive is rows[0].overrides.positive
    assert rows[3] == Row(6.0, None, Overrides(audio_scale=2.0))


def test_what_is_not_connected_is_refused_before_anything_is_encoded():
    def encode(prompt: str) -> list:
        raise AssertionError("encoded")

    lines = parse_table("0-1 prompt=a\n1-2 reference=3")
    with pytest.raises(InputError, match="line 2 wants reference 3; connected: 1, 2") as refused:
        bind(lines, {1: "x", 2: "y"}, encode)
    assert "reference3" in refused.value.remedy
    with pytest.raises(InputError, match="connected: none"):
        bind(lines, {}, encode)
    with pytest.raises(InputError, match="clip: line 1 of the table has a prompt, and no text encoder"):
        bind(lines, {3: "z"}, None)


def test_a_window_obeys_the_row_in_force_in_its_middle():
    windows = plan(300, WindowConfig(81, 9))  # new frames 0-81, 81-153, 153-225, 225-297, 297-300
    middles = [1.62, 4.68, 7.56, 10.44, 11.94]
    rows = bind(parse_table("1.62-4.68 seed=1\n7-7.5 seed=2\n10.44-10.45 seed=3\n11.9- seed=4"), {}, None)
    assert [overrides_at(rows, window).seed for window in windows] == [1, None, None, 3, 4]
    assert len(windows) == len(middles)
    assert overrides_at((), windows[0]) == Overrides()


def test_ten_hours_are_looked_up_in_no_time():
    windows = plan(25 * 36_000, WindowConfig())
    rows = bind(parse_table("\n".join(f"{n * 3}-{n * 3 + 3} seed={n}" for n in range(MAX_ROWS))), {}, None)
    began = time.perf_counter()
    seeds = [overrides_at(rows, window).seed for window in windows]
    assert time.perf_counter() - began < 1.0
    assert seeds[1000] == int((1000 * 72 + 9 + 36) / 25 // 3)
