"""Settings refuse what cannot work, with the number on the first line and the remedy on the second."""

from __future__ import annotations

import math

import pytest

from infinitetalk.config import StreamConfig, WindowConfig, check_size
from infinitetalk.errors import InputError
from infinitetalk.settings import GuidanceConfig


@pytest.mark.parametrize("frames, motion", [(81, 9), (5, 1), (17, 13), (161, 25)])
def test_good_windows(frames, motion):
    config = WindowConfig(frames, motion)
    assert (config.frames, config.motion) == (frames, motion)


@pytest.mark.parametrize(
    "frames, motion, first, second",
    [
        (80, 9, "80", "77 or 81"),
        (0, 1, "0", "5 or 9"),
        (1, 1, "1", "5 or 9"),
        (81, 8, "8", "5 or 9"),
        (81, -3, "-3", "1 or 5"),
        (81, 81, "81", "77"),
        (9, 13, "13", "5"),
        (402, 9, "402", "Use 81"),
        (81, 83, "83 is not smaller than the 81", "at most 77"),
        (81, 80, "80", "Use 77; "),
        (5, 2, "2", "Use 1; "),
        (81.0, 9, "81.0", "whole"),
        (True, 9, "True", "whole"),
    ],
)
def test_bad_windows(frames, motion, first, second):
    with pytest.raises(InputError) as caught:
        WindowConfig(frames, motion)
    problem, remedy = str(caught.value).split("\n")
    assert first in problem and second in remedy


@pytest.mark.parametrize(
    "text, audio, branches",
    [
        (5.0, 4.0, ("cond", "drop_text", "uncond")),
        (1.0, 2.0, ("cond", "drop_audio")),
        (5.0, 1.0, ("cond", "drop_text")),
        (1, 1, ("cond",)),
        (0.0, 0.0, ("cond", "drop_text", "uncond")),
    ],
)
def test_branches_of_a_step(text, audio, branches):
    assert GuidanceConfig(text, audio).branches(40) == branches


@pytest.mark.parametrize(
    "name, value", [("text", math.nan), ("text", -1), ("audio", math.inf), ("audio", 101), ("text", "5")]
)
def test_bad_guidance(name, value):
    with pytest.raises(InputError, match=f"{name} scale: {value!r}"):
        GuidanceConfig(**{name: value})


@pytest.mark.parametrize(
    "name, value", [("colour", -0.1), ("colour", 1.5), ("colour", math.nan), ("mode", "loop"), ("tail", "x")]
)
def test_bad_stream(name, value):
    with pytest.raises(InputError, match=f"{name}.*{value}"):
        StreamConfig(**{name: value})


def test_sizes():
    check_size(832, 480)
    check_size(16, 16)
    for width, height, name, remedy in [
        (830, 480, "width: 830 is not a multiple of 16", "816 or 832"),
        (832, 0, "height: 0 is below 16", "480p"),
        (-16, 480, "width: -16 is below 16", "480p"),
        (4090, 480, "width: 4090 is not a multiple of 16", "4080 or 4096"),
        (4100, 480, "width: 4100 pixels are more than 4096", "480p"),
    ]:
        with pytest.raises(InputError) as caught:
            check_size(width, height)
        assert name in caught.value.problem and remedy in caught.value.remedy
