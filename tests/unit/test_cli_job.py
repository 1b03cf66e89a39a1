"""The reference's JSON: what is read from it, and one clear refusal of everything that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infinitetalk.errors import InputError
from infinitetalk_cli.job import PERSONS, Person, read_job

GOOD = {"prompt": "A man is talking", "cond_video": "face.png", "cond_audio": {"person1": "a.wav"}}
TWO = {**GOOD, "audio_type": "para", "cond_audio": {"person1": "a.wav", "person2": "b.m4a"}}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with files of every kind."""
    for name in ("face.png", "face.webp", "clip.mov", "a.wav", "b.m4a", "c.mp3", "d.flac", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, data: object, **keywords):
    file = folder / "job.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    return read_job(file, **keywords)


def test_one_person(folder):
    job = read(folder, GOOD)
    assert job.prompt == "A man is talking" and job.source == Path("face.png") and job.soundtrack is None
    assert job.persons == (Person("person1", Path("a.wav"), None),)
    assert not job.is_video and not job.has_regions


def test_two_persons_with_boxes_by_name_and_a_silent_one(folder):
    boxes = {"person2": [0, 50, 100, 100], "person1": [0, 0, 100, 50]}
    job = read(
        folder, {**TWO, "audio_type": "add", "bbox": boxes, "cond_audio": {"person1": "None", "person2": "a.wav"}}
    )
    assert job.order == "add" and job.has_regions
    assert job.persons == (
        Person("person1", None, (0, 0, 100, 50)), Person("person2", Path("a.wav"), (0, 50, 100, 100)),
    )  # fmt: skip


def test_a_box_binds_even_a_single_voice(folder):
    assert read(folder, {**GOOD, "bbox": {"person1": [0, 0, 10, 10]}}).has_regions


def test_a_box_is_cut_to_whole_pixels_as_in_the_reference(folder):
    job = read(folder, {**GOOD, "bbox": {"person1": [0.9, 1, 10.9, 2.1]}})
    assert job.persons[0].box == (0, 1, 10, 2)


@pytest.mark.parametrize(
    ("source", "voice", "is_video"),
    [("clip.mov", "c.mp3", True), ("face.webp", "clip.mov", False), ("clip.mov", "d.flac", True)],
)
def test_pictures_videos_and_recordings_of_every_kind(folder, source, voice, is_video):
    job = read(folder, {**GOOD, "cond_video": source, "cond_audio": {"person1": voice}, "video_audio": "c.mp3"})
    assert job.is_video is is_video and job.persons[0].voice == Path(voice) and job.soundtrack == Path("c.mp3")


def test_files_are_looked_for_beside_the_json_too(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert read(folder, GOOD).source == folder / "face.png"


def test_embeddings_need_no_prompt(folder):
    data = {key: value for key, value in GOOD.items() if key != "prompt"}
    assert read(folder, data, with_prompt=False).prompt is None


@pytest.mark.parametrize(
    ("data", "problem", "remedy"),
    [
        ([], "is not one object, it is empty", "Write one object"),
        ({**GOOD, "seed": 1}, "seed: this key is unknown", "The keys are prompt, cond_video"),
        ({**GOOD, "tts_audio": {}}, "tts_audio: there is no speech synthesis", "Record the speech"),
        ({**GOOD, "prompt": ["a"]}, "prompt: it is a list", "Write a text"),
        ({**GOOD, "prompt": " "}, "prompt: it is empty", "Write a text"),
        ({**GOOD, "cond_video": None}, "cond_video: it is missing", "Write a text"),
        ({**GOOD, "cond_video": 5}, "cond_video: it is a number", "Write a text"),
        ({**GOOD, "cond_video": "no.png"}, "cond_video: there is no file no.png", "Give a path"),
        ({**GOOD, "cond_video": "a.wav"}, "cond_video: a.wav has the ending .wav", "Use .jpg"),
        ({**GOOD, "cond_audio": "a.wav"}, "cond_audio: it is a text", "person1"),
        ({**GOOD, "cond_audio": {}}, "cond_audio: it is empty", "person1"),
        ({**GOOD, "cond_audio": {"person1": "no.wav"}}, "cond_audio person1: there is no file no.wav", "Give a path"),
        ({**GOOD, "cond_audio": {"person1": "notes.txt"}}, "has the ending .txt", "Use .wav"),
        ({**GOOD, "cond_audio": {"person1": ["a.wav"]}}, "cond_audio person1: it is a list", "Write a text"),
        ({**GOOD, "cond_audio": {"man": "a.wav"}}, "'man' is no name of a person", "Use person1"),
        ({**GOOD, "cond_audio": {"person1": "None"}}, "everybody is silent", "Name a voice"),
        (
            {**TWO, "cond_audio": {f"person{n}": "a.wav" for n in range(1, PERSONS + 2)}},
            "9 persons are more than the 8 possible",
            "Name fewer",
        ),
        ({**TWO, "audio_type": "both"}, "audio_type: 'both' is unknown", '"para"'),
        ({key: TWO[key] for key in TWO if key != "audio_type"}, "missing with 2 persons", '"para"'),
        ({**TWO, "bbox": {"person1": [0, 0, 1, 1]}}, "bbox: it has person1", "each of person1, person2"),
        ({**TWO, "bbox": [0, 0, 1, 1]}, "bbox: it has a list", "each of person1, person2"),
        ({**GOOD, "bbox": {"person1": [0, 0, 1]}}, "bbox person1: [0, 0, 1] is not four numbers", "[row, column"),
        ({**GOOD, "bbox": {"person1": [0, 0, "1", 1]}}, "is not four numbers", "[row, column"),
        ({**GOOD, "bbox": {"person1": [0, 0, float("nan"), 1]}}, "is not four numbers", "[row, column"),
        ({**GOOD, "bbox": {"person1": [9, 0, 9, 5]}}, "bbox person1: [9, 0, 9, 5] holds no whole pixel", "first row"),
        ({**GOOD, "bbox": {"person1": [0, 0, 0.5, 0.5]}}, "[0, 0, 0.5, 0.5] holds no whole pixel", "Write pixels"),
        ({**GOOD, "bbox": {"person1": [3.2, 0, 3.9, 50]}}, "[3.2, 0, 3.9, 50] holds no whole pixel", "Write pixels"),
        ({**GOOD, "bbox": {"person1": [-1, 0, 9, 5]}}, "starts outside the picture", "first row"),
        ({**GOOD, "video_audio": "face.png"}, "video_audio: face.png has the ending .png", "Use .wav"),
        ({**GOOD, "video_audio": 1}, "video_audio: it is a number", "Write a text"),
    ],
)
def test_what_is_wrong_is_named_in_two_lines(folder, data, problem, remedy):
    with pytest.raises(InputError) as caught:
        read(folder, data)
    assert problem in caught.value.problem and remedy in caught.value.remedy
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_no_json(folder):
    (folder / "job.json").write_text("{'prompt': 1}")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_job(folder / "job.json")
    (folder / "job.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_job(folder / "job.json")
    with pytest.raises(InputError, match="there is no file nowhere.json"):
        read_job(Path("nowhere.json"))
