"""Frames, latent frames, samples and the window plan."""

from __future__ import annotations

import pytest

from infinitetalk.config import WindowConfig
from infinitetalk.timeline import feature_frames, frames_of_latent, latent_frames, plan, video_frames


@pytest.mark.parametrize("samples, frames", [(0, 0), (639, 0), (640, 1), (1600, 2), (52_800, 82), (126_400, 197)])
def test_feature_frames(samples, frames):
    assert feature_frames(samples) == frames


@pytest.mark.parametrize("frames, latents", [(1, 1), (5, 2), (17, 5), (81, 21)])
def test_latent_frames(frames, latents):
    assert latent_frames(frames) == latents


def test_plan_of_81_9():
    windows = plan(200, WindowConfig(), seed=7)
    assert [(w.start, w.end, w.motion, w.keep, w.seed) for w in windows] == [
        (0, 81, 0, 81, 7),
        (72, 153, 9, 72, 8),
        (144, 225, 9, 47, 9),
    ]
    assert [w.index for w in windows] == [0, 1, 2]


@pytest.mark.parametrize("frames, motion", [(81, 9), (17, 9), (5, 1), (33, 29)])
@pytest.mark.parametrize("total", [1, 4, 5, 6, 16, 17, 18, 25, 33, 80, 81, 82, 153, 154, 200, 1000])
def test_every_frame_comes_once_and_in_order(total, frames, motion):
    windows = plan(total, WindowConfig(frames, motion))
    shown = [w.start + w.motion + i for w in windows for i in range(w.keep)]
    assert shown == list(range(total)) and video_frames(windows) == total
    assert all(w.frames == frames and w.keep > 0 for w in windows)
    assert all(w.end < total for w in windows[:-1])


def test_clip_is_the_first_window():
    assert plan(200, WindowConfig(), mode="clip") == plan(200, WindowConfig())[:1]
    assert video_frames(plan(200, WindowConfig(), mode="clip")) == 81
    assert video_frames(plan(30, WindowConfig(), mode="clip")) == 30


def test_no_speech_no_windows():
    assert plan(0, WindowConfig()) == ()


def test_latent_and_video_frames_are_inverse():
    assert [frames_of_latent(latent_frames(frames)) for frames in (1, 5, 9, 81)] == [1, 5, 9, 81]


def test_seeds_stay_in_the_hosts_range():
    last = 2**64 - 1
    assert [window.seed for window in plan(100, WindowConfig(), seed=last)] == [last, 0]
