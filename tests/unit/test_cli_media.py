"""The files of a job are opened and measured before any host is asked: what no host could use is told at once."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from infinitetalk_cli.__main__ import main
from infinitetalk_cli.job import Job, Person
from infinitetalk_cli.media import inspect
from tests.unit.clips import numbered_picture, write_clip

NOBODY = "http://127.0.0.1:9"  # asked for anything, the command ends with 1
RATE = 48_000


def write_wav(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * round(16_000 * seconds)))
    return path


def write_recording(path: Path, seconds: float) -> Path:
    """A webm as a browser's recorder writes it: no length in the header."""
    with av.open(str(path), "w", options={"live": "1"}) as file:
        stream = file.add_stream("libopus", rate=RATE, layout="mono")
        for start in range(0, round(seconds * RATE), 960):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), "flt", "mono")
            frame.sample_rate, frame.pts = RATE, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: good and bad files under names that promise the right kind."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (120, 80)).save("face.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.new("RGB", (120, 80)).save("turned.jpg", exif=turned)
    write_clip(tmp_path / "clip.mp4", [numbered_picture(0)] * 2)
    for name, seconds in (("a.wav", 2), ("b.wav", 3), ("empty.wav", 0)):
        write_wav(tmp_path / name, seconds)
    for name in ("corrupt.wav", "corrupt.png", "corrupt.mp4"):
        (tmp_path / name).write_bytes(b"none of these bytes mean a thing " * 9)
    (tmp_path / "torn.png").write_bytes((tmp_path / "face.png").read_bytes()[:-30])
    return tmp_path


ADD = {"audio_type": "add"}
PARA = {"audio_type": "para"}


@pytest.mark.parametrize(
    ("voices", "more", "problem", "remedy"),
    [
        (["corrupt.wav"], {}, "cond_audio person1: corrupt.wav cannot be read as sound", "Copy it again"),
        (["clip.mp4"], {}, "cond_audio person1: clip.mp4 holds no sound", "a video with sound"),
        (["empty.wav"], {}, "cond_audio person1: empty.wav holds no sound", "a video with sound"),
        (["a.wav", "corrupt.wav"], ADD, "cond_audio person2: corrupt.wav cannot be read as sound", "Copy it again"),
        (["clip.mp4", "a.wav"], ADD, "cond_audio person1: clip.mp4 holds no sound", "a video with sound"),
        (["a.wav", "clip.mp4"], PARA, "cond_audio person2: clip.mp4 holds no sound", "a video with sound"),
        (["a.wav"], {"video_audio": "corrupt.wav"}, "video_audio: corrupt.wav cannot be read", "Copy it again"),
        (["a.wav"], {"video_audio": "clip.mp4"}, "video_audio: clip.mp4 holds no sound", "a video with sound"),
        (["a.wav"], {"cond_video": "corrupt.png"}, "cond_video: corrupt.png cannot be read as a picture", "Copy it"),
        (["a.wav"], {"cond_video": "torn.png"}, "cond_video: torn.png cannot be read as a picture", "Copy it"),
        (["a.wav"], {"cond_video": "corrupt.mp4"}, "cond_video: corrupt.mp4", "It is damaged"),
        (
            ["a.wav"],
            {"bbox": {"person1": [80, 0, 90, 50]}},
            "bbox person1: [80, 0, 90, 50] lies outside face.png, which has 80 rows and 120 columns",
            "[first row, first column, last row, last column]",
        ),
        (
            ["a.wav"],
            {"cond_video": "clip.mp4", "bbox": {"person1": [0, 64, 64, 100]}},
            "bbox person1: [0, 64, 64, 100] lies outside clip.mp4, which has 64 rows and 64 columns",
            "[first row, first column, last row, last column]",
        ),
        (["a.wav"], {"bbox": {"person1": [0, 0, 0.5, 0.5]}}, "bbox person1: [0, 0, 0.5, 0.5] holds no", "pixels"),
    ],
)
def test_what_no_host_could_use_is_told_before_one_is_asked(folder, capsys, voices, more, problem, remedy):
    persons = {f"person{number}": voice for number, voice in enumerate(voices, 1)}
    data = {"prompt": "A man talks", "cond_video": "face.png", "cond_audio": persons, **more}
    (folder / "job.json").write_text(json.dumps(data))
    assert main(["--input_json", "job.json", "--server", NOBODY]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(problem) and remedy in second


def job(*voices: Path | None, source: str = "face.png", box=None, order: str = "add") -> Job:
    persons = tuple(Person(f"person{number}", voice, box) for number, voice in enumerate(voices, 1))
    return Job("A man talks", Path(source), persons, order, None)


def test_voices_that_follow_each_other_are_measured_even_where_the_file_does_not_say(folder):
    recording = write_recording(folder / "r.webm", 1.2)
    with av.open(str(recording)) as file:
        assert file.duration is None and file.streams.audio[0].duration is None
    found = inspect(job(recording, Path("a.wav"), None))
    assert [person.frames for person in found.persons] == [30, 50, 0]
    assert [person.name for person in found.persons] == ["person1", "person2", "person3"]


def test_lengths_that_do_not_count_are_not_measured(folder):
    for one in (job(Path("a.wav")), job(Path("a.wav"), Path("b.wav"), order="para")):
        assert inspect(one) == one


def test_a_picture_counts_as_it_is_shown(folder):
    inspect(job(Path("a.wav"), source="turned.jpg", box=(100, 0, 120, 80)))
    with pytest.raises(ValueError, match="which has 120 rows and 80 columns"):
        inspect(job(Path("a.wav"), source="turned.jpg", box=(0, 80, 50, 120)))
