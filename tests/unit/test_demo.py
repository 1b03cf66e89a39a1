"""The demonstration's sample files, the step that collects the talking model, and pictures of a talking video."""

from __future__ import annotations

import re
from argparse import Namespace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from demo import commands, draw_people, strip, talking_model
from demo.base import ASSETS
from infinitetalk.buckets import resize_crop
from talker.measure import mouth
from talker.scene import search_boxes

# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"image": "none.png"}, "--image: there is no file"),
        ({"image": "text.wav"}, "--image: .*text.wav cannot be read as a picture"),
        ({"image": str(ASSETS / "speech.flac")}, "--image: .* cannot be read as a picture"),
        ({"audio": "text.wav"}, "--audio: .*text.wav cannot be read as sound"),
        ({"audio": str(ASSETS / "face.png")}, "--audio: .* holds no sound"),
        ({"seconds": 0.0}, "--seconds: 0 is not above 0"),
        ({"seconds": float("nan")}, "--seconds: nan is not above 0"),
    ],
)
def test_the_demo_refuses_bad_input_before_comfyui_starts(tmp_path, capsys, changes, said):
    (tmp_path / "text.wav").write_text("no sound")
    given = {"image": None, "audio": None, "seconds": None, "seed": None, "out": tmp_path / "new" / "demo.mp4"}
    given |= {name: tmp_path / value if isinstance(value, str) else value for name, value in changes.items()}
    assert commands.demo(Path("no ComfyUI is needed"), Namespace(**given)) == 1
    first, remedy = capsys.readouterr().err.strip().splitlines()
    assert re.search(said, first) and remedy
    assert not given["out"].exists()


# ---------------------------------------------------------------- sample files


@pytest.mark.parametrize("people", draw_people.PICTURES)
def test_sample_pictures_are_what_their_script_draws(tmp_path, people):
    """So their people lie in the boxes that it tells, whatever has changed in the drawing since."""
    kept = Image.open(ASSETS / draw_people.PICTURES[people])
    drawn = Image.open(draw_people.draw_picture(people, tmp_path / "drawn.png"))
    assert kept.mode == "RGB" and kept.size == drawn.size
    difference = int(np.abs(np.asarray(kept).astype(int) - np.asarray(drawn)).max())
    assert difference <= 3, "run python -m demo.draw_people"
    inside = [(0 <= left < right <= kept.width, 0 <= top < low <= kept.height)
              for left, top, right, low in draw_people.boxes(people)]  # fmt: skip
    assert inside == [(True, True)] * people


@pytest.mark.parametrize("people", draw_people.PICTURES)
def test_sample_pictures_shrink_to_what_the_training_drew(people):
    """As the product shrinks them, mouths shut."""
    height, width = draw_people.SIZE[people]
    picture = torch.from_numpy(np.asarray(Image.open(ASSETS / draw_people.PICTURES[people])).copy())
    small = resize_crop(picture, height, width).numpy()
    trained = draw_people.pictures(draw_people.scene(people), torch.zeros(1), 1)[0]
    error = np.square(small.astype(float) - trained).mean()
    assert 10 * np.log10(255**2 / error) > 38
    for box in search_boxes(draw_people.scene(people))[0]:
        assert mouth(small[None], box.numpy()).opening[0] < 0.5


def test_sample_video_moves_and_is_cut_once():
    with av.open(str(ASSETS / "face.mp4")) as container:
        assert container.streams.video[0].average_rate == draw_people.FPS and not container.streams.audio
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)
    assert frames.shape == (60, 256, 256, 3)
    changes = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert changes.argmax() == 29 and changes[29] > 30
    assert (np.delete(changes, 29) > 0.1).all() and np.delete(changes, 29).max() < 5


# ---------------------------------------------------------------- the talking model


def test_the_shipped_files_are_whole_and_small():
    for name in talking_model.FILES:
        tensors = load_file(talking_model.MODELS / name) if name.endswith(".safetensors") else {}
        assert all(tensor.dtype == torch.float16 and tensor.isfinite().all() for tensor in tensors.values()), name
    sizes = [(talking_model.MODELS / name).stat().st_size for name in talking_model.FILES]
    assert sum(sizes) <= talking_model.MOST_MB * 1e6


def test_the_model_card_has_a_row_for_each_file_and_no_gap():
    card = (talking_model.MODELS / "README.md").read_text(encoding="utf-8")
    for name in talking_model.FILES:
        if name.endswith(".safetensors"):
            assert talking_model.card_row(talking_model.MODELS / name) in card
    assert "FILL" not in card


