"""The move over a still: smooth to parts of a pixel, inside the picture, without end; and the file that it becomes."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.panzoom import EASINGS, MAX_PIXELS, Move, frame_count, moving, output_size, write_moving

from .reading import read

ROOT = Path(__file__).resolve().parents[2]


def dots(width: int = 192, height: int = 128) -> torch.Tensor:
    """float [1, H, W, 3]: one soft bright dot, in the middle of a dark picture."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dot = torch.exp(-((x - width / 2) ** 2 + (y - height / 2) ** 2) / (2 * 5.0**2))
    return dot[None, ..., None].expand(1, height, width, 3).contiguous()


def centre(frame: np.ndarray) -> tuple[float, float]:
    """(x, y) of the light in a frame, in pixels."""
    light = frame[..., 0].astype(float)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    return (light * x).sum() / light.sum(), (light * y).sum() / light.sum()


def test_a_slow_move_is_smooth_to_a_fraction_of_a_pixel():
    """Less than a tenth of a pixel a frame: whole-pixel moves would stand still and jump."""
    move = Move(zoom_start=1.2, zoom_end=1.2, pan_x=1.0, pan_y=-1.0, easing="linear", one_way=20.0)
    places = [centre(frame) for frame in moving(dots(), move, 100)]
    for axis, (sign, room) in enumerate(((-1, 192 - 192 / 1.2), (1, 128 - 128 / 1.2))):
        steps = np.diff([place[axis] for place in places])
        wanted = sign * room / 2 / (20 * 25) * 1.2  # pixels a frame in the video
        assert abs(wanted) < 0.05
        assert np.abs(steps - wanted).max() < 0.02, (axis, steps.min(), steps.max(), wanted)


def test_the_video_shows_what_the_window_covers():
    frames = list(moving(dots(), Move(zoom_end=2.0, one_way=0.0, easing="linear"), 101))
    still = (dots()[0] * 255).round().numpy()
    assert np.abs(frames[0].astype(float) - still).max() <= 1  # the picture itself
    widths = [(frame[64, :, 0] > 127).sum() for frame in (frames[0], frames[-1])]
    assert widths[1] == pytest.approx(2 * widths[0], abs=2)
    assert all(centre(frame) == pytest.approx((96, 64), abs=0.05) for frame in frames[::20])


@pytest.mark.parametrize("easing", EASINGS)
@pytest.mark.parametrize("size", [(192, 128), (641, 480), (333, 777), (4000, 3000)])
def test_the_window_never_leaves_the_picture_and_keeps_its_shape(size, easing):
    output = output_size(*size)
    for pan_x, pan_y in ((1, -1), (-1, 1), (0.3, 0)):
        move = Move(1.0, 3.0, pan_x, pan_y, easing, one_way=4.0)
        for index in range(0, 25 * 20, 7):
            left, top, right, bottom = move.box(move.way(index / 25, 20.0), size, output)
            assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
            assert (right - left) / (bottom - top) == pytest.approx(output[0] / output[1], rel=1e-9)


def test_at_the_end_of_the_way_the_window_touches_the_edges_it_was_sent_to():
    left, top, right, bottom = Move(1.0, 2.0, 1.0, -1.0).box(1.0, (200, 100), (200, 100))
    assert (left, top, right, bottom) == (100, 0, 200, 50)
    assert Move(2.0, 2.0, -0.5, 0.0).box(1.0, (200, 100), (200, 100)) == (25, 25, 125, 75)
    assert Move(2.0, 2.0, -0.5, 0.0).box(0.0, (200, 100), (200, 100)) == (50, 25, 150, 75)


@pytest.mark.parametrize("easing", EASINGS)
def test_there_and_back_for_hours_neither_stops_nor_wanders_off(easing):
    move = Move(easing=easing, one_way=10.0)
    assert [round(move.way(second, 1e5), 9) for second in (0, 10, 20, 30, 36_000, 36_010)] == [0, 1, 0, 1, 0, 1]
    ways = [move.way(36_000 + index / 25, 1e5) for index in range(1000)]
    assert max(abs(a - b) for a, b in pairwise(ways)) < 0.007  # no jump
    rests = sum(a == b for a, b in pairwise(ways))
    assert rests == 0 and 0 <= min(ways) and max(ways) <= 1


def test_once_over_the_whole_length():
    move = Move(easing="linear", one_way=0.0)
    assert [move.way(second, 100.0) for second in (0, 25, 100)] == [0, 0.25, 1]


