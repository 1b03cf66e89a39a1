"""Starts from real video files: what is read of them by time, with their sound, and how they stand before new parts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from infinitetalk.config import FPS
from infinitetalk.errors import InputError
from infinitetalk.extend import last_frames, open_start, prefix
from infinitetalk.join import join
from infinitetalk.segment import write_segment
from infinitetalk.sound import MemorySound
from tests.unit.clips import NTSC, Numbered, number_of, numbered_picture, write_clip
from tests.unit.reading import click_at, packets, read


def numbers_of(frames: torch.Tensor) -> list[int]:
    return [number_of((frame * 255).round().to(torch.uint8)) for frame in frames]


def shown(path: Path) -> list[int]:
    """The numbers of a video's frames."""
    with av.open(str(path)) as file:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


def made_here(path: Path, first: int, count: int, sound: MemorySound | None = None) -> Path:
    """A video of numbered frames as a run writes it: segments, joined."""
    frames = np.stack([numbered_picture(first + n) for n in range(count)])
    parts = []
    for number, block in enumerate(np.array_split(frames, 2)):
        parts.append(path.with_name(f"{path.stem}-{number}.mp4"))
        write_segment(block, parts[-1])
    return join(parts, path, sound)


def test_the_last_frames_are_read_by_time_whatever_the_rate(tmp_path):
    path = write_clip(tmp_path / "v.mp4", Numbered(90), NTSC)  # 3.003 s
    start = open_start(path, tmp_path)
    assert (start.width, start.height, start.frames, start.sound) == (64, 64, 75, None)
    assert start.fps == pytest.approx(29.97, abs=0.01) and start.whole
    frames = last_frames(start, 9, 64, 64)
    assert frames.shape == (9, 64, 64, 3) and frames.dtype == torch.float32 and 0 <= frames.min() <= frames.max() <= 1
    assert numbers_of(frames) == [int(Fraction(n, FPS) * NTSC) for n in range(66, 75)]


def test_a_trimmed_part_ends_where_it_ends(tmp_path):
    path = write_clip(tmp_path / "v.mp4", Numbered(100), 25)
    start = open_start(path, tmp_path, part=(1.0, 2.0))
    assert start.frames == 50 and not start.whole
    assert numbers_of(last_frames(start, 5, 64, 64)) == [70, 71, 72, 73, 74]
    file, count = prefix(start, tmp_path, 64, 64)
    assert count == 50 and shown(file) == list(range(25, 75))


def test_frames_are_scaled_to_cover_the_size_and_cut(tmp_path):
    left_right = np.concatenate([np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)], axis=1)
    start = open_start(write_clip(tmp_path / "v.mp4", [left_right] * 10), tmp_path)
    frames = last_frames(start, 5, 96, 128)
    assert frames.shape == (5, 128, 96, 3)
    assert frames[:, 32:96, :40].min() > 0.9 and frames[:, 32:96, 56:].max() < 0.1


def test_the_digest_is_of_what_is_seen_and_heard(tmp_path):
    one, two = (write_clip(tmp_path / f"{n}.mp4", [numbered_picture(n)] * 20) for n in (1, 2))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(one.read_bytes())
    digests = [open_start(path, tmp_path).digest for path in (one, copy, two)]
    assert digests[0] == digests[1] != digests[2]
    assert open_start(one, tmp_path, part=(0.2, 0.4)).digest != digests[0]
    assert open_start(one, tmp_path, include=False).digest == digests[0]


def test_its_sound_is_as_long_as_its_picture_and_in_its_place(tmp_path):
    for rate, channels in ((48_000, 2), (16_000, 1)):
        sound = MemorySound(click_at(1.0, 4.0, rate, channels), rate)
        path = made_here(tmp_path / f"v{rate}.mp4", 0, 50, sound)
        start = open_start(path, tmp_path)
        assert (start.sound.rate, start.sound.channels, start.sound.samples) == (rate, channels, 2 * rate)
        assert abs(int(start.sound.read(0, 2 * rate)[0].abs().argmax()) - rate) < 3
        part = open_start(path, tmp_path, part=(0.6, 1.0)).sound
        assert part.samples == rate and abs(int(part.read(0, rate)[0].abs().argmax()) - round(0.4 * rate)) < 3
        assert open_start(path, tmp_path, include=False).sound is None


