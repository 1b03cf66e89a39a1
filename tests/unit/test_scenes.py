"""Cuts of real videos, found in the frames that the plan shows, without a gap between scenes."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.scenes import DETECTORS, Scenes, find_scenes, join_short
from infinitetalk.source import PictureSource, VideoSource

from .clips import NTSC, write_clip


def scene(seed: int, frames: int, brightness: float = 1.0) -> list[np.ndarray]:
    """A picture of large coloured patches, with a little noise in every frame."""
    random = np.random.default_rng(seed)
    picture = random.integers(40, 216, (6, 8, 3)).repeat(16, 0).repeat(16, 1) * brightness
    return [(picture + random.integers(-4, 5, picture.shape)).clip(0, 255).astype(np.uint8) for _ in range(frames)]


def film(*lengths: int) -> list[np.ndarray]:
    return [picture for seed, length in enumerate(lengths) for picture in scene(seed, length)]


@pytest.mark.parametrize("detector", ["adaptive", "content", "all"])
def test_every_cut_is_found_at_its_frame_and_nowhere_else(tmp_path, detector):
    scenes = find_scenes(VideoSource(write_clip(tmp_path / "v.mp4", film(40, 30, 50), 25)), detector)
    assert scenes == Scenes((0.0, 40 / 25, 70 / 25), 120 / 25)
    assert scenes.cuts(120) == (40, 70) and scenes.cuts(70) == (40,) and scenes.cuts(9) == ()


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), NTSC, Fraction(60)])
def test_a_cut_is_the_first_frame_of_the_plan_that_shows_the_new_scene(tmp_path, rate):
    scenes = find_scenes(VideoSource(write_clip(tmp_path / "v.mp4", film(41, 47, 60), rate)))
    assert scenes.cuts(10_000) == tuple(math.ceil(number * 25 / rate) for number in (41, 88))


def test_cuts_of_a_source_of_variable_rate_are_where_they_are_seen(tmp_path):
    lengths = np.random.default_rng(2).integers(20, 90, 120)
    times = [0, *lengths.cumsum().tolist()][:120]
    path = write_clip(tmp_path / "v.mkv", film(50, 70), 25, times, Fraction(1, 1000))
    assert find_scenes(VideoSource(path), "content").cuts(10_000) == (-(-times[50] // 40),)


def test_times_of_a_trimmed_video_count_from_where_it_was_trimmed(tmp_path):
    path = write_clip(tmp_path / "v.mp4", film(50, 50, 50), 25)
    scenes = find_scenes(VideoSource(path, start=1.0, duration=4.0))
    assert scenes == Scenes((0.0, 1.0, 3.0), 4.0)


def test_a_fade_through_black_is_found_by_threshold(tmp_path):
    fade = [*np.linspace(1, 0, 12), *[0] * 6, *np.linspace(0, 1, 12)]
    middle = [scene(0 if index < 15 else 1, 1, level)[0] for index, level in enumerate(fade)]
    source = VideoSource(write_clip(tmp_path / "v.mp4", [*scene(0, 30), *middle, *scene(1, 30)], 25))
    (cut,) = find_scenes(source, "threshold").cuts(90)
    assert abs(cut - 45) <= 2


def test_a_moving_camera_and_a_still_picture_have_no_cuts(tmp_path):
    wide = scene(3, 1)[0].repeat(2, 1)
    pan = [wide[:, index : index + 128] for index in range(100)]
    assert find_scenes(VideoSource(write_clip(tmp_path / "v.mp4", pan, 25))).starts == (0.0,)
    still = find_scenes(VideoSource(write_clip(tmp_path / "s.mp4", [scene(0, 1)[0]] * 30, 25)), "all")
    assert still == Scenes((0.0,), 30 / 25)


def test_a_batch_of_pictures_has_scenes_too():
    images = torch.from_numpy(np.stack(film(20, 20))).float() / 255
    assert find_scenes(PictureSource(images, 10)).cuts(100) == (50,)


def test_short_scenes_join_the_one_before_and_no_time_is_lost(tmp_path):
    source = VideoSource(write_clip(tmp_path / "v.mp4", film(30, 5, 30), 25))
    assert find_scenes(source, "content", min_seconds=0.0).cuts(99) == (30, 35)
    assert find_scenes(source, "content", min_seconds=0.5).cuts(99) == (35,)
    assert join_short([10, 12, 14, 50], 60, 5) == [0, 14, 50]
    assert join_short([3, 30], 60, 5) == [0, 30]  # the first joins the next
    assert join_short([30, 58], 60, 5) == [0, 30]
    assert join_short([], 60, 5) == [0]


def test_a_threshold_changes_what_counts_as_a_cut(tmp_path):
    source = VideoSource(write_clip(tmp_path / "v.mp4", film(30, 30), 25))
    assert find_scenes(source, "content", 27).cuts(60) == (30,) and find_scenes(source, "content", 200).cuts(60) == ()


def test_progress_tells_every_frame_and_may_end_the_search(tmp_path):
    source, seen = VideoSource(write_clip(tmp_path / "v.mp4", film(30), 25)), []

    def report(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_scenes(source, report=report)
    assert seen == [(number, 30) for number in range(1, 21)]


def test_the_table_can_be_read():
    lines = Scenes((0.0, 4.0, 65.48), 70.0).table().splitlines()
    assert lines[0] == "3 scenes in 1:10.00"
    assert lines[3].split() == ["2", "0:04.00", "1:05.48", "61.48", "s"]
    assert Scenes((0.0,), 2.0).table().startswith("1 scene in 0:02.00")


@pytest.mark.parametrize("starts", [(), (1.0,), (0.0, 2.0, 2.0), (0.0, 9.0)])
def test_scenes_that_do_not_follow_each_other_are_refused(starts):
    with pytest.raises(InputError, match="scenes: starts"):
        Scenes(starts, 9.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("edges", 0.0, 0.5), "detector: 'edges' is unknown"),
        (("content", 256.0, 0.5), "threshold: 256.0 is outside"),
        (("content", float("nan"), 0.5), "threshold: nan is outside"),
        (("all", 27.0, 0.5), "threshold: 27.0 is given"),
        (("content", 0.0, -1.0), "min_seconds: -1.0 is outside"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, settings, message):
    source = VideoSource(write_clip(tmp_path / "v.mp4", film(3), 25))
    with pytest.raises(InputError, match=message):
        find_scenes(source, *settings)


def test_a_library_that_cannot_be_loaded_is_told_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scenedetect", None)  # Python's own way to make an import fail
    source = VideoSource(write_clip(tmp_path / "v.mp4", film(3), 25))
    with pytest.raises(InputError, match=r"PySceneDetect cannot be loaded \(.*\)\.\nInstall it: pip install"):
        find_scenes(source)


def test_every_detector_exists_in_the_library():
    import scenedetect

    for classes, _ in DETECTORS.values():
        assert all(hasattr(scenedetect, name) for name in classes)
