"""Copying a video into another file: the picture bit for bit, the sound exact, the tags, and refusals."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.remux import can_remux, cut_torn_end, remux
from infinitetalk.sound import MemorySound
from infinitetalk.video import VideoWriter

from .reading import click_at, numbered, packets, read

RATE = 44_100


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "source.mp4"
    path.parent.mkdir()
    with VideoWriter(
        path, 64, 48, MemorySound(click_at(1.0, 9, RATE, 2), RATE), metadata={"prompt": "old", "title": "kept"}
    ) as writer:
        writer.add(numbered(77))
    return path


def other(path: Path, picture: str, sound: str | None = None, rate: int = 25) -> Path:
    """A video in another codec, made straight through PyAV."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(picture, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice = file.add_stream(sound, rate=16_000, layout="mono") if sound else None
        for image in numbered(50).numpy():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
        if voice:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
            frame.sample_rate = 16_000
            file.mux(voice.encode(frame))
            file.mux(voice.encode(None))
    return path


def test_the_picture_is_copied_bit_for_bit_and_the_sound_stays_aligned(source, tmp_path):
    copy = remux(source, tmp_path / "copy.mp4")
    again = read(remux(copy, tmp_path / "again.mp4"))
    assert packets(tmp_path / "again.mp4") == packets(source)
    assert again.times == [Fraction(index, 25) for index in range(77)]
    assert again.picture == again.sound == Fraction(77, 25)
    assert again.click == RATE and len(again.samples) == 2


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(9, 48_000, 1), (1.5, 16_000, 2), (9, 192_000, 1)])
def test_new_sound_replaces_the_old_and_is_cut_or_padded_to_the_picture(source, tmp_path, seconds, rate, channels):
    video = read(remux(source, tmp_path / "out.mp4", MemorySound(click_at(0.5, seconds, rate, channels), rate)))
    assert packets(tmp_path / "out.mp4") == packets(source)
    assert video.picture == video.sound == Fraction(77, 25)
    assert len(video.samples) == channels and video.click == round(0.5 * video.rate)


def test_tags_are_added_over_those_of_the_source(source, tmp_path):
    workflow = '{"nodes": [{"id": 1, "text": "früh ❤"}]}'
    tags = read(remux(source, tmp_path / "out.mp4", metadata={"prompt": "new", "workflow": workflow})).tags
    assert (tags["prompt"], tags["workflow"], tags["title"]) == ("new", workflow, "kept")


def test_a_video_in_memory_and_one_in_another_container_are_copied(source, tmp_path):
    remux(io.BytesIO(source.read_bytes()), tmp_path / "a.mp4")
    with av.open(str(source)) as file, av.open(str(tmp_path / "b.mkv"), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream, opaque=True) for stream in file.streams}
        for packet in file.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    assert can_remux(tmp_path / "b.mkv")
    video = read(remux(tmp_path / "b.mkv", tmp_path / "b.mp4", MemorySound(click_at(1.0, 9, 16_000), 16_000)))
    assert video.times == [Fraction(index, 25) for index in range(77)]
    assert video.click == 16_000 and video.picture == video.sound == Fraction(77, 25)
    assert packets(tmp_path / "a.mp4") == packets(source)


def test_another_frame_rate_keeps_its_length(tmp_path):
    source = other(tmp_path / "s.mp4", "libx264", rate=30)
    video = read(remux(source, tmp_path / "out.mp4", MemorySound(click_at(1.0, 9, 16_000), 16_000)))
    assert abs(float(video.sound) - 50 / 30) < 1e-3 and video.click == 16_000 and len(video.times) == 50


def test_what_can_be_copied_is_known_beforehand(source, tmp_path):
    assert can_remux(source) and can_remux(io.BytesIO(source.read_bytes()))
    assert not can_remux(other(tmp_path / "m.mp4", "mpeg4"))


def test_a_picture_that_is_not_h264_is_refused(tmp_path):
    with pytest.raises(InputError, match="not H.264"):
        remux(other(tmp_path / "m.mp4", "mpeg4"), tmp_path / "out.mp4")
    assert os.listdir(tmp_path) == ["m.mp4"]


def test_sound_an_mp4_cannot_hold_is_refused_unless_it_is_replaced(tmp_path):
    source = other(tmp_path / "p.mkv", "libx264", "pcm_s16le")
    with pytest.raises(InputError, match="cannot hold its pcm_s16le sound"):
        remux(source, tmp_path / "out.mp4")
    video = read(remux(source, tmp_path / "out.mp4", MemorySound(torch.zeros(1, 1, 100), 16_000)))
    assert video.times == [Fraction(index, 25) for index in range(50)] and video.sound == 2


def test_missing_and_broken_sources_and_closed_folders_are_told(source, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    for bad in (tmp_path / "missing.mp4", tmp_path / "noise.mp4", io.BytesIO(b"")):
        with pytest.raises(InputError, match="cannot be read"):
            remux(bad, tmp_path / "out.mp4")
        with pytest.raises(InputError, match="cannot be read"):
            can_remux(bad)
    with pytest.raises(InputError, match="cannot be written"):
        remux(source, tmp_path / "noise.mp4" / "out.mp4")
    assert sorted(os.listdir(tmp_path)) == ["in", "noise.mp4"]


def test_an_old_file_of_the_name_stays_until_the_new_one_is_whole(source, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_text("old")
    with pytest.raises(InputError):
        remux(other(tmp_path / "m.mp4", "mpeg4"), target)
    assert target.read_text() == "old"
    remux(source, target)
    assert len(read(target).times) == 77


@pytest.fixture
def fragmented(tmp_path: Path) -> Path:
    """A fragmented mp4 of 300 frames, a key frame every 50."""
    path = tmp_path / "part.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+delay_moov"}) as file:
        stream = file.add_stream("libx264", rate=25, options={"g": "50", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in numbered(300).numpy():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("share", [0.4, 0.75, 0.9])
def test_a_torn_end_is_cut_off_to_whole_fragments(fragmented, share):
    whole = fragmented.read_bytes()
    fragmented.write_bytes(whole[: int(len(whole) * share)])
    assert cut_torn_end(fragmented)
    frames = len(read(fragmented).times)
    assert 0 < frames < 300 and frames % 50 == 0


def test_a_file_without_one_whole_fragment_is_left_alone(fragmented):
    for length in (0, 5, 200):
        torn = fragmented.read_bytes()[:length]
        fragmented.with_name("torn.mp4").write_bytes(torn)
        assert not cut_torn_end(fragmented.with_name("torn.mp4"))
        assert fragmented.with_name("torn.mp4").read_bytes() == torn
