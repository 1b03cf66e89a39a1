"""What the flags and the JSON make of the shipped workflows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from infinitetalk_cli.arguments import parse
from infinitetalk_cli.build import build
from infinitetalk_cli.job import Job, Person
from infinitetalk_cli.prompt import find_node, inputs_of
from infinitetalk_cli.weights import Weights

FACE, CLIP, MUSIC = Path("face.png"), Path("clip.mov"), Path("music.mp3")


@pytest.fixture
def voices() -> list[Path]:
    """Recordings of 2 and 3 seconds; nothing opens them here."""
    return [Path("2.wav"), Path("3.wav")]


def made(persons: tuple[Person, ...], *flags: str, source: Path = FACE, order: str = "para", music=None) -> dict:
    options = parse(["--server", "h", *flags])
    job = Job("A man talks", source, persons, order, music)
    files = {file: f"in_{file.name}" for file in (source, music, *(person.voice for person in persons)) if file}
    prompt = build(job, options, Weights.of(options, job.has_regions), files)
    links = [value[0] for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, list)]
    assert set(links) <= set(prompt)  # nothing leads nowhere
    return prompt


def one(voices: list[Path]) -> tuple[Person, ...]:
    return (Person("person1", voices[0], None),)


def behind(prompt: dict, name: str, *inputs: str) -> dict:
    """The node found by following inputs from a node, one after the other."""
    node = find_node(prompt, name)
    for entry in inputs:
        node = prompt[node]["inputs"][entry][0]
    return prompt[node]


def test_values_of_the_flags_arrive(voices):
    prompt = made(
        one(voices), "--size", "infinitetalk-720", "--sample_steps", "8", "--sample_shift", "2", "--frame_num", "49",
        "--sample_text_guide_scale", "1", "--sample_audio_guide_scale", "2", "--base_seed", "7", "--motion_frame", "5",
        "--color_correction_strength", "0.5", "--t5_cpu", "--negative_prompt", "blur",
    )  # fmt: skip
    assert inputs_of(prompt, "Reference")["size"] == "720p" and inputs_of(prompt, "Reference")["window_frames"] == 49
    assert inputs_of(prompt, "Schedule") == {"steps": 8, "shift": 2.0}
    guidance = inputs_of(prompt, "Guidance")
    assert (guidance["text_scale"], guidance["audio_scale"], guidance["apg"]) == (1.0, 2.0, False)
    sampler = inputs_of(prompt, "Sampler")
    found = [sampler[name] for name in ("seed", "frames_per_window", "motion_frames", "color_correction", "mode")]
    assert found == [7, 49, 5, 0.5, "clip"]
    assert (
        inputs_of(prompt, "Prompt")["text"] == "A man talks" and inputs_of(prompt, "Negative prompt")["text"] == "blur"
    )
    assert inputs_of(prompt, "Text encoder")["device"] == "cpu"
    assert inputs_of(prompt, "Picture")["image"] == "in_face.png" and inputs_of(prompt, "Speech")["audio"] == "in_2.wav"


def test_a_run_can_be_named_and_made_afresh(voices):
    plain, named = made(one(voices)), made(one(voices), "--run_name", "my talk", "--afresh")
    assert inputs_of(plain, "Sampler")["run_name"] == "" and inputs_of(plain, "Sampler")["existing"] == "continue"
    assert inputs_of(named, "Sampler")["run_name"] == "my talk" and inputs_of(named, "Sampler")["existing"] == "afresh"


def test_streaming_is_cut_at_the_longest_video_wanted(voices):
    prompt = made(one(voices), "--mode", "streaming", "--max_frame_num", "50")
    trim = behind(prompt, "Sampler", "features", "audio")
    assert trim["class_type"] == "TrimAudioDuration" and trim["inputs"]["duration"] == 2.0
    assert behind(made(one(voices)), "Sampler", "features", "audio")["class_type"] == "LoadAudio"


def test_two_who_follow_each_other_share_the_longest_video_wanted(voices):
    both = tuple(Person(f"person{number}", voice, None, 25 * (number + 1)) for number, voice in enumerate(voices, 1))
    for order, expected in (("add", [3.2, 1.2]), ("para", [3.2, 3.2])):
        prompt = made(both, "--mode", "streaming", "--max_frame_num", "80", order=order)
        cuts = [e["inputs"]["duration"] for e in prompt.values() if e["class_type"] == "TrimAudioDuration"]
        assert cuts == pytest.approx(expected)
        assert inputs_of(prompt, "Speakers")["order"] == order
    assert (
        behind(prompt, "Speakers", "speakers.speaker1", "features", "audio", "audio")["inputs"]["audio"] == "in_3.wav"
    )


def test_a_silent_person_has_no_features_and_a_box_of_columns_and_rows(voices):
    persons = (Person("person1", None, (0, 10, 100, 60)), Person("person2", voices[0], (0, 60, 100, 120)))
    prompt = made(persons)
    assert inputs_of(prompt, "Speaker 1") == {"name": "person1", "box": "10, 0, 50, 100"}
    assert inputs_of(prompt, "Speaker 2")["box"] == "60, 0, 60, 100"
    assert behind(prompt, "Speaker 2", "features", "audio")["inputs"]["audio"] == "in_2.wav"


def test_loras_stand_in_a_row_before_the_sampler(voices):
    prompt = made(one(voices), "--lora_dir", "a.safetensors", "b.safetensors", "--lora_scale", "1", "0.5")
    last, first = behind(prompt, "Sampler", "model"), behind(prompt, "Sampler", "model", "model")
    assert (last["inputs"]["lora_name"], last["inputs"]["strength_model"]) == ("b.safetensors", 0.5)
    assert (first["inputs"]["lora_name"], first["inputs"]["strength_model"]) == ("a.safetensors", 1.0)
    assert behind(prompt, "Sampler", "model", "model", "model")["class_type"] == "InfiniteTalkLoadModel"


def test_a_video_with_scenes_and_its_own_pictures(voices):
    prompt = made(one(voices), "--scene_seg", "--use_sdedit", source=CLIP, music=MUSIC)
    assert behind(prompt, "Sampler", "scenes", "video") is behind(prompt, "Reference", "video")
    assert inputs_of(prompt, "Scenes")["detector"] == "all" and inputs_of(prompt, "Video")["file"] == "in_clip.mov"
    assert inputs_of(prompt, "Sampler")["source_strength"] == 0.7
    assert behind(prompt, "Save video", "audio")["inputs"]["audio"] == "in_music.mp3"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--use_teacache"], {"kind": "teacache", "threshold": 0.2, "coefficients": "480"}),
        (
            ["--use_teacache", "--teacache_thresh", "0.3", "--size", "infinitetalk-720"],
            {"kind": "teacache", "threshold": 0.3, "coefficients": "720"},
        ),
        (["--magcache", "mine"], {"kind": "magcache", "threshold": 0.06, "curve": "mine.magcache.json"}),
        (["--calibrate", "mine.magcache.json"], {"kind": "calibrate", "threshold": 0.0, "curve": "mine.magcache.json"}),
    ],
)
def test_caches(voices, flags, expected):
    assert behind(made(one(voices), *flags), "Sampler", "cache")["inputs"] == expected


def test_apg_has_the_reference_s_numbers_unless_told_otherwise(voices):
    guidance = inputs_of(made(one(voices), "--use_apg", "--apg_momentum", "-0.5"), "Guidance")
    assert (guidance["apg"], guidance["apg_momentum"], guidance["apg_threshold"]) == (True, -0.5, 55.0)


def test_embeddings_leave_neither_text_encoder_nor_clip(voices):
    prompt = made(one(voices), "--embeds", "e.safetensors", source=CLIP)
    assert not {"CLIPLoader", "CLIPTextEncode", "CLIPVisionLoader"} & {e["class_type"] for e in prompt.values()}
    assert behind(prompt, "Sampler", "positive") is behind(prompt, "Reference", "clip_vision_output")


def test_the_audio_encoder_may_be_a_folder(voices):
    entry = behind(
        made(one(voices), "--wav2vec_dir", "weights/chinese-wav2vec2-base"), "Sampler", "features", "audio_encoder"
    )
    assert entry["class_type"] == "InfiniteTalkLoadAudioEncoder"
    assert PurePosixPath(entry["inputs"]["audio_encoder"]).name == "chinese-wav2vec2-base"
