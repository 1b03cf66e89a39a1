"""Segments: real files of one window each, read back."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.remux import is_closed
from infinitetalk.segment import read_tail, write_segment
from tests.unit.reading import alone, numbered, read

LENGTHS = pytest.mark.parametrize("frames", [1, 2, 3, 17, 50, 51, 81])


def levels(frames: np.ndarray) -> np.ndarray:
    return frames.astype(float).mean((1, 2, 3))


@LENGTHS
def test_a_segment_has_its_frames_at_their_times_and_no_sound(tmp_path, frames):
    write_segment(numbered(frames), tmp_path / "s.mp4")
    video = read(tmp_path / "s.mp4")
    assert video.times == [Fraction(i, 25) for i in range(frames)]
    assert video.picture == Fraction(frames, 25) and not video.samples.size
    assert np.abs(levels(video.pixels) - levels(numbered(frames).numpy())).max() < 1.5
    assert is_closed(tmp_path / "s.mp4")


@LENGTHS
def test_the_tail_is_what_a_reader_of_the_whole_sees_last(tmp_path, frames):
    random = np.random.default_rng(frames)
    moving = random.integers(0, 255, (frames, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write_segment(moving, tmp_path / "s.mp4")
    whole = read_tail(tmp_path / "s.mp4", frames)
    assert whole.shape == moving.shape and whole.dtype == np.uint8
    assert np.abs(whole.astype(int) - moving).mean() < 12
    for count in {1, min(9, frames), frames}:
        assert (read_tail(tmp_path / "s.mp4", count) == whole[-count:]).all()
    with pytest.raises(InputError, match=f"has {frames} frames, {frames + 1} of them"):
        read_tail(tmp_path / "s.mp4", frames + 1)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = torch.rand(20, 64, 64, 3, generator=torch.Generator().manual_seed(1)).mul(255).byte()
    for name in ("a.mp4", "b.mp4"):
        write_segment(frames, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_damaged_tail_is_told(tmp_path):
    path = tmp_path / "s.mp4"
    write_segment(numbered(30), path)
    path.write_bytes(path.read_bytes()[:-200])
    assert not is_closed(path)
    with pytest.raises(InputError, match="s.mp4"):
        read_tail(path, 9)


@pytest.mark.parametrize("frames", [numbered(2).float(), numbered(0), numbered(1)[0], numbered(1)[..., :1]])
def test_what_is_no_block_of_frames_is_a_mistake_of_the_caller(tmp_path, frames):
    with pytest.raises(ValueError, match="uint8"):
        write_segment(frames, tmp_path / "s.mp4")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_segment(numbered(1), tmp_path / "missing" / "s.mp4")


if os.name == "posix":  # Windows has no file size limit to fill a disk with

    @pytest.mark.parametrize("share", [0.0, 0.9, 0.999])
    def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, share):
        code = """
import os, resource, sys
import numpy
from infinitetalk.errors import InputError
from infinitetalk.segment import write_segment
frames = numpy.random.default_rng(0).integers(0, 255, (30, 96, 96, 3), dtype=numpy.uint8)
whole = sys.argv[1] + ".whole"
write_segment(frames, whole)
limit = int(os.path.getsize(whole) * float(sys.argv[2]))
os.remove(whole)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_segment(frames, sys.argv[1])
except InputError as error:
    print(error.problem)
"""
        done = alone(code, tmp_path / "s.mp4", str(share))
        assert "the disk is full" in done.stdout, done
        assert os.listdir(tmp_path) == []
