"""The growing video file: frames, time, sound, colours, memory, and every way to end early."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from infinitetalk.encoder import Encoder
from infinitetalk.errors import InputError
from infinitetalk.sound import MemorySound
from infinitetalk.video import VideoWriter, encode_frames, to_uint8

from .reading import alone, click_at, numbered, read


def write(path: Path, frames: torch.Tensor, audio=None, block: int = 30) -> Path:
    with VideoWriter(path, frames.shape[2], frames.shape[1], audio) as writer:
        for start in range(0, len(frames), block):
            writer.add(frames[start : start + block])
    return path


@pytest.mark.parametrize("count", [1, 2, 5, 37, 153])
def test_every_frame_is_there_in_order_at_its_exact_time(tmp_path, count):
    frames = numbered(count)
    video = read(write(tmp_path / "v.mp4", frames, MemorySound(click_at(0.01, 10, 16_000), 16_000)))
    assert video.times == [Fraction(index, 25) for index in range(count)]
    assert video.picture == video.sound == Fraction(count, 25)
    assert np.abs(video.pixels.mean((1, 2, 3)) - frames[:, 0, 0, 0].numpy()).max() < 1.5
    assert os.listdir(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_sound_keeps_rate_and_channels_and_is_exact_to_the_sample(tmp_path, rate, channels):
    video = read(write(tmp_path / "v.mp4", numbered(40), MemorySound(click_at(0.5, 3, rate, channels), rate)))
    assert (video.rate, len(video.samples)) == (rate, channels)
    assert video.click == round(0.5 * rate)
    assert video.sound == Fraction(40, 25)
    assert 40 / 25 * rate <= video.samples.shape[1] < 40 / 25 * rate + 1024  # decoders round up to a block


@pytest.mark.parametrize("rate", [37_800, 192_000])
def test_a_rate_aac_does_not_have_is_resampled_in_place(tmp_path, rate):
    video = read(write(tmp_path / "v.mp4", numbered(40), MemorySound(click_at(0.5, 3, rate, 2), rate)))
    assert (video.rate, len(video.samples), video.click) == (48_000, 2, 24_000)


def test_sound_shorter_than_the_picture_is_followed_by_silence(tmp_path):
    video = read(write(tmp_path / "v.mp4", numbered(100), MemorySound(torch.full((1, 1, 16_000), 0.5).sin(), 16_000)))
    assert video.sound == 4
    assert np.abs(video.samples[0, 20_000:64_000]).max() < 1e-3 < np.abs(video.samples[0, :15_000]).max()


def test_a_video_without_sound_has_no_sound_stream(tmp_path):
    video = read(write(tmp_path / "v.mp4", numbered(10)))
    assert video.samples.size == 0 and len(video.times) == 10


def test_colours_come_back_through_a_decoder_that_believes_the_tags(tmp_path):
    generator = torch.Generator().manual_seed(0)
    patches = torch.randint(0, 256, (10, 10, 3), generator=generator, dtype=torch.uint8)
    picture = patches.repeat_interleave(32, 0).repeat_interleave(32, 1)
    path = write(tmp_path / "v.mp4", picture[None].expand(12, -1, -1, -1))
    decoded = read(path).pixels[6].reshape(10, 32, 10, 32, 3)[:, 8:24, :, 8:24]  # away from chroma at the edges
    error = decoded - patches.numpy().astype(float)[:, None, :, None]
    assert np.abs(error).mean() < 1 and np.abs(error.mean((0, 1, 2, 3))).max() < 0.8 and np.abs(error).max() < 5
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        # BT.709 matrix, primaries and curve, limited range
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert (context.name, context.pix_fmt, file.streams.video[0].average_rate) == ("h264", "yuv420p", 25)


def test_tags_are_in_the_file(tmp_path):
    tags = {"prompt": '{"1": {"class_type": "Ä"}}', "workflow": "x" * 300_000}
    with VideoWriter(tmp_path / "v.mp4", 64, 48, metadata=tags) as writer:
        writer.add(numbered(3))
    assert tags.items() <= read(tmp_path / "v.mp4").tags.items()


def test_blocks_are_encoded_beside_the_caller_and_never_pile_up(tmp_path):
    writer = VideoWriter(tmp_path / "v.mp4", 320, 320)
    block = numbered(60, 320, 320)
    names = {thread.name for thread in threading.enumerate()}
    assert "encode v.mp4" in names
    for _ in range(6):
        writer.add(block)
        assert writer._blocks.qsize() <= 2
    assert writer.finish() == tmp_path / "v.mp4"
    assert writer.frames == 360 and "encode v.mp4" not in {thread.name for thread in threading.enumerate()}


def test_memory_does_not_grow_with_the_length(tmp_path):
    code = """
