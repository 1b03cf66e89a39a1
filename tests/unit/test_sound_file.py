"""Audio and video files decoded to disk, and every file that cannot be."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.sound import reopen
from infinitetalk.sound_file import open_sound_file
from infinitetalk.video import VideoWriter

from .reading import numbered

WAVE = (0.3 * np.sin(np.arange(96_000) * 0.05)).astype(np.float32)


def write(path: Path, codec: str, rate: int = 48_000, layout: str = "stereo", samples: int = 96_000) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        channels = len(stream.layout.channels)
        for start in range(0, samples, 4_096):
            piece = np.repeat(WAVE[None, start : min(start + 4_096, samples)], channels, 0)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for converted in resampler.resample(frame):
                file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "tolerance"),
    [
        ("a.wav", "pcm_s16le", 2e-5),
        ("a.wav", "pcm_s32le", 1e-6),
        ("a.wav", "pcm_f32le", 0),
        ("a.wav", "pcm_u8", 1e-2),
        ("a.flac", "flac", 2e-5),
        ("a.mp3", "libmp3lame", 0.02),
        ("a.m4a", "aac", 0.03),
        ("a.ogg", "libopus", 0.02),
    ],
)
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_files_of_many_kinds(tmp_path, name, codec, tolerance, layout):
    sound = open_sound_file(write(tmp_path / name, codec, layout=layout), tmp_path / "s")
    assert (sound.rate, sound.channels) == (48_000, 1 if layout == "mono" else 2)
    assert 96_000 <= sound.samples < 100_000
    lag = sound.samples - 96_000 if codec in ("aac", "libmp3lame") else 0
    found = sound.read(0, sound.samples)[0].numpy()
    best = min(np.abs(found[shift : shift + 90_000] - WAVE[:90_000])[5_000:].max() for shift in range(lag + 1))
    assert best <= tolerance
    assert reopen(tmp_path / "s").digest == sound.digest


def test_the_host_reads_the_same_samples(tmp_path):
    """As the host's Load Audio: whole numbers by their full scale, frames one after the other."""
    path = write(tmp_path / "a.wav", "pcm_s16le")
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray().reshape(-1, 2).T for frame in file.decode(audio=0)]
    expected = torch.from_numpy(np.concatenate(frames, axis=1)).float() / 2**15
    sound = open_sound_file(path, tmp_path / "s")
    assert torch.equal(sound.read(0, sound.samples), expected)


def _empty(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    return path


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_sound_file(path, tmp_path / "s")
    assert not [name for name in os.listdir(tmp_path) if name.startswith("s")]
    assert caught.value.problem.startswith(f"audio: {path.name} ") and len(caught.value.remedy) > 10
    return caught.value.problem


def test_files_without_sound_are_refused(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 64, 48) as writer:
        writer.add(numbered(5))
    assert "no sound stream" in refused(tmp_path / "v.mp4", tmp_path)
    assert "holds no sound" in refused(_empty(tmp_path / "e.wav"), tmp_path)
    assert "6 channels" in refused(write(tmp_path / "f.wav", "pcm_s16le", layout="5.1"), tmp_path)


def test_files_that_are_no_sound_or_are_gone_are_refused(tmp_path):
    (tmp_path / "noise.mp3").write_bytes(os.urandom(3_000))
    (tmp_path / "empty.wav").write_bytes(b"")
    for name in ("noise.mp3", "empty.wav", "missing.wav"):
        assert "cannot be read" in refused(tmp_path / name, tmp_path)


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac")])
def test_torn_files_are_refused(tmp_path, name, codec):
    data = write(tmp_path / name, codec).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 3])
    assert any(word in refused(tmp_path / name, tmp_path) for word in ("cut off", "damaged", "cannot be read"))


def test_a_full_or_closed_folder_is_told(tmp_path):
    path = write(tmp_path / "a.wav", "pcm_s16le")
    with pytest.raises(InputError, match="cannot be written"):
        open_sound_file(path, tmp_path / "missing" / "s")
