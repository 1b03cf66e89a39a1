"""The camera's motion: its size on drawn pans and zooms, and what correlates with what."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from talker.flow import camera_motion, flow_correlation
from talker.measure import head_box
from talker.motion import camera_at
from talker.scene import person_boxes, sample_scenes, search_boxes
from tests.unit.talking import curves, speak, spoil, video

STILL, LEFT, RIGHT, IN, OUT = range(5)
FRAMES = 50


def filmed(camera: int, seed: int = 9):
    """(frames, boxes of the head [1, T, 4], true motion [T - 5, 3]) of one scene, whose camera alone depends on it."""
    scene = sample_scenes(1, seed=seed, camera=torch.tensor([camera]))
    times = torch.arange(FRAMES) / 25
    zoom, pan = (value[0].numpy() for value in camera_at(scene.camera, times[None]))
    true = np.stack([(pan[5:] - pan[:-5]) * scene.unit, 0 * pan[5:], zoom[5:] / zoom[:-5] - 1], axis=-1) / 5
    mouths, people = (boxes(scene, times)[0, 0].numpy() for boxes in (search_boxes, person_boxes))
    heads = np.stack([head_box(*pair) for pair in zip(mouths, people, strict=True)])
    return speak(scene, *curves(1, FRAMES)), heads[None], true


@pytest.mark.parametrize("camera", [LEFT, RIGHT, IN, OUT])
@pytest.mark.parametrize("seed", [9, 10])
def test_a_planted_camera_is_seen_with_its_speed(camera, seed, tmp_path):
    frames, heads, true = filmed(camera, seed)
    for seen in (video(frames, tmp_path), spoil(frames)):
        found = camera_motion(seen, heads).mean(axis=0)
        assert found[:2] == pytest.approx(true.mean(axis=0)[:2], abs=0.05)
        assert found[2] == pytest.approx(true.mean(axis=0)[2], abs=0.0005)


def test_the_same_camera_correlates_and_another_does_not(tmp_path):
    films = [filmed(camera) for camera in (STILL, LEFT, RIGHT, IN, OUT)]
    still, left, right, closer, away = (video(frames, tmp_path) for frames, _, _ in films)
    heads = films[STILL][1]
    assert flow_correlation(left, films[LEFT][0], heads) > 0.98
    assert flow_correlation(spoil(films[IN][0], blur=1.5), closer, heads) > 0.9
    assert flow_correlation(left, right, heads) < -0.8
    assert flow_correlation(closer, away, heads) < -0.8
    assert abs(flow_correlation(closer, left, heads)) < 0.4
    assert abs(flow_correlation(still, left, heads)) < 0.4
    assert math.isnan(flow_correlation(left, np.repeat(still[:1], FRAMES, axis=0)))


def test_half_the_speed_is_the_same_direction():
    frames, heads, _ = filmed(RIGHT)
    assert flow_correlation(np.repeat(frames, 2, axis=0)[:FRAMES], frames, heads) > 0.8


def test_larger_pictures_move_by_more_pixels():
    frames, heads, _ = filmed(LEFT)
    large = frames.repeat(3, axis=1).repeat(3, axis=2)
    one, three = camera_motion(frames, heads).mean(axis=0), camera_motion(large, heads * 3).mean(axis=0)
    assert three == pytest.approx(one * (3, 3, 1), rel=0.02, abs=1e-3)


def test_a_motion_needs_frames():
    with pytest.raises(ValueError, match="5 frames"):
        camera_motion(np.zeros((5, 64, 64, 3), dtype=np.uint8))
