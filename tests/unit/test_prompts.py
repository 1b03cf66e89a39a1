"""Prompts per window or per time: what is read, when each is in force, and what is refused."""

from __future__ import annotations

import pytest

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.prompts import MAX_LINES, in_force, middle, parse_prompts
from infinitetalk.timeline import plan


def texts_by_window(text: str, total: int, config: WindowConfig | None = None) -> list[str]:
    """The line in force in each window; exactly one must be."""
    lines = parse_prompts(text)
    found = []
    for window in plan(total, config or WindowConfig()):
        (line,) = [line.text for line in lines if in_force(line.span, window)]
        found.append(line)
    return found


@pytest.mark.parametrize("text", ["a | b|c", "a\nb\nc", " a \r\n\n b\n \nc\n", "a |\nb |\nc |", "|a||b|c"])
def test_lines_are_parted_by_bars_or_line_ends(text):
    assert [(line.text, line.span) for line in parse_prompts(text)] == [
        ("a", ("window", 0, 1)),
        ("b", ("window", 1, 2)),
        ("c", ("window", 2, None)),
    ]


def test_line_n_is_for_window_n_and_the_last_goes_on():
    assert texts_by_window("a | b", 81 + 72 * 3) == ["a", "b", "b", "b"]
    assert texts_by_window("a | b | c", 90) == ["a", "b"]  # two windows: the third line is not reached
    assert texts_by_window("one prompt", 200) == ["one prompt"] * 3


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("0:12", 12),
        ("12.5", 12.5),
        ("1:02:03.5", 3723.5),
        ("90:00", 5400),
        (" 7 ", 7),
        ("0.04", 0.04),
        ("00:59.9", 59.9),
    ],
)
def test_times_are_seconds_or_a_clock(time, seconds):
    first, second = parse_prompts(f"[0] a | [{time}] b")
    assert first.span == ("second", 0, pytest.approx(seconds)) and first.text == "a"
    assert second.span == ("second", pytest.approx(seconds), None) and second.text == "b"


def test_a_window_takes_the_line_of_the_middle_of_its_new_frames():
    windows = plan(200, WindowConfig())  # new frames 0-80, 81-152, 153-199
    assert [middle(window) for window in windows] == [40.5 / 25, 117 / 25, (153 + 23.5) / 25]
    assert texts_by_window("[0] a | [1.62] b | [4.68] c | [7.07] d", 200) == ["b", "c", "c"]
    assert texts_by_window("[0] a | [1.63] b | [4.69] c | [7.06] d", 200) == ["a", "b", "d"]


def test_a_line_between_two_middles_is_not_seen():
    assert texts_by_window("[0] a | [2] blink | [2.5] b", 150) == ["a", "b"]


@pytest.mark.parametrize("text", ["[a man] talks", "he says [12.5] now", "[] talks", "(a:1.2) [b]"])
def test_other_brackets_are_part_of_the_prompt(text):
    assert [line.text for line in parse_prompts(text)] == [text]


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("", "the prompt is empty", "Say what"),
        (" |\n | ", "the prompt is empty", "Say what"),
        (None, "the prompt is empty", "Say what"),
        ("a\n" * (MAX_LINES + 1), f"{MAX_LINES + 1} lines are more than {MAX_LINES}", "with times"),
        ("[0] a | b", "line 1 has a time and line 2 has none", "[12.5]"),
        ("a | b | [3] c", "line 3 has a time and line 1 has none", "[12.5]"),
        ("[0] a | [1:75] b", "[1:75] in line 2 is not a time", "[1:02:03.5]"),
        ("[0] a | [1:60:00] b", "[1:60:00] in line 2 is not a time", "[1:02:03.5]"),
        ("[0] a | [-3] b", "[-3] in line 2 is not a time", "[12.5]"),
        ("[0] a | [3-5] b", "[3-5] in line 2 is not a time", "[12.5]"),
        ("[0] a | [12s] b", "[12s] in line 2 is not a time", "[12.5]"),
        ("[0] a | [1,5] b", "[1,5] in line 2 is not a time", "[12.5]"),
        ("[0] a | [1:2:3:4] b", "[1:2:3:4] in line 2 is not a time", "[12.5]"),
        ("[2] a | [3] b", "the first line begins at 2 s", "[0]"),
        ("[0] a | [5] b | [5] c", "line 3 begins at 5 s, line 2 at 5 s", "rise"),
        ("[0] a | [0:10] b | [9] c", "line 3 begins at 9 s, line 2 at 10 s", "rise"),
        ("[0] a | [4]", "line 2 has a time and no prompt", "[12.5]"),
    ],
)
def test_what_cannot_be_read_is_refused(text, problem, remedy):
    with pytest.raises(InputError) as caught:
        parse_prompts(text)
    assert problem in caught.value.problem and caught.value.problem.startswith("text: ")
    assert remedy in caught.value.remedy


def test_the_longest_text_is_taken():
    assert len(parse_prompts("a\n" * MAX_LINES)) == MAX_LINES
