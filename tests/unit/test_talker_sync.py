"""Lip-sync: a perfect clip, a late one and one with another's speech; what is undefined; people of one picture."""

from __future__ import annotations

import math

import numpy as np
import pytest

from talker.measure import Mouth, mouth
from talker.sync import best_lag, closed_share, correlation, correlations, latent_means, score, swap
from tests.unit.talking import clip, curves, video


@pytest.fixture(scope="module")
def drawn():
    return clip(frames=101, seed=5)


@pytest.fixture(scope="module")
def measured(drawn, tmp_path_factory) -> Mouth:
    return mouth(video(drawn.frames, tmp_path_factory.mktemp("video")), drawn.mouths[0])


def test_a_perfect_clip_has_a_perfect_score(drawn, measured):
    found = score(measured, drawn.opening[0], drawn.width[0], drawn.unit)
    assert found.opening > 0.99 and found.latent > 0.99 and found.width > 0.97
    assert found.lag == 0 and found.closed == 1


@pytest.mark.parametrize("late", [-6, -1, 1, 4])
def test_a_shifted_clip_shows_its_lag(drawn, measured, late):
    shifted = Mouth(np.roll(measured.opening, late), np.roll(measured.width, late))
    found = score(shifted, drawn.opening[0], drawn.width[0])
    assert found.lag == late
    assert found.opening < 0.95


def test_a_swapped_clip_fails(drawn, measured):
    opening, width = curves(1, 101, seed=77)
    found = score(measured, opening[0], width[0])
    assert found.opening < 0.3 and found.latent < 0.4 and found.width < 0.4 and found.closed < 0.9


def test_a_swap_tells_the_voices_of_one_picture_apart(tmp_path):
    drawn = clip(3, 125, (128, 256), seed=6)
    frames = video(drawn.frames, tmp_path)
    openings = np.stack([mouth(frames, box).opening for box in drawn.mouths])
    found = swap(openings, drawn.opening)
    assert found.own.min() > 0.99
    assert np.abs(found.other).max() < 0.3
    wrong = swap(openings[[1, 2, 0]], drawn.opening)
    assert wrong.own.max() < 0.3 and wrong.other.min() > 0.3
    with pytest.raises(ValueError, match="two or more"):
        swap(openings, drawn.opening[:2])


def test_a_person_who_never_speaks_has_no_say_in_a_swap():
    truths = np.stack([*curves(2, 60)[0], np.zeros(60)])
    found = swap(truths, truths)
    assert found.own[:2] == pytest.approx(1) and math.isnan(found.own[2])
    assert found.other[0] == pytest.approx(correlation(truths[0], truths[1]))
    assert found.other[2] == 0


def test_a_mouth_that_never_moves_follows_nothing_and_silence_says_nothing():
    speech = curves(1, 60)[0][0]
    assert correlation(np.full(60, 3.0), speech) == 0
    assert math.isnan(correlation(speech, np.zeros(60)))
    assert best_lag(np.full(60, 3.0), speech) == 0
    table = correlations(np.stack([speech, -speech]), np.stack([speech, np.zeros(60)]))
    assert table[:, 0] == pytest.approx([1, -1]) and np.isnan(table[:, 1]).all()


def test_latent_frames_are_frame_0_and_means_of_four():
    assert latent_means(np.arange(11.0)).tolist() == [0, 2.5, 6.5]
    assert latent_means(np.ones((2, 81))).shape == (2, 21)
    assert latent_means(np.arange(1.0)).tolist() == [0]


def test_closed_counts_the_silent_frames_only():
    truth = np.array([0.5, 0, 0, 0, 0, 0.3])
    assert closed_share(np.array([0, 0, 0.9, 1.1, 0, 9]), truth) == 0.75
    assert closed_share(np.array([0, 0, 0.9, 1.1, 0, 9]), truth, unit=1.25) == 1
    assert math.isnan(closed_share(np.ones(3), np.ones(3)))


def test_a_lag_needs_a_clip_longer_than_the_search():
    with pytest.raises(ValueError, match="21 frames"):
        best_lag(np.arange(21), np.arange(21))
