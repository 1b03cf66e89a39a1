"""Drift: each measure against pictures whose drift is known, what is undefined elsewhere, and the summary."""

from __future__ import annotations

import json
import math

import pytest
import torch

from infinitetalk import drift
from infinitetalk.drift import MEASURES, measure, summary, thumbs
from infinitetalk.timeline import Window

LATER = Window(1, 72, 153, 9, 72, 0)  # the second window of an ordinary run
FIRST = Window(0, 0, 81, 0, 81, 0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def grey(values, side: int = 32) -> torch.Tensor:
    """[n, side, side, 3], one grey of 0..1 per frame."""
    return torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, side, side, 3).contiguous()


def still(picture: torch.Tensor, count: int = 81) -> torch.Tensor:
    return picture.expand(count, *picture.shape)


# ---------------------------------------------------------------- small copies


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(640, 640, (128, 128)), (832, 480, (118, 68)), (720, 1280, (72, 128)), (64, 48, (64, 48)), (128, 129, (64, 64))],
)
def test_small_copies_are_means_of_whole_squares(height, width, expected):
    frames = noise(2, height, width, 3)
    small = thumbs(frames)
    side = max(1, math.ceil(max(height, width) / 128))
    assert small.shape == (2, *expected, 3) and small.dtype == torch.uint8
    square = frames[1, side : 2 * side, 2 * side : 3 * side].mean(dim=(0, 1)) * 255
    assert (small[1, 1, 2].float() - square).abs().max() <= 0.5 + 1e-3


def test_small_copies_do_not_depend_on_the_blocks(monkeypatch):
    frames = noise(7, 160, 144, 3)
    whole = thumbs(frames)
    monkeypatch.setattr(drift, "BLOCK_PIXELS", 2 * 160 * 144)
    assert torch.equal(thumbs(frames), whole)


# ---------------------------------------------------------------- measures


def test_a_window_that_stands_still_has_not_drifted():
    picture = noise(64, 48, 3)
    found = measure(LATER, still(picture), picture, thumbs(still(picture, 9)))
    for name, (_, _, ideal) in MEASURES.items():
        assert found[name] == pytest.approx(ideal, abs=1e-4), name
    assert found["window"] == 2 and found["begin"] == pytest.approx(81 / 25)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_colour_is_the_distance_in_lab():
    """Grey 50 % has L* 53.39, black 0: the distance is known. A mean cannot see contrast, the distribution can."""
    found = measure(FIRST, grey([0.5] * 81), torch.zeros(32, 32, 3), None)
    assert found["colour"] == pytest.approx(53.4, abs=0.2) and found["colour_spread"] == pytest.approx(53.4, abs=0.2)
    half = torch.cat((grey([0.0])[0, :16], grey([1.0])[0, 16:]))  # L* 0 and 100, mean 50
    found = measure(FIRST, grey([0.46633] * 81), half, None)  # L* 50
    assert found["colour"] < 0.3 and found["colour_spread"] == pytest.approx(50, abs=0.3)


def test_the_distribution_is_never_nearer_than_the_mean():
    for seed in range(5):
        frames = (noise(81, 32, 32, 3, seed=seed) * torch.tensor([1.0, 0.8, 0.6])) ** (1 + seed / 3)
        found = measure(FIRST, frames, noise(32, 32, 3, seed=seed + 9), None)
        assert found["colour_spread"] >= found["colour"] - 1e-3


def test_only_new_frames_count_for_colour_and_sharpness():
    """Neither the motion frames nor what lies behind the speech's end goes into the video."""
    picture = noise(32, 32, 3)
    frames = still(picture).clone()
    frames[:9] = 0
    frames[30:] = 1
    found = measure(Window(1, 72, 153, 9, 21, 0), frames, picture, thumbs(still(picture, 9)))
    assert found["colour_spread"] == pytest.approx(0, abs=1e-4)
    assert found["sharpness_ratio"] == pytest.approx(1, abs=1e-4)
    assert found["motion"] > 50


def test_sharpness_is_the_variance_of_the_laplacian():
    """A checkerboard of 0 and 1: the Laplacian is 4 * 255 up and down inside, less at the border."""
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float()[..., None].expand(64, 64, 3)
    found = measure(FIRST, still(board), board * 0.5, None)
    assert found["sharpness"] == pytest.approx((4 * 255) ** 2, rel=0.05)
    assert found["sharpness_ratio"] == pytest.approx(4, rel=1e-3)
    soft = torch.nn.functional.avg_pool2d(noise(1, 3, 64, 64), 3, 1, 1)[0].movedim(0, -1)
    assert measure(FIRST, still(soft), noise(64, 64, 3), None)["sharpness_ratio"] < 0.2


def test_the_seam_is_measured_from_the_frames_that_were_shown():
    """One level brighter from frame to frame, and 12 at the seam."""
    frames = grey([(40 + i) / 255 for i in range(81)])
    tail = thumbs(grey([(29 + i) / 255 for i in range(9)]))  # the last one shown: 37; the first new one: 49
    found = measure(LATER, frames, grey([0.2])[0], tail)
    assert found["step"] == pytest.approx(1) and found["group_step"] == pytest.approx(1)
    assert found["seam"] == pytest.approx(12) and found["motion"] == pytest.approx(11)
    assert found["seam_ratio"] == pytest.approx(12.5 / 1.5) and found["seam_group_ratio"] == pytest.approx(12.5 / 1.5)


