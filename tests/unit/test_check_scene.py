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
from tests.unit.workflow import NODES, graph

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

    def locate(name: str, label: str) -> Path:
        if not (tmp_path / name).is_file():
            raise InputError(f"{label}: {name} is not in the input folder.", "Upload it.")
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
    assert scene == Scene(frames=250, voices=1, size=(448, 896), still=True, held=81)
    assert not report.findings
    assert "0:10 of speech, 250 frames at 25 fps" in report.sections["Speech"]
    assert any("896x448 px" in line for line in report.sections["Picture"])


def test_a_size_that_is_no_multiple_of_16_is_found(look):
    """The token and latent grids then disagree: 30450 against 29925 tokens at 800x456."""
    _, report = look({"reference": {"size": "custom", "width": 800, "height": 456}})
    assert report.problems[0].what == "InfiniteTalkReference (node reference): height: 456 is not a multiple of 16."


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.09])
def test_speech_without_a_frame_is_found(look, seconds):
    write_wave(look.folder / "none.wav", seconds)
    scene, report = look({"speech": {"audio": "none.wav"}})
    assert scene.frames is None
    assert "none.wav" in report.findings[0].what and " s" in report.findings[0].what
    assert bool(report.problems) == (seconds < 0.05)  # headers of packed sound are a little off


def test_missing_and_unreadable_files_are_found(look):
    (look.folder / "page.png").write_text("<html>")
    (look.folder / "page.wav").write_text("<html>")
    _, report = look({"picture": {"image": "page.png"}, "speech": {"audio": "page.wav"}})
    assert sorted(finding.what.split(" is ")[0].split(" cannot ")[0] for finding in report.problems) == [
        "LoadAudio (node speech): page.wav", "LoadImage (node picture): page.png",
    ]  # fmt: skip
    _, report = look({"picture": {"image": "gone.png"}})
    assert report.problems[0].what == "LoadImage (node picture): gone.png is not in the input folder."


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
    short = f"the video ends {10 - len(PICTURES) / rate:.2f} s before the speech: its last picture is held for the rest"
    assert short in report.sections["Picture"]


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


def test_no_speakers_at_all_are_found(look):
    (found,) = look(CONVERSATION, **people())[1].problems
    assert "0 are connected" in found.what


def test_what_other_nodes_decide_is_unknown_and_no_problem(look):
    scene, report = look(
        {"features": {"audio": ["trim", 0]}, "reference": {"image": ["made", 0]}},
        trim=("TrimAudioDuration", {"audio": ["speech", 0], "duration": 3.0}),
        made=("EmptyImage", {"width": 512}),
    )
    assert scene == Scene(frames=None, voices=1, size=None, still=True, held=81)
    assert not report.findings


def test_speakers_behind_other_nodes_are_known_when_they_run(look):
    for chosen in (
        {"speakers.speaker0": ["switch", 0]},
        {"speakers.speaker0": ["switch", 0], "speakers.odd": ["x", 0]},
    ):
        made = people(
            {**TALKS, "box": "20, 20, 200, 300"}, TALKS, switch=("ComfySwitchNode", {"on_true": ["person0", 0]})
        )
        made["speakers"][1].update(chosen)
        scene, report = look(CONVERSATION, **made)
        assert scene.voices == 2 and scene.frames is None and not report.findings


def test_a_box_that_another_node_writes_may_be_empty(look):
    made = people({**TALKS, "box": ["words", 0], "mask": ["drawn", 0]}, {**TALKS, "mask": ["drawn", 0]})
    made |= {"words": ("PrimitiveString", {"value": ""}), "drawn": ("SolidMask", {})}
    assert not look(CONVERSATION, **made)[1].findings
    made = people({**TALKS, "box": ["words", 0]}, {**TALKS, "box": "20, 20, 200, 300"})
    assert not look(CONVERSATION, words=("PrimitiveString", {"value": ""}), **made)[1].findings


def test_boxes_are_measured_on_the_speakers_own_picture(look):
    Image.new("RGB", (1600, 912)).save(look.folder / "large.png")
    own = ("InfiniteTalkReference", {**NODES["reference"][1], "image": ["large", 0]})
    made = people({**TALKS, "box": "900, 500, 300, 300"}, {**TALKS, "box": "20, 20, 200, 300"}, own=own,
                  large=("LoadImage", {"image": "large.png"}))  # fmt: skip
    assert look(CONVERSATION, **made)[1].problems
    made["speakers"][1]["reference"] = ["own", 0]
    assert not look(CONVERSATION, **made)[1].findings


def test_a_picture_in_motion_has_the_size_of_its_video(look):
    Image.new("RGB", (4000, 3000)).save(look.folder / "huge.png")
    film = {"reference": {"image": None, "video": ["pan", 0]}}
    moving = {"pan": ("InfiniteTalkPanZoom", {"image": ["huge", 0]}), "huge": ("LoadImage", {"image": "huge.png"})}
    video = ("InfiniteTalkVideoReference", {**NODES["reference"][1], "image": None, "video": ["pan", 0]})
    made = people({**TALKS, "box": "700, 400, 44, 44"}, {**TALKS, "box": "20, 20, 200, 300"})
    report = look({**CONVERSATION, **film}, reference=video, **moving, **made)[1]
    assert not report.problems, report.text()


@pytest.mark.parametrize("start, problems", [(-1.0, 0), (0.5, 0), ("0.5", 0), (None, 0), (-0.5, 1), (1e9, 1)])
def test_starts_are_those_that_the_speaker_takes(look, start, problems):
    report = look(CONVERSATION, **people({**TALKS, "start": start}, TALKS))[1]
    assert len(report.problems) == problems and all("start:" in found.what for found in report.problems)


def test_sound_that_the_encoder_refuses_is_found(look):
    write_wave(look.folder / "phone.wav", 3.0, 8000)
    (found,) = look({"speech": {"audio": "phone.wav"}})[1].problems
    assert "its sample rate is 8000 Hz" in found.what


def test_pictures_that_only_ffmpeg_reads_are_read(look):
    import av

    with av.open(str(look.folder / "face.dpx"), "w", format="image2") as file:
        stream = file.add_stream("dpx", 1)
        stream.width, stream.height, stream.pix_fmt = 480, 320, "rgb24"
        file.mux(stream.encode(av.VideoFrame(480, 320, "rgb24")))
        file.mux(stream.encode())
    report = look({"picture": {"image": "face.dpx"}})[1]
    assert not report.findings and "face.dpx: 480x320 px" in report.sections["Picture"]


def test_a_tiff_is_turned_once(look):
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ("face.tiff", "face.jpg"):
        Image.new("RGB", (480, 320)).save(look.folder / name, exif=turned)
        report = look({"picture": {"image": name}})[1]
        assert f"{name}: 320x480 px" in report.sections["Picture"]
