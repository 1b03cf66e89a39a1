"""Joined segments: real files, read back by FFmpeg; what a browser makes of them is in tests/browser."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.join import join
from infinitetalk.segment import write_segment
from infinitetalk.sound import MemorySound
from tests.unit.clips import number_of, numbered_picture
from tests.unit.reading import alone, click_at, packets, read

LENGTHS = [72, 1, 2, 3, 17, 51, 1, 1, 81]


def pictures(first: int, count: int) -> np.ndarray:
    """Numbered pictures with noise over them, so that B frames and whole blocks are coded."""
    noise = np.random.default_rng(first).integers(0, 40, (count, 64, 64, 3), np.uint8)
    return np.stack([numbered_picture(first + i) // 2 for i in range(count)]) + 40 + noise


@pytest.fixture(scope="module")
def segments(tmp_path_factory) -> list[Path]:
    """Numbered through over all of them."""
    folder, first, made = tmp_path_factory.mktemp("segments"), 0, []
    for index, count in enumerate(LENGTHS):
        made.append(folder / f"{index:04}.mp4")
        write_segment(pictures(first, count), made[-1])
        first += count
    return made


def planes(path: Path) -> list[str]:
    """A digest of every frame as the decoder gives it, without any conversion, in the order shown."""
    with av.open(str(path)) as file:
        return [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in file.decode(video=0)]


def test_the_frames_are_those_of_the_segments_bit_for_bit(tmp_path, segments):
    joined = join(segments, tmp_path / "v.mp4", None)
    assert planes(joined) == [plane for segment in segments for plane in planes(segment)]
    assert packets(joined) == [packet for segment in segments for packet in packets(segment)]
    assert os.listdir(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("chosen", [[0], [1], [2], [3], [1, 1, 1, 1], [1, 0], [3, 2, 8], list(range(9))], ids=str)
def test_every_frame_is_shown_at_its_exact_time(tmp_path, segments, chosen):
    frames = sum(LENGTHS[index] for index in chosen)
    joined = join(
        [segments[index] for index in chosen], tmp_path / "v.mp4", MemorySound(torch.zeros(1, 1, 999), 16_000)
    )
    video = read(joined)
    assert video.times == [Fraction(i, 25) for i in range(frames)]
    assert video.picture == video.sound == Fraction(frames, 25)
    with av.open(str(joined)) as file:
        stream = file.streams.video[0]
        times = [(packet.pts, packet.dts, packet.duration) for packet in file.demux(stream) if packet.size]
        tick = Fraction(1, 25) / stream.time_base
        assert stream.start_time == 0 and stream.frames == frames and stream.average_rate == 25
    assert [dts for _, dts, _ in times] == [(i - 2) * tick for i in range(frames)]
    assert {duration for *_, duration in times} == {tick} and all(pts >= dts for pts, dts, _ in times)


def test_a_seek_to_any_frame_finds_it(tmp_path, segments):
    joined = join(segments, tmp_path / "v.mp4", None)
    with av.open(str(joined)) as file:
        stream = file.streams.video[0]
        for wanted in (0, 49, 71, 72, 73, 74, 77, 78, 95, 145, 146, 147, 148, 228):
            pts = Fraction(wanted, 25) / stream.time_base
            file.seek(int(pts), stream=stream)
            frame = next(frame for frame in file.decode(stream) if frame.pts >= pts)
            pixels = (frame.to_ndarray(format="rgb24").astype(int) - 60).clip(0, 255)
            assert frame.pts == pts and number_of(pixels * 3) == wanted


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (11_111, 1)])
@pytest.mark.parametrize("length", [2.0, 60.0])
def test_sound_runs_through_without_a_gap_as_long_as_the_picture(tmp_path, segments, rate, channels, length):
    """A steady tone over every border: each stretch has the tone's loudness, from the start to where it ends."""
    samples = torch.arange(int(length * rate))
    tone = (0.5 * torch.sin(2 * torch.pi * 220 * samples / rate)).expand(1, channels, -1)
    video = read(join(segments, tmp_path / "v.mp4", MemorySound(tone, rate)))
    assert video.sound == video.picture == Fraction(sum(LENGTHS), 25)
    assert abs(video.samples.shape[1] / video.rate - float(video.sound)) <= 1024 / video.rate
    heard = video.samples[:, : int(video.sound * video.rate)]
    piece = video.rate // 50
    loud = np.sqrt((heard[:, : heard.shape[1] // piece * piece].reshape(channels, -1, piece) ** 2).mean(-1))
    until = min(int(length * 50), loud.shape[1])
    assert np.abs(loud[:, 2 : until - 2] - 0.5 / 2**0.5).max() < 0.05
    assert (loud[:, until + 4 :] < 0.01).all()


def test_a_click_stays_at_its_sample(tmp_path, segments):
    video = read(join(segments, tmp_path / "v.mp4", MemorySound(click_at(5.0, 20, 44_100), 44_100)))
    assert video.click == 5 * 44_100


def test_tags_are_in_the_file_and_an_older_file_is_replaced(tmp_path, segments):
    (tmp_path / "v.mp4").write_bytes(b"old")
    tags = {"workflow": "x" * 100_000}
    assert tags.items() <= read(join(segments[:2], tmp_path / "v.mp4", None, tags)).tags.items()


@pytest.mark.parametrize("harm", ["cut", "header", "gone", "empty", "other size", "other rate"])
def test_a_segment_that_does_not_fit_is_told_and_the_old_file_stays(tmp_path, segments, harm):
    bad, whole = tmp_path / "bad.mp4", segments[4].read_bytes()
    made = {"cut": whole[:-900], "header": whole[:1000], "empty": b""}
    if harm in made:
        bad.write_bytes(made[harm])
    elif harm == "other size":
        write_segment(np.zeros((5, 48, 64, 3), np.uint8), bad)
    elif harm == "other rate":
        with av.open(str(segments[4])) as old, av.open(str(bad), "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
            for packet in old.demux(video=0):
                if packet.size:
                    packet.time_base, packet.stream = packet.time_base * 25 / 24, stream
                    new.mux(packet)
    (tmp_path / "v.mp4").write_bytes(b"old")
    with pytest.raises(InputError) as caught:
        join([segments[0], bad, segments[1]], tmp_path / "v.mp4", None)
    assert "bad.mp4" in caught.value.problem
    assert (tmp_path / "v.mp4").read_bytes() == b"old" and not list(tmp_path.glob("*.join.mp4"))


def test_without_segments_there_is_nothing_to_join(tmp_path):
    with pytest.raises(ValueError, match="no segments"):
        join([], tmp_path / "v.mp4", None)
    assert os.listdir(tmp_path) == []


def test_what_stops_the_caller_stops_the_join(tmp_path, segments):
    def until_cancelled():
        yield segments[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        join(until_cancelled(), tmp_path / "v.mp4", None)
    assert os.listdir(tmp_path) == []


def test_an_hour_of_segments_joins_in_bounded_memory_with_no_file_left_open(tmp_path, segments):
    """1250 windows of 72 frames. FFmpeg keeps its index of the packets, some 100 bytes each, to the end."""
    process, seen = psutil.Process(), []

    def all_of_them():
        for index in range(1250):
            if index % 50 == 10:
                seen.append((process.memory_info().rss / 2**20, process.num_fds()))
            yield segments[0]

    before = process.num_fds()
    joined = join(all_of_them(), tmp_path / "v.mp4", MemorySound(torch.zeros(1, 1, 16_000), 16_000))
    resident, files = [memory for memory, _ in seen], {count for _, count in seen}
    assert resident[-1] - resident[0] < 60, resident
    assert len(files) == 1 and process.num_fds() == before
    with av.open(str(joined)) as file:
        assert file.streams.video[0].frames == 90_000 and file.duration == 3600 * av.time_base


if os.name == "posix":  # Windows has no file size limit to fill a disk with

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, segments, share):
        code = """
import os, resource, sys
from infinitetalk.errors import InputError
from infinitetalk.join import join
target, share, *segments = sys.argv[1:]
limit = int(os.path.getsize(join(segments, target, None)) * float(share))
os.remove(target)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    join(segments, target, None)
except InputError as error:
    print(error.problem)
"""
        done = alone(code, tmp_path / "v.mp4", share, *segments)
        assert "the disk is full" in done.stdout, done
        assert os.listdir(tmp_path) == []