def test_smooth_slows_down_at_both_ends_and_linear_does_not():
    smooth, linear = (Move(easing=easing, one_way=10.0) for easing in ("smooth", "linear"))
    speed = [smooth.way(second + 0.04, 0) - smooth.way(second, 0) for second in (0, 5, 9.96)]
    assert speed[0] < speed[1] / 50 > speed[2]
    assert linear.way(5.04, 0) - linear.way(5, 0) == pytest.approx(0.004)


def test_a_large_picture_keeps_its_detail_when_zoomed_in():
    """Stripes too fine for the whole view are seen through a zoom of 4, not averaged away beforehand."""
    stripes = (torch.arange(6000) // 4 % 2).float()[None, None, :, None].expand(1, 400, 6000, 3)
    assert output_size(6000, 400) == (5576, 370)
    frame = list(moving(stripes, Move(1.0, 4.0, easing="linear", one_way=0.4), 11))[-1]
    assert np.ptp(frame[185, 2000:2200, 0].astype(int)) > 200


def test_sizes_are_even_and_bounded():
    assert output_size(641, 479) == (640, 478)
    for size in ((640, 640), (4000, 3000), (16_384, 64), (5, 3), (1081, 1921)):
        width, height = output_size(*size)
        assert width % 2 == height % 2 == 0 and width * height <= MAX_PIXELS
        assert width <= size[0] and height <= size[1]


def test_the_file_is_what_was_asked_for(tmp_path):
    seen = []
    path = write_moving(dots(), tmp_path / "v.mp4", Move(), 37, report=seen.append)
    video = read(path)
    assert len(video.times) == 37 and video.pixels.shape[1:3] == (128, 192)
    assert seen == [8, 16, 24, 32, 37] and os.listdir(tmp_path) == ["v.mp4"]
    wanted = np.stack(list(moving(dots(), Move(), 37))).astype(float)
    assert np.abs(video.pixels - wanted).max() < 12 and np.abs(video.pixels - wanted).mean() < 1


def test_cancel_leaves_no_file(tmp_path):
    def cancel(done: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_moving(dots(), tmp_path / "v.mp4", Move(), 500, report=cancel)
    assert os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_the_length(tmp_path):
    code = """
import sys, psutil, torch
from pathlib import Path
from infinitetalk.panzoom import Move, write_moving
torch.manual_seed(0)
image, process, resident = torch.rand(1, 192, 256, 3), psutil.Process(), []
report = lambda done: resident.append(process.memory_info().rss / 2**20)
write_moving(image, Path(sys.argv[1]), Move(), 1000, 30, report)
print(max(resident[:35]), max(resident))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "v.mp4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    early, late = map(float, done.stdout.split())  # the frames in between are 106 MB
    assert late - early < 8, done.stdout


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"zoom_start": 0.9}, "zoom_start: 0.9 is outside 1 to 4"),
        ({"zoom_end": 4.5}, "zoom_end: 4.5 is outside 1 to 4"),
        ({"zoom_end": float("nan")}, "zoom_end: nan is outside 1 to 4"),
        ({"pan_x": 1.2}, "pan_x: 1.2 is outside -1 to 1"),
        ({"pan_y": -2.0}, "pan_y: -2.0 is outside -1 to 1"),
        ({"easing": "bouncy"}, "easing: 'bouncy' is unknown"),
        ({"one_way": -1.0}, "there_and_back: -1.0 s is outside"),
        ({"zoom_end": 1.0}, "zoom 1.0 to 1.0, pan 0.0, 0.0: nothing would move"),
        ({"zoom_end": 1.0, "pan_x": 1.0}, "zoom 1.0 to 1.0, pan 1.0, 0.0: nothing would move"),
        ({"zoom_start": 1.3, "zoom_end": 1.3}, "nothing would move"),
    ],
)
def test_a_move_that_cannot_be_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Move(**values)


def test_lengths_and_pictures_that_cannot_be_are_refused(tmp_path):
    assert frame_count(0.04) == 1 and frame_count(60.0) == 1500
    for seconds in (0.0, -1.0, 1e6, float("nan")):
        with pytest.raises(InputError, match="seconds: "):
            frame_count(seconds)
    with pytest.raises(
        InputError, match=r"image: of 192x128 pixels a zoom of 4 leaves 48x32, less than 64 a side\.\nZoom at most 2"
    ):
        write_moving(dots(), tmp_path / "v.mp4", Move(zoom_end=4.0), 5)
    with pytest.raises(InputError, match="image: 4 channels"):
        write_moving(torch.zeros(1, 128, 128, 4), tmp_path / "v.mp4", Move(), 5)
    assert os.listdir(tmp_path) == []