import sys, numpy, psutil
from infinitetalk.video import VideoWriter
writer, process, resident = VideoWriter(sys.argv[1], 128, 128), psutil.Process(), []
block = numpy.random.default_rng(0).integers(0, 40, (50, 128, 128, 3), dtype=numpy.uint8)
for index in range(60):
    writer.add(block)
    resident.append(process.memory_info().rss / 2**20)
writer.finish()
print(max(resident[:15]), max(resident))
"""
    done = alone(code, tmp_path / "v.mp4")
    early, late = map(float, done.stdout.split())  # after 750 and 3000 frames; these are 147 MB
    assert late - early < 8, done.stdout


def test_without_room_for_a_copy_the_fragmented_file_gets_the_name(tmp_path):
    (tmp_path / "v.mux.mp4").mkdir()  # where the copy would be written
    video = read(write(tmp_path / "v.mp4", numbered(120), MemorySound(click_at(1.0, 60, 16_000), 16_000)))
    assert len(video.times) == 120 and video.click == 16_000
    assert sorted(os.listdir(tmp_path)) == ["v.mp4", "v.mux.mp4"]


def test_abort_keeps_what_was_added_with_its_sound(tmp_path):
    writer = VideoWriter(tmp_path / "v.mp4", 64, 48, MemorySound(click_at(1.0, 60, 44_100), 44_100))
    writer.add(numbered(60))
    assert writer.abort() == tmp_path / "v.mp4" == writer.abort()
    video = read(tmp_path / "v.mp4")
    assert len(video.times) == 60 and video.sound == Fraction(60, 25) and video.click == 44_100
    assert os.listdir(tmp_path) == ["v.mp4"]
    with pytest.raises(RuntimeError, match="finished"):
        writer.add(numbered(1))


@pytest.mark.parametrize("frames", [0, 200])
def test_abort_without_keeping_leaves_nothing(tmp_path, frames):
    writer = VideoWriter(tmp_path / "v.mp4", 64, 48)
    writer.add(numbered(frames))
    assert writer.abort(keep=False) is None and os.listdir(tmp_path) == []


def test_abort_before_the_first_frame_leaves_nothing(tmp_path):
    assert VideoWriter(tmp_path / "v.mp4", 64, 48).abort() is None
    assert os.listdir(tmp_path) == []


def test_an_interruption_inside_with_keeps_the_finished_part(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "v.mp4", 64, 48) as writer:
        writer.add(numbered(30))
        raise KeyboardInterrupt
    assert len(read(tmp_path / "v.mp4").times) == 30


def test_a_killed_program_leaves_a_part_that_plays(tmp_path):
    code = """
import os, sys, time
from tests.unit.reading import click_at, numbered
from infinitetalk.sound import MemorySound
from infinitetalk.video import VideoWriter
writer = VideoWriter(sys.argv[1], 64, 48, MemorySound(click_at(1.0, 60, 16_000), 16_000))
for _ in range(8):
    writer.add(numbered(50))
while not writer._blocks.empty():
    time.sleep(0.01)