def test_sound_that_begins_at_another_time_than_the_picture_keeps_its_place(tmp_path):
    """Matroska of a picture that begins a second after the sound."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        picture.width = picture.height = 64
        heard = file.add_stream("flac", rate=16_000, layout="mono")
        clicks = np.zeros((1, 48_000), np.float32)
        clicks[0, 24_000] = 0.9  # half a second after the picture begins
        frame = av.AudioFrame.from_ndarray((clicks * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        file.mux(heard.encode(frame))
        file.mux(heard.encode(None))
        for n in range(50):
            image = av.VideoFrame.from_ndarray(numbered_picture(n), format="rgb24")
            image.pts, image.time_base = 25 + n, Fraction(1, 25)
            file.mux(picture.encode(image))
        file.mux(picture.encode(None))
    start = open_start(path, tmp_path)
    assert start.frames == 50 and start.sound.samples == 32_000
    assert abs(int(start.sound.read(0, 32_000)[0].abs().argmax()) - 8_000) < 20


def test_a_video_of_ours_is_put_before_new_parts_as_it_is(tmp_path):
    path = made_here(tmp_path / "v.mp4", 0, 40, MemorySound(click_at(1.0, 2.0, 16_000), 16_000))
    folder = tmp_path / "run"
    folder.mkdir()
    start = open_start(path, tmp_path)
    assert prefix(start, folder, 64, 64) == (path, 40) and list(folder.iterdir()) == []
    write_segment(np.stack([numbered_picture(40 + n) for n in range(10)]), folder / "new.mp4")
    whole = join([path, folder / "new.mp4"], folder / "video.mp4", start.sound)
    assert shown(whole) == list(range(50)) and packets(whole)[:40] == packets(path)
    assert read(whole).times == [Fraction(n, 25) for n in range(50)]


@pytest.mark.parametrize("kind", ["other encoder", "other rate", "turned", "other size"])
def test_any_other_video_is_encoded_once_and_joins(kind, tmp_path):
    if kind == "turned":
        path = made_here(tmp_path / "v.mp4", 0, 40)
        turned = tmp_path / "turned.mp4"
        with av.open(str(path)) as source, av.open(str(turned), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
            stream.set_display_rotation(180)
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
        path = turned
    else:
        rate = NTSC if kind == "other rate" else 25
        path = write_clip(tmp_path / "v.mp4", Numbered(48 if kind == "other rate" else 40), rate)
    size = 128 if kind == "other size" else 64
    folder = tmp_path / "run"
    folder.mkdir()
    start, reported = open_start(path, tmp_path), []
    file, count = prefix(start, folder, size, size, reported.append)
    assert (file, count) == (folder / "start.mp4", 40) and reported == [16, 32, 40]
    assert sorted(entry.name for entry in folder.iterdir()) == ["start.json", "start.mp4"]
    if kind != "other size":
        write_segment(np.stack([numbered_picture(40 + n) for n in range(10)]), folder / "new.mp4")
        whole = shown(join([file, folder / "new.mp4"], folder / "video.mp4", None))
        assert whole[40:] == list(range(40, 50)) and len(whole) == 50
    if kind in ("other encoder", "other rate"):
        assert shown(file) == [int(Fraction(n, 25) * (NTSC if kind == "other rate" else 25)) for n in range(40)]
    before = file.stat().st_mtime_ns
    assert prefix(start, folder, size, size, reported.append) == (file, 40)
    assert file.stat().st_mtime_ns == before and len(reported) == 3
    spoiled = bytearray(file.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    file.write_bytes(spoiled)
    prefix(start, folder, size, size, reported.append)
    assert reported[3:] == [16, 32, 40]


def test_an_encoding_that_is_cut_off_leaves_no_file(tmp_path):
    start = open_start(write_clip(tmp_path / "v.mp4", Numbered(40)), tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()

    def cancel(frames: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prefix(start, folder, 64, 64, cancel)
    assert list(folder.iterdir()) == []
    with pytest.raises(InputError, match="cannot be written"):
        prefix(start, tmp_path / "v.mp4" / "folder", 64, 64)


def test_bad_starts_are_refused(tmp_path):
    start = open_start(write_clip(tmp_path / "short.mp4", Numbered(5)), tmp_path)
    with pytest.raises(InputError, match=r"start: short\.mp4 has 5 frames \(0\.20 s\), 9 motion frames") as refused:
        last_frames(start, 9, 64, 64)
    assert "0.36 s" in refused.value.remedy
    with pytest.raises(InputError, match=r"start: absent\.mp4 is not there"):
        open_start(tmp_path / "absent.mp4", tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        open_start(tmp_path / "text.mp4", tmp_path)
    with av.open(str(tmp_path / "sound.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
    with pytest.raises(InputError, match="has no picture"):
        open_start(tmp_path / "sound.wav", tmp_path)
    with pytest.raises(InputError, match="the part to use begins at 9 s"):
        open_start(tmp_path / "short.mp4", tmp_path, part=(9.0, 0.0))
