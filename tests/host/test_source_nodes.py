"""Host VIDEOs as sources, and the nodes for scenes and pan and zoom, as the host loads and calls them."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from tests.unit.clips import NTSC, Numbered, number_of, numbered_picture, write_clip

pytestmark = pytest.mark.usefixtures("host")


def film(path: Path) -> Path:
    """Three scenes of 30 frames."""
    random = np.random.default_rng(0)
    scenes = [random.integers(0, 255, (4, 4, 3), dtype=np.uint8).repeat(24, 0).repeat(24, 1) for _ in range(3)]
    return write_clip(path, [picture for picture in scenes for _ in range(30)], 25)


def from_file(path: Path, **trim):
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path), **trim)


def from_pictures(count: int, rate: Fraction):
    from comfy_api.latest import InputImpl, Types

    images = torch.stack([torch.from_numpy(numbered_picture(index)).float() / 255 for index in range(count)])
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=rate)), images


def test_a_video_on_disk_is_read_by_time_and_trimmed(tmp_path):
    from infinitetalk.host.source import open_source

    path = write_clip(tmp_path / "v.mp4", Numbered(300), NTSC)
    assert number_of(open_source(from_file(path)).frame(4.0)) == int(4 * NTSC)
    for trimmed in (from_file(path, start_time=2.0, duration=3.0), from_file(path).as_trimmed(2.0, 3.0)):
        source = open_source(trimmed)
        assert source.seconds == 3.0 and number_of(source.frame(1.0)) == int(3 * NTSC)
        assert number_of(source.frame(99.0)) == int(5 * NTSC)
    end = open_source(from_file(path, start_time=-1.0))
    assert end.seconds == pytest.approx(1.0, abs=0.05)


def test_a_video_in_memory_and_one_of_pictures_are_read_without_a_copy(tmp_path):
    import io

    from comfy_api.latest import InputImpl

    from infinitetalk.host.source import open_source

    data = io.BytesIO(write_clip(tmp_path / "v.mp4", Numbered(60), 25).read_bytes())
    assert number_of(open_source(InputImpl.VideoFromFile(data)).frame(1.0)) == 25
    video, images = from_pictures(40, NTSC)
    source = open_source(video)
    assert number_of(source.frame(1.0)) == int(NTSC) and source.seconds == pytest.approx(40 / NTSC)
    images[0] = 1.0  # seen through the video: nothing was copied or encoded
    assert number_of(source.frame(0.0)) == 65_535
    assert number_of(open_source(images=images, fps=10.0).frame(1.0)) == 10


def test_what_is_no_one_source_is_refused(tmp_path):
    from infinitetalk.host.source import open_source

    video, images = from_pictures(3, Fraction(25))
    with pytest.raises(InputError, match="video: a VIDEO and pictures are both connected"):
        open_source(video, images)
    with pytest.raises(InputError, match="source: neither a VIDEO nor pictures are connected"):
        open_source(name="source")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    for trim in ({}, {"start_time": -1.0}):
        with pytest.raises(InputError, match=r"bad\.mp4 \(8 bytes\) cannot be read as a video"):
            open_source(from_file(tmp_path / "bad.mp4", **trim))


def test_the_scenes_node_gives_scenes_a_table_and_their_number(pack, tmp_path):
    node = pack["InfiniteTalkScenes"]
    scenes, text, count = node.execute(from_file(film(tmp_path / "v.mp4"))).result
    assert (scenes.starts, scenes.seconds, count) == ((0.0, 1.2, 2.4), 3.6, 3)
    assert scenes.cuts(1000) == (30, 60) and "3 scenes in 0:03.60" in text
    trimmed = node.execute(from_file(tmp_path / "v.mp4", start_time=0.4, duration=2.8), "all").result[0]
    assert trimmed.cuts(1000) == (20, 50) and trimmed.seconds == 2.8


def test_the_scenes_node_turns_red_before_it_runs(pack):
    node = pack["InfiniteTalkScenes"]
    assert node.validate_inputs(detector="content", threshold=27.0, min_seconds=0.5) is True
    assert "threshold: 27.0 is given" in node.validate_inputs(detector="all", threshold=27.0, min_seconds=0.5)
    assert node.validate_inputs(detector="all", threshold=None, min_seconds=0.5) is True


def test_pan_and_zoom_makes_a_video_that_the_host_and_a_source_read(pack, temp):
    from types import SimpleNamespace

    from infinitetalk.host.source import open_source

    image = torch.rand(1, 96, 129, 3, generator=torch.Generator().manual_seed(0))
    node = pack["InfiniteTalkPanZoom"]
    video = node.execute(image, seconds=1.0, zoom_end=1.3).result[0]
    assert video.get_dimensions() == (128, 96) and video.get_frame_count() == 25 and video.get_frame_rate() == 25
    source = open_source(video)
    assert not torch.equal(source.frame(0.0), source.frame(0.9))
    spoken = node.execute(image, features=SimpleNamespace(frames=33)).result[0]
    assert spoken.get_frame_count() == 33


def test_pan_and_zoom_turns_red_before_it_runs(pack):
    values = {"seconds": 60.0, "zoom_start": 1.0, "zoom_end": 1.15, "pan_x": 0.0, "pan_y": 0.0}
    check = pack["InfiniteTalkPanZoom"].validate_inputs
    assert check(**values, easing="smooth", there_and_back=10.0) is True
    assert "nothing would move" in check(**{**values, "zoom_end": 1.0}, easing="smooth", there_and_back=10.0)
    assert "seconds: 0.0" in check(**{**values, "seconds": 0.0}, easing="smooth", there_and_back=10.0)


@pytest.fixture
def cancelled(host):
    """A host whose user pressed cancel, with its own progress hook."""
    import comfy.model_management as management
    import comfy.utils

    def hook(*_, **__):
        management.throw_exception_if_processing_interrupted()

    before = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(hook)
    management.interrupt_current_processing(True)
    yield management.InterruptProcessingException
    management.interrupt_current_processing(False)
    comfy.utils.set_progress_bar_global_hook(before)


def test_cancel_ends_both_nodes_and_leaves_no_file(pack, temp, cancelled):
    with pytest.raises(cancelled):
        pack["InfiniteTalkPanZoom"].execute(torch.rand(1, 96, 96, 3), seconds=60.0)
    left = [name for _, _, files in os.walk(temp) for name in files]
    assert left == []
    path = film(temp / "v.mp4")
    import comfy.model_management

    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(cancelled):
        pack["InfiniteTalkScenes"].execute(from_file(path))
