"""Colour correction: Lab against known colours, the statistics it must produce, and constant frames."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.colour import lab_to_rgb, match_colour, rgb_to_lab
from infinitetalk.errors import InputError


def pictures(*shape: int, seed: int = 0, low: float = 0.2, high: float = 0.8) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def lab(frames: torch.Tensor) -> torch.Tensor:
    return rgb_to_lab(frames.movedim(-1, 0).contiguous())


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        # CIE Lab under D65, as published for the sRGB primaries
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb, expected):
    assert torch.allclose(rgb_to_lab(torch.tensor(rgb)), torch.tensor(expected), atol=0.02)


def test_lab_and_back_is_the_same_colour():
    planes = pictures(3, 4, 16, 16, low=0.0, high=1.0)
    assert torch.allclose(lab_to_rgb(rgb_to_lab(planes)), planes, atol=2e-5)


def test_frames_get_the_mean_and_deviation_of_the_reference():
    frames = pictures(3, 40, 30, 3, low=0.4, high=0.6)
    reference = pictures(24, 50, 3, seed=1, low=0.35, high=0.75) * torch.tensor([1.0, 0.9, 0.8])
    matched, target = lab(match_colour(frames, reference)), lab(reference[None])
    for statistic in (torch.mean, torch.std):
        difference = statistic(matched, dim=(-2, -1)) - statistic(target, dim=(-2, -1))
        assert difference.abs().max() < 0.1  # what is cut at 0..1 moves it a little


def test_each_frame_is_matched_on_its_own_in_chunks_or_alone():
    frames, reference = pictures(40, 96, 96, 3), pictures(96, 96, 3, seed=1)  # more than one chunk of pixels
    together = match_colour(frames, reference)
    alone = torch.cat([match_colour(frame[None], reference) for frame in frames])
    assert torch.allclose(together, alone, atol=1e-5)


def test_strength_blends_and_zero_is_the_input_itself():
    frames, reference = pictures(2, 16, 16, 3), pictures(16, 16, 3, seed=1)
    full = match_colour(frames, reference, 1.0)
    assert match_colour(frames, reference, 0.0) is frames
    assert torch.allclose(match_colour(frames, reference, 0.3), frames * 0.7 + full * 0.3, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3333, 0.5, 0.7171, 1.0])
@pytest.mark.parametrize("side", [32, 33, 640])
def test_a_constant_frame_becomes_the_mean_of_the_reference_and_stays_constant(value, side):
    reference = pictures(32, 32, 3, seed=1) * torch.tensor([0.9, 0.8, 0.7])
    matched = lab(match_colour(torch.full((1, side, side, 3), value), reference))
    assert (matched.amax((-2, -1)) - matched.amin((-2, -1))).max() < 0.02
    assert (matched.mean((-2, -1)) - lab(reference[None]).mean((-2, -1))).abs().max() < 0.02


def test_shape_type_and_range_are_kept_and_the_input_is_not_written_to():
    frames = pictures(2, 16, 24, 3, low=-0.1, high=1.1)
    before = frames.clone()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        matched = match_colour(frames.to(dtype), pictures(1, 8, 8, 3, seed=1), 0.5)
        assert matched.shape == frames.shape and matched.dtype == dtype
        assert matched.min() >= 0 and matched.max() <= 1
    assert torch.equal(frames, before)
    assert match_colour(frames[:0], pictures(8, 8, 3)).shape == (0, 16, 24, 3)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_a_strength_outside_the_range_is_refused(strength):
    with pytest.raises(InputError, match="colour correction"):
        match_colour(pictures(1, 8, 8, 3), pictures(8, 8, 3), strength)