@pytest.fixture
def trained(tmp_path):
    """What the training scripts write, with one number in each file: (DiT folder, VAE file, wav2vec2 folder)."""
    dit, vae, wav2vec = tmp_path / "dit", tmp_path / "vae.safetensors", tmp_path / "wav2vec"
    dit.mkdir(), wav2vec.mkdir()
    names = ["dit", "adapter", *(f"{prompt}_embeds" for prompt in ("still", *talking_model.CAMERA_EMBEDS))]
    files = [*(dit / f"{name}.safetensors" for name in names), vae, wav2vec / "model.safetensors"]
    for number, file in enumerate(files):
        save_file({file.stem: torch.full((2, 3), float(number))}, file)
    for name in ("config.json", "preprocessor_config.json"):
        (wav2vec / name).write_text("{}\n")
    return dit, vae, wav2vec


def test_trained_files_get_their_names_and_rows(trained, tmp_path, capsys):
    models = tmp_path / "models"
    talking_model.main([*map(str, trained), str(models)])
    made = sorted(path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file())
    assert made == sorted(talking_model.FILES)
    for name, stem in {
        talking_model.DIT: "dit",
        talking_model.ADAPTER: "adapter",
        talking_model.VAE: "vae",
        talking_model.EMBEDS: "still_embeds",
        talking_model.CAMERA_EMBEDS["in"]: "in_embeds",
        f"{talking_model.WAV2VEC_FOLDER}/model.safetensors": "model",
    }.items():
        assert list(load_file(models / name)) == [stem]
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 10 and rows[0] == f"| `{talking_model.DIT}` | 6 | 0.0 MB |" and rows[-1] == "0.0 MB together"


def test_trained_files_that_are_too_large_are_refused(trained, tmp_path):
    save_file({"large": torch.zeros(11_000_000)}, trained[1])
    with pytest.raises(SystemExit, match="more than 40 MB"):
        talking_model.main([*map(str, trained), str(tmp_path / "models")])


# ---------------------------------------------------------------- pictures of a video


@pytest.fixture
def clip():
    """Two seconds at 25 frames a second: frame n has the grey 4 n; the sound is silent, then loud."""
    frames = np.repeat(np.arange(50, dtype=np.uint8) * 4, 32 * 32 * 3).reshape(50, 32, 32, 3)
    sound = np.concatenate([np.zeros(8_000), np.sin(np.arange(8_000))]).astype(np.float32)
    return strip.Clip(frames, Fraction(25), sound, 8_000)


def test_a_strip_shows_the_frames_of_its_times_above_their_sound(clip):
    picture = np.asarray(strip.strip(clip, 0.8, 0.4, 4))
    assert picture.shape[1] == 4 * 32 + 3 * strip.GAP
    # 0.4 s in four shares of 0.1 s: the frames at 0.85, 0.95, 1.05 and 1.15 s
    assert [picture[16, n * (32 + strip.GAP) + 16, 0] // 4 for n in range(4)] == [21, 23, 26, 28]
    blue = (picture[32:] == strip.WAVE).all(axis=2).sum(axis=0)  # of each column
    assert blue[2:64].max() <= 1 and np.median(blue[80:]) > strip.WAVE_HEIGHT // 2


def test_pictures_of_a_written_video(clip, tmp_path):
    path = tmp_path / "talk.mp4"
    with av.open(str(path), "w") as container:
        video, voice = container.add_stream("h264", rate=25), container.add_stream("aac", rate=clip.rate)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for frame in clip.frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(clip.sound[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = clip.rate, 0
        container.mux(voice.encode(sound))
        container.mux(voice.encode())
    read = strip.read(path)
    assert read.frames.shape == (50, 32, 32, 3) and read.fps == 25 and read.rate == clip.rate
    assert np.abs(read.sound[: clip.rate // 2]).max() < 0.05 < np.abs(read.sound[clip.rate + 1000 :]).max()
    strip.write_moving(read, 0.4, 1.0, tmp_path / "moving.webp")
    with Image.open(tmp_path / "moving.webp") as moving:
        assert moving.size == (64, 64)
        shown = []  # (grey, milliseconds) of each picture; a file may hold equal frames once
        for number in range(moving.n_frames):
            moving.seek(number)
            shown.append((np.asarray(moving.convert("L")).mean(), moving.info["duration"]))
    assert sum(milliseconds for _, milliseconds in shown) == 1000
    assert [shown[0][0], shown[-1][0]] == pytest.approx([40, 136], abs=6)
