"""Mouths from pixels: against the drawn truth, clean and spoilt, of every size, and with a camera that moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infinitetalk.colour import match_colour
from talker.looks import luminance
from talker.measure import mouth
from talker.scene import sample_scenes, search_boxes
from talker.sync import CLOSED, correlation, width_correlation
from tests.unit.talking import clip, curves, speak, spoil, video


def ellipse(opening: float, half_width: float) -> np.ndarray:
    """A mouth whose inside is `opening` px high, lips 2.5 px around it, on light skin: uint8 [64, 64, 3]."""
    y, x = (np.mgrid[: 64 * 8, : 64 * 8] + 0.5) / 8 - 32
    lips = (x / (half_width + 2.5)) ** 2 + (y / (opening / 2 + 2.5)) ** 2 < 1
    inside = (x / half_width) ** 2 + (y / max(opening / 2, 1e-6)) ** 2 < 1
    picture = np.where(inside[..., None], (40, 5, 10), np.where(lips[..., None], (200, 60, 68), (240, 200, 165)))
    return picture.reshape(64, 8, 64, 8, 3).mean(axis=(1, 3)).round().astype(np.uint8)


@pytest.mark.parametrize("opening", [0.0, 2.0, 6.5, 18.0])
@pytest.mark.parametrize("half_width", [5.0, 12.0])
def test_heights_and_widths_are_pixels(opening, half_width):
    found = mouth(ellipse(opening, half_width)[None], np.array([10, 10, 54, 54]))
    assert found.opening[0] == pytest.approx(opening, abs=0.5)
    assert found.width[0] == pytest.approx(2 * half_width + 5, abs=1.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_decoded_video_of_a_face_shows_its_truth(seed, tmp_path):
    drawn = clip(seed=seed)
    found = mouth(video(drawn.frames, tmp_path), drawn.mouths[0])
    assert correlation(found.opening, drawn.opening[0]) > 0.99
    assert width_correlation(found.width, drawn.width[0], drawn.opening[0]) > 0.97
    assert found.opening[drawn.opening[0] == 0].max() < CLOSED / 2


@pytest.mark.parametrize(("blur", "noise", "least"), [(0.7, 4, 0.99), (1.2, 6, 0.98)])
def test_blur_and_noise_hardly_matter(blur, noise, least):
    drawn = clip(seed=1)
    found = mouth(spoil(drawn.frames, blur, noise), drawn.mouths[0])
    assert correlation(found.opening, drawn.opening[0]) > least
    assert width_correlation(found.width, drawn.width[0], drawn.opening[0]) > 0.95
    assert found.opening[drawn.opening[0] == 0].max() < CLOSED / 2


def test_a_mouth_that_colour_correction_greys_is_still_seen():
    """A wide mouth makes a pale picture darker than its reference, so the correction lightens all that is dark."""
    dark, rows = 0.0, []
    for seed in range(10):
        drawn = clip(seed=seed)
        frames = torch.from_numpy(drawn.frames).float() / 255
        greyed = (match_colour(frames, frames[0]) * 255).round().to(torch.uint8).numpy()
        x0, y0, x1, y1 = drawn.mouths[0].astype(int)
        widest = greyed[drawn.opening[0].argmax(), y0:y1, x0:x1]
        dark = max(dark, float(luminance(widest / 255.0).min()))
        rows.append(correlation(mouth(greyed, drawn.mouths[0]).opening, drawn.opening[0]))
    assert dark > 0.14  # of a mouth that is 0.06 as drawn
    assert min(rows) > 0.99


@pytest.mark.parametrize(("people", "size"), [(1, (96, 160)), (1, (160, 96)), (2, (128, 192)), (3, (128, 256))])
def test_each_of_several_people_is_measured(people, size, tmp_path):
    drawn = clip(people, 50, size, seed=2)
    frames = video(drawn.frames, tmp_path)
    for person in range(people):
        found = mouth(frames, drawn.mouths[person])
        assert correlation(found.opening, drawn.opening[person]) > 0.99


def test_an_idle_person_beside_a_speaker_is_shut(tmp_path):
    scene = sample_scenes(1, 2, (128, 192), seed=3)
    opening, width = curves(2, 50)
    opening[1] = 0
    frames = video(speak(scene, opening, width), tmp_path)
    speaks, idle = (mouth(frames, box) for box in search_boxes(scene)[0].numpy())
    assert correlation(speaks.opening, opening[0]) > 0.99
    assert idle.opening.max() < CLOSED / 2


@pytest.mark.parametrize("camera", [1, 3, 4])
def test_boxes_that_move_with_the_camera_take_its_zoom_out(camera, tmp_path):
    scene = sample_scenes(1, seed=4, camera=torch.tensor([camera]))
    opening, width = curves(1, 100)
    boxes = search_boxes(scene, torch.arange(100) / 25)[0, 0].numpy()
    found = mouth(video(speak(scene, opening, width), tmp_path), boxes)
    assert correlation(found.opening, opening[0]) > 0.99
    assert width_correlation(found.width, width[0], opening[0]) > 0.97


def test_a_box_may_stick_out_of_the_picture_but_not_lie_outside():
    frames = ellipse(8, 10)[None, :, 25:]
    assert mouth(frames, np.array([-9, 10, 29, 70])).opening[0] == pytest.approx(8, abs=0.5)
    with pytest.raises(ValueError, match="outside of the picture of 39x64"):
        mouth(frames, np.array([40, 10, 60, 30]))
