"""What lasts: identity, colours and seams of drawn videos as they are, and with a planted change of known size."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from talker.lasting import colour_drift, identity, seams, trend
from talker.scene import person_boxes, sample_scenes, search_boxes
from tests.unit.talking import curves, speak, spoil, video

HALF, FRAMES = 75, 150  # the change comes after three of six seconds


@pytest.fixture(scope="module")
def scene():
    return sample_scenes(1, seed=8)


@pytest.fixture(scope="module")
def same(scene) -> np.ndarray:
    """Six seconds of one person, before any change."""
    return speak(scene, *curves(1, FRAMES))


@pytest.fixture(scope="module")
def boxes(scene) -> tuple[np.ndarray, np.ndarray]:
    return search_boxes(scene)[0, 0].numpy(), person_boxes(scene)[0, 0].numpy()


def changed(scene, same: np.ndarray, **looks) -> np.ndarray:
    """The same six seconds, with other looks (or another size of the face) in the last three."""
    face = looks.pop("face", scene.face)
    other = replace(scene, face=face, looks=replace(scene.looks, **looks))
    opening, width = curves(1, FRAMES)
    return np.concatenate([same[:HALF], speak(other, opening[:, HALF:], width[:, HALF:], start=HALF / 25)])


def tinted(frames: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    """The frames with L*, a* and b* shifted."""
    lab = [cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) + np.float32(shift) for frame in frames]
    rgb = np.stack([cv2.cvtColor(frame, cv2.COLOR_LAB2RGB) for frame in lab])
    return (rgb * 255).round().clip(0, 255).astype(np.uint8)


# ---------------------------------------------------------------- identity


def test_one_person_stays_who_it_is(same, boxes, tmp_path):
    for frames in (same, video(same, tmp_path), spoil(same)):
        found = identity(frames, *boxes)
        assert found.colour.shape == found.shape.shape == (6,)
        assert found.colour[0] == found.shape[0] == 0
        assert found.colour.max() < 3 and found.shape.max() < 2


def test_another_skin_is_seen_as_a_colour(scene, same, boxes):
    skin = (scene.looks.skin * torch.tensor([0.9, 0.95, 1.0])).clamp(0, 1)
    before, after = np.split(identity(changed(scene, same, skin=skin), *boxes).colour[1:], [2])
    assert after.min() > before.max() + 1.5


def test_other_hair_is_seen_as_a_colour(scene, same, boxes):
    before, after = np.split(identity(changed(scene, same, hair=1 - scene.looks.hair), *boxes).colour[1:], [2])
    assert after.min() > before.max() + 3


def test_a_shrunk_head_is_seen_as_a_shape(scene, same, boxes, tmp_path):
    found = identity(video(changed(scene, same, face=scene.face * 0.94), tmp_path), *boxes)
    assert found.shape[3:] == pytest.approx(6, abs=1.5)
    assert found.shape[:3].max() < 2


def test_a_narrowed_face_is_seen_as_a_shape(scene, same, boxes):
    found = identity(changed(scene, same, face_x=scene.looks.face_x * 0.85), *boxes)
    assert found.shape[3:].min() > found.shape[:3].max() + 1


def test_a_face_that_is_gone_is_infinitely_far(same, boxes):
    frames = same.copy()
    frames[HALF:] = 128
    found = identity(frames, *boxes)
    assert np.isinf(found.shape[3:]).all() and found.colour[3:].min() > 10


def test_the_trend_is_that_of_the_ends():
    assert trend(np.r_[0, np.full(29, 2.0)]) == 1
    assert trend(np.r_[0, np.full(9, 2.0), np.full(10, 99.0), np.full(10, 3.0)]) == 1.5
    assert trend([[0, 1, 2, 3], [0, 3, 6, 9]], seconds=2) == 2.5
    with pytest.raises(ValueError, match="20 s or more"):
        trend(np.ones(19))


# ---------------------------------------------------------------- colours


def test_a_planted_tint_has_its_size(same, boxes, tmp_path):
    frames = np.concatenate([same[:HALF], tinted(same[HALF:], (-3.0, 1.5, 2.0))])
    for drifted in (frames, video(frames, tmp_path)):
        found = colour_drift(drifted, boxes[:1])
        assert found[:3].max() < 0.5
        assert found[3:] == pytest.approx(np.sqrt(3.0**2 + 1.5**2 + 2.0**2), abs=0.6)


def test_a_dubbed_video_is_compared_to_its_source(same, boxes):
    source = np.concatenate([same[:HALF], tinted(same[HALF:], (5, 0, 0))])
    assert colour_drift(source, boxes[:1], source).max() == 0
    assert colour_drift(same, boxes[:1], source)[3:] == pytest.approx(5, abs=0.6)


# ---------------------------------------------------------------- seams

BORDERS = np.array([33, 65, 97, 129])


def test_without_windows_there_are_no_seams(same, boxes, tmp_path):
    found = seams(video(same, tmp_path), BORDERS, boxes[:1])
    assert found.plain.shape == found.steady.shape == (4,)
    assert 0.6 < found.steady.mean() < 1.3


@pytest.mark.parametrize("kind", ["tint", "place"])
def test_a_planted_jump_is_a_seam(same, boxes, tmp_path, kind):
    frames = same.copy()
    for first, last in ((33, 65), (97, 129)):
        if kind == "tint":
            frames[first:last] = np.minimum(frames[first:last], 251) + 4
        else:
            frames[first:last] = np.roll(frames[first:last], 1, axis=2)
    found = seams(video(frames, tmp_path), BORDERS, boxes[:1])
    assert found.steady.min() > 1.5 and found.plain.mean() > 1.5


def test_a_video_of_groups_has_steps_but_no_seams(same, boxes):
    """A decoder that moves little within its groups jumps at every border, and no more at a window's."""
    frames = same.astype(np.float32)
    groups = frames[1:149].reshape(37, 4, *frames.shape[1:])
    frames[1:149] = (groups.mean(axis=1, keepdims=True) * 0.7 + groups * 0.3).reshape(148, *frames.shape[1:])
    found = seams(frames.round().astype(np.uint8), BORDERS, boxes[:1])
    assert found.steady.mean() == pytest.approx(1, abs=0.3)


def test_a_still_picture_has_no_seam(same):
    found = seams(np.repeat(same[:1], 100, axis=0), np.array([33, 65]))
    assert found.plain.tolist() == found.steady.tolist() == [1, 1]


def test_borders_are_those_of_latent_frames(same):
    with pytest.raises(ValueError, match="no borders of latent frames"):
        seams(same, np.array([34]))