time.sleep(0.5)
os._exit(9)
"""
    assert alone(code, tmp_path / "v.mp4").returncode == 9
    assert os.listdir(tmp_path) == ["v.part.mp4"]
    video = read(tmp_path / "v.part.mp4")
    assert len(video.times) >= 250 and video.click == 16_000
    assert np.abs(video.pixels[:250].mean((1, 2, 3)) - numbered(50).repeat(5, 1, 1, 1)[:, 0, 0, 0].numpy()).max() < 1.5


if os.name == "posix":  # Windows has no file size limit to fill a disk with

    def test_a_full_disk_is_told_and_what_fitted_stays_playable(tmp_path):
        code = """
import resource, sys
import numpy
from infinitetalk.errors import InputError
from infinitetalk.encoder import Encoder
from infinitetalk.video import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
writer = VideoWriter(sys.argv[1], 128, 128)
noise = numpy.random.default_rng(0)
try:
    for _ in range(100):
        writer.add(noise.integers(0, 255, (20, 128, 128, 3), dtype=numpy.uint8))
    writer.finish()
except InputError as error:
    print(error)
    print(writer.abort())
"""
        done = alone(code, tmp_path / "v.mp4")
        problem, remedy, kept = done.stdout.splitlines()
        assert problem.startswith(f"{tmp_path / 'v.mp4'}: the disk is full")
        assert "Free some space" in remedy and kept == str(tmp_path / "v.mp4")
        assert os.listdir(tmp_path) == ["v.mp4"]
        assert 50 <= len(read(tmp_path / "v.mp4").times) < 2000

    @pytest.mark.parametrize("share", [0.8, 0.9, 0.95, 0.99, 0.999])
    def test_a_disk_that_fills_at_the_very_end_is_noticed(tmp_path, share):
        """While a file is ended FFmpeg reports nothing: the size of what a whole one needs, less a little."""
        code = """
import os, resource, sys
import numpy, torch
from infinitetalk.errors import InputError
from infinitetalk.encoder import Encoder
from infinitetalk.sound import MemorySound
from infinitetalk.video import VideoWriter
def write(path, limit=None):
    writer = VideoWriter(path, 96, 96, MemorySound(torch.rand(1, 1, 76_800) - 0.5, 16_000))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    noise = numpy.random.default_rng(0)
    try:
        for _ in range(6):
            writer.add(noise.integers(0, 255, (20, 96, 96, 3), dtype=numpy.uint8))
        if limit is None:
            writer._stop()
            return os.path.getsize(writer._part)
        writer.finish()
        print("finished")
    except InputError as error:
        print(error.problem)
        print(writer.abort())
size = write(sys.argv[1] + ".whole.mp4")
write(sys.argv[1], int(size * float(sys.argv[2])))
"""
        done = alone(code, tmp_path / "v.mp4", str(share))
        problem, kept = done.stdout.splitlines()
        assert "the disk is full" in problem and kept == str(tmp_path / "v.mp4")
        frames = len(read(tmp_path / "v.mp4").times)
        assert 45 <= frames <= 120

    def test_a_disk_that_is_full_before_anything_is_whole_leaves_nothing(tmp_path):
        code = """
import resource, sys
import numpy
from infinitetalk.errors import InputError
from infinitetalk.encoder import Encoder
from infinitetalk.video import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
writer = VideoWriter(sys.argv[1], 128, 128)
writer.add(numpy.random.default_rng(0).integers(0, 255, (60, 128, 128, 3), dtype=numpy.uint8))
try:
    writer.finish()
except InputError as error:
    print(error.problem, writer.abort())
