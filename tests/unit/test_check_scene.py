"""Speech, speakers and pictures of a workflow, read from real files' headers; what of them cannot work is found."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infinitetalk.check.report import Report
from infinitetalk.check.scene import Scene, read_scene
from infinitetalk.errors import InputError
from tests.unit.clips import numbered_picture, write_clip
from tests.unit.workflow import graph

PICTURES = [numbered_picture(number) for number in range(10)]


def write_wave(path: Path, seconds: float, rate: int = 16_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.zeros(round(seconds * rate), "<i2").tobytes())


@pytest.fixture
def look(tmp_path):
    write_wave(tmp_path / "speech.wav", 10.0)
    Image.new("RGB", (800, 456)).save(tmp_path / "face.png")

    def locate(name: str) -> Path:
        if not (tmp_path / name).is_file():
            raise InputError(f"{name} is not in the input folder.", "Upload it.")
        return tmp_path / name

    def look(*given, **nodes) -> tuple[Scene, Report]:
        report = Report()
        return read_scene(graph(*given, **nodes), "sampler", locate, report), report

    look.folder = tmp_path
    return look


def people(*inputs: dict, order: str = "para", **more) -> dict:
    """Nodes of a conversation: one InfiniteTalk Speaker for each set of inputs."""
    nodes = {f"person{n}": ("InfiniteTalkSpeaker", one) for n, one in enumerate(inputs)}
    links = {f"speakers.speaker{n}": [f"person{n}", 0] for n in range(len(inputs))}
    both = ("InfiniteTalkSpeakers", {"reference": ["reference", 0], "order": order, **links})
    return {**nodes, "speakers": both, **more}


TALKS = {"features": ["features", 0]}
CONVERSATION = {"sampler": {"features": ["speakers", 0]}}


def test_a_picture_and_a_speech_are_told(look):
    scene, report = look()
    assert scene == Scene(frames=250, voices=1, size=(448, 896), still=True)
    assert not report.findings
    assert "0:10 of speech, 250 frames at 25 fps" in report.sections["Speech"]
    assert any("896x448 px" in line for line in report.sections["Picture"])


def test_a_size_that_is_no_multiple_of_16_is_found(look):
    """The token and latent grids then disagree: 30450 against 29925 tokens at 800x456."""
    _, report = look({"reference": {"size": "custom", "width": 800, "height": 456}})
    assert report.problems[0].what == "height: 456 is not a multiple of 16."


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.09])
def test_speech_without_a_frame_is_found(look, seconds):
    write_wave(look.folder / "none.wav", seconds)
    scene, report = look({"speech": {"audio": "none.wav"}})
    assert scene.frames is None
    assert "none.wav" in report.problems[0].what and " s" in report.problems[0].what


def test_missing_and_unreadable_files_are_found(look):
    (look.folder / "page.png").write_text("<html>")
    (look.folder / "page.wav").write_text("<html>")
    _, report = look({"picture": {"image": "page.png"}, "speech": {"audio": "page.wav"}})
    assert sorted(finding.what.split(" is ")[0].split(" cannot ")[0] for finding in report.problems) == [
        "LoadAudio (node speech): page.wav", "LoadImage (node picture): page.png",
    ]  # fmt: skip
    _, report = look({"picture": {"image": "gone.png"}})
    assert report.problems[0].what == "gone.png is not in the input folder."


def test_a_silent_video_as_speech_is_found(look):
    write_clip(look.folder / "silent.mp4", PICTURES)
    _, report = look({"speech": {"file": "silent.mp4"}}, speech=("InfiniteTalkLoadSpeech", {"file": "silent.mp4"}))
    assert "silent.mp4 holds no sound" in report.problems[0].what


@pytest.mark.parametrize("rate", [24, 25, 30])
def test_a_source_of_another_rate_is_read_by_time(look, rate):
    write_clip(look.folder / "film.mp4", PICTURES, rate)
    film = {"vae": ["vae", 0], "video": ["film", 0], "size": "480p", "width": 640, "height": 640}
    scene, report = look(
        {"reference": {"clip_vision": ["clip", 0]}},
        film=("LoadVideo", {"file": "film.mp4"}),
        reference=("InfiniteTalkVideoReference", film),
    )
    assert scene.still is False and not report.findings
    told = "the video's own rate" if rate == 25 else "read by time, at its own rate"
    assert any(f"film.mp4: {rate} fps" in line and told in line for line in report.sections["Picture"])


@pytest.mark.parametrize(("rotation", "told"), [(0, "480x240"), (90, "240x480"), (180, "480x240"), (-90, "240x480")])
def test_a_video_is_told_and_its_boxes_are_read_as_it_is_shown(look, rotation, told):
    """A phone held upright writes a picture that lies on its side, and says so in the stream."""
    write_clip(look.folder / "film.mp4", [np.zeros((240, 480, 3), np.uint8)] * 3, rotation=rotation)
    width, height = map(int, told.split("x"))
    boxes = (f"0, 0, {width}, {height // 2}", f"0, {height // 2}, {width}, {height // 2}")  # one above the other
    film = {"vae": ["vae", 0], "video": ["film", 0], "size": "480p", "clip_vision": ["clip", 0]}
    scene, report = look(
        CONVERSATION,
        film=("LoadVideo", {"file": "film.mp4"}),
        reference=("InfiniteTalkVideoReference", film),
        **people(*({**TALKS, "box": box} for box in boxes)),
    )
    assert not report.findings, report.text()
    assert f"film.mp4: {told} px" in report.sections["Picture"]
    assert (scene.size[1] > scene.size[0]) == (width > height)


def test_a_video_that_a_run_would_refuse_is_found(look):
    film = {"vae": ["vae", 0], "video": ["film", 0], "size": "480p", "clip_vision": ["clip", 0]}
    write_clip(look.folder / "film.mp4", PICTURES, rotation=45)
    _, report = look(film=("LoadVideo", {"file": "film.mp4"}), reference=("InfiniteTalkVideoReference", film))
    assert "film.mp4 is turned by" in report.problems[0].what


def test_a_video_reference_takes_one_source(look):
    given = {"vae": ["vae", 0], "size": "480p", "clip_vision": ["clip", 0]}
    _, report = look(reference=("InfiniteTalkVideoReference", given))
    assert "neither of video and images is connected" in report.problems[0].what


def test_clip_vision_is_missed(look):
    _, report = look({"reference": {"clip_vision": None}})
    assert "clip_vision: nothing is connected" in report.problems[0].what


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_speakers_without_masks_share_the_picture(look, count):
    """The first queue of two, and three or four without masks, fail elsewhere for want of masks."""
    scene, report = look(CONVERSATION, **people(*[TALKS] * count))
    assert scene.voices == count and scene.frames == 250 and not report.findings
    assert "equal columns from left to right" in report.sections["Speakers"][0]


def test_the_order_gives_the_length(look):
    assert look(CONVERSATION, **people(TALKS, TALKS, order="add"))[0].frames == 500
    assert look(CONVERSATION, **people(TALKS, {**TALKS, "start": 4.0}))[0].frames == 350
    assert look(CONVERSATION, **people(TALKS, {}))[0].frames == 250


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        (("0, 0, 300, 456", "100, 0, 300, 456"), "their regions share 67% of the smaller one"),
        (("0, 0, 300, 456", "500, 0, -20, 456"), "a width or height that is not above 0"),
        (("0, 0, 300, 456", "456, 0, 800"), "is not four numbers"),
        (("0, 0, 300, 456", ""), "1 of 2 speakers have a region"),
        (("0, 0, 300, 456", "900, 0, 100, 100"), "speaker 2"),
        (("0, 0, 300, 456", "500, 100, 3, 3"), "covers no token"),
    ],
)
def test_regions_that_cannot_be_bound_are_found(look, boxes, found):
    """Overlap, order of the corners, an empty one: elsewhere a black video or the wrong speaker."""
    _, report = look(CONVERSATION, **people(*({**TALKS, "box": box} for box in boxes)))
    assert found in report.problems[0].what


def test_one_person_with_a_box_keeps_the_others_still(look):
    scene, report = look(CONVERSATION, **people({**TALKS, "box": "0, 0, 300, 456"}))
    assert scene.voices == 2 and not report.findings


def test_two_regions_for_one_person_are_found(look):
    _, report = look(CONVERSATION, **people({**TALKS, "box": "0, 0, 300, 456", "mask": ["picture", 1]}, TALKS))
    assert "mask and box give the same person 2 regions" in report.problems[0].what


def test_nobody_speaks(look):
    _, report = look(CONVERSATION, **people({}, {}))
    assert "none of the 2 speakers has a voice" in report.problems[0].what


def test_what_other_nodes_decide_is_unknown_and_no_problem(look):
    scene, report = look(
        {"features": {"audio": ["trim", 0]}, "reference": {"image": ["made", 0]}},
        trim=("TrimAudioDuration", {"audio": ["speech", 0], "duration": 3.0}),
        made=("EmptyImage", {"width": 512}),
    )
    assert scene == Scene(frames=None, voices=1, size=None, still=True)
    assert not report.findings