def test_steps_between_latent_frames_are_told_apart():
    """Each latent frame of four is 4 levels brighter than the one before: steps of 4 after frames 0, 4, 8, ..."""
    level = [0] + [4 * (1 + i // 4) for i in range(80)]
    frames = grey([(20 + value) / 255 for value in level])
    found = measure(LATER, frames, grey([0.2])[0], thumbs(frames[:9]))
    assert found["group_step"] == pytest.approx(4) and found["step"] == pytest.approx(4 * 19 / 79)
    assert found["seam"] == pytest.approx(4) and found["seam_group_ratio"] == pytest.approx(1)
    assert found["seam_ratio"] > 2.5


def test_where_nothing_is_continued_there_is_no_seam():
    found = measure(FIRST, noise(81, 16, 16, 3), noise(16, 16, 3), None)
    assert "seam" not in found and "motion" not in found and found["begin"] == 0


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("keep", [1, 2, 81])
def test_every_value_is_finite(value, keep):
    """Flat pictures, one-frame windows and frames that are no numbers."""
    frames = torch.full((81, 16, 32, 3), value)
    for window, tail in (
        (FIRST, None),
        (Window(3, 10, 91, 9, min(keep, 72), 0), thumbs(grey([0.5] * 9, 16)[:, :, :1])),
    ):
        tail = None if tail is None else tail.expand(-1, 16, 32, 3)
        window = Window(window.index, window.start, window.end, window.motion, min(keep, window.keep), 0)
        found = measure(window, frames, torch.zeros(16, 32, 3), tail)
        assert all(math.isfinite(number) for number in found.values())
    one = measure(Window(0, 0, 1, 0, 1, 0), frames[:1], torch.zeros(16, 32, 3), None)
    assert one["step"] == one["group_step"] == 0


def test_types_and_blocks_do_not_change_the_measures(monkeypatch):
    frames, picture = noise(81, 48, 32, 3), noise(48, 32, 3, seed=1)
    tail = thumbs(noise(9, 48, 32, 3, seed=2))
    before = frames.clone()
    whole = measure(LATER, frames, picture, tail)
    monkeypatch.setattr(drift, "BLOCK_PIXELS", 5 * 48 * 32)
    assert measure(LATER, frames, picture, tail) == pytest.approx(whole, rel=1e-5)
    assert measure(LATER, frames.bfloat16(), picture, tail) == pytest.approx(whole, rel=0.02, abs=0.1)
    assert torch.equal(frames, before)


# ---------------------------------------------------------------- summary


def records(count: int, **changes) -> list[dict[str, float]]:
    """A run whose colour moves by 0.1 per window of 2.88 s and whose other measures stand still."""
    found = [
        {"window": n + 1, "begin": n * 2.88, "colour": 0.1 * n, "colour_spread": 0.2, "sharpness_ratio": 1.0}
        | ({"seam_ratio": 1.0, "seam_group_ratio": 1.0, "motion": 0.5} if n else {})
        for n in range(count)
    ]
    for name, (window, value) in changes.items():
        found[window - 1][name] = value
    return found


def test_the_summary_compares_first_and_last_and_names_the_worst():
    found = summary(records(30, sharpness_ratio=(7, 0.4), seam_ratio=(12, 3.5), colour_spread=(30, 2.0)))
    colour = found["measures"]["colour"]
    assert (colour["first"], colour["last"]) == (0, pytest.approx(2.9))
    assert colour["per_minute"] == pytest.approx(0.1 * 60 / 2.88)
    assert (colour["worst"], colour["worst_window"]) == (pytest.approx(2.9), 30)
    assert found["measures"]["sharpness_ratio"]["worst_window"] == 7
    assert found["measures"]["motion"]["first"] == 0.5  # of the first window that has one
    assert found["windows"] == 30 and found["seconds"] == pytest.approx(29 * 2.88)
    assert found["text"] == (
        "Drift over 30 windows: colour 0.20 -> 2.00 dE (+0.24/min), sharpness 1.00 -> 1.00 (+0.05/min), "
        "worst seam 3.5x (window 12), motion frames off by up to 0.5 levels (window 2)."
    )
    json.dumps(found, allow_nan=False)


def test_half_as_sharp_is_as_far_as_twice_as_sharp():
    both = records(5, sharpness_ratio=(2, 0.45))
    both[3]["sharpness_ratio"] = 2.0
    assert summary(both)["measures"]["sharpness_ratio"]["worst_window"] == 2


def test_short_runs_have_a_summary_too():
    assert summary([])["windows"] == 0 and "no window" in summary([])["text"]
    one = summary(records(1))
    assert one["measures"]["colour"]["per_minute"] == 0 and "seam_ratio" not in one["measures"]
    assert one["text"].startswith("Drift over 1 window: colour 0.20 -> 0.20 dE (+0.00/min)")
    assert summary(records(9)[::-1]) == summary(records(9))  # in whatever order they come