"""
        done = alone(code, tmp_path / "v.mp4")
        assert "the disk is full" in done.stdout and done.stdout.endswith(" None\n")
        assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "v.mp4", tmp_path / "missing" / "v.mp4"):
        with pytest.raises(InputError, match="cannot be written") as caught:
            VideoWriter(path, 64, 48)
        assert str(path) in caught.value.problem and "another folder" in caught.value.remedy


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (0, 48)])
def test_an_odd_size_is_refused(tmp_path, size):
    with pytest.raises(InputError, match="odd side"):
        VideoWriter(tmp_path / "v.mp4", *size)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(1, 8, 100), "8 channels at 16000 Hz are not one mono or stereo"),
        (torch.full((1, 1, 9), float("nan")), "NaN"),
    ],
)
def test_unusable_sound_is_refused_before_a_file_exists(tmp_path, waveform, message):
    with pytest.raises(InputError, match=message):
        VideoWriter(tmp_path / "v.mp4", 64, 48, MemorySound(waveform, 16_000))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "frames",
    [numbered(2, 64, 48), numbered(2).float(), numbered(2)[..., :1], numbered(1)[0], numbered(2).to(torch.int8)],
)
def test_frames_of_another_size_or_type_are_a_mistake_of_the_caller(tmp_path, frames):
    writer = VideoWriter(tmp_path / "v.mp4", 64, 48)
    with pytest.raises(ValueError, match="uint8"):
        writer.add(frames)
    writer.abort(keep=False)


def test_to_uint8_truncates_and_cuts():
    levels = torch.tensor([-1.0, -0.001, 0.0, 0.0039, 0.00393, 0.5, 0.9999, 1.0, 1.7])
    expected = [0, 0, 0, 0, 1, 127, 254, 255, 255]
    for frames in (levels, levels.repeat(40, 1)[:, :, None, None]):
        assert to_uint8(frames).flatten()[-9:].tolist() == expected
    exact = torch.arange(256) / 255
    reference = (((exact * 2 - 1) + 1) / 2 * 255).clip(0, 255).to(torch.uint8)
    assert (to_uint8(exact).int() - reference.int()).abs().max() <= 1 and to_uint8(exact[:0]).numel() == 0


def test_a_batch_is_written_in_blocks_without_its_odd_edge_and_its_alpha(tmp_path):
    frames = numbered(37, 49, 65).float() / 255 + 0.001
    images = torch.cat([frames, torch.zeros_like(frames[..., :1])], dim=-1)
    seen: list[int] = []
    path = encode_frames(images, tmp_path / "v.mp4", MemorySound(click_at(1.0, 3, 16_000), 16_000), report=seen.append)
    video = read(path)
    assert video.pixels.shape == (37, 48, 64, 3) and video.click == 16_000
    assert np.abs(video.pixels.mean((1, 2, 3)) - numbered(37)[:, 0, 0, 0].numpy()).max() < 1.5
    assert seen == [16, 32, 37]


def test_an_interrupted_batch_leaves_no_file(tmp_path):
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_frames(torch.rand(40, 48, 64, 3), tmp_path / "v.mp4", report=interrupt)
    assert os.listdir(tmp_path) == []


def test_the_same_frames_give_the_same_file(tmp_path):
    """At a width, too, where x264's defaults read memory that nobody wrote."""
    random = torch.Generator().manual_seed(1)
    blocks = torch.rand(8, 8, 3, generator=random).repeat_interleave(8, 0).repeat_interleave(8, 1)
    moving = torch.stack([blocks.roll(2 * n, 1) / 2 + torch.rand(64, 64, 3, generator=random) / 6 for n in range(13)])
    frames = to_uint8(moving)
    files, path = set(), tmp_path / "v.mp4"
    for attempt in range(25):
        junk = [np.random.default_rng(n).integers(0, 255, 5000 + attempt * 13, np.uint8) for n in range(20)]
        del junk  # what is freed here is what an encoder that reads too far would find
        encoder = Encoder(path, (64, 64), None, 17, {})
        encoder.write(frames.numpy())
        encoder.close()
        files.add(path.read_bytes())
        path.unlink()
    assert len(files) == 1
