"""The command line end to end on the small model: the reference's JSON, on a running ComfyUI and on its own."""

from __future__ import annotations

import filecmp
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo import small_model
from demo.base import ASSETS
from demo.commands import fit_speech
from infinitetalk.runs import list_runs
from infinitetalk_cli.__main__ import main
from infinitetalk_cli.client import Client, HostError
from infinitetalk_cli.host import OwnHost, output_folder
from infinitetalk_cli.server import PACK, make_base
from tests.host.server import node_of, read_video

FILES = [
    "--dit_path", Path(small_model.DIT).name, "--infinitetalk_dir", Path(small_model.ADAPTER).name,
    "--wav2vec_dir", Path(small_model.WAV2VEC_FOLDER).name, "--embeds", Path(small_model.EMBEDS).name,
    "--set", f"VAE.vae_name={Path(small_model.VAE).name}",
]  # fmt: skip
SMALL = ["--set", "Reference.size=custom", "--set", "Reference.width=96", "--set", "Reference.height=64"]
QUICK = ["--sample_steps", "1", "--frame_num", "17"]
SECONDS = 0.96  # 24 frames: two windows


@pytest.fixture
def folder(server, tmp_path, monkeypatch) -> Path:
    """The current folder, with a voice of 24 frames, one of 15, and the sample pictures and video."""
    monkeypatch.chdir(tmp_path)
    fit_speech(ASSETS / "speech.flac", SECONDS, tmp_path / "a.wav")
    fit_speech(ASSETS / "speech.flac", 0.6, tmp_path / "b.wav")
    for name in ("face.png", "face.mp4", "two_faces.png"):
        shutil.copy(server.base / "input" / name, tmp_path)
    return tmp_path


def job(folder: Path, source: str, *voices: str | None, **more) -> list[str]:
    persons = {f"person{number}": voice for number, voice in enumerate(voices, 1)}
    data = {"prompt": "A man is talking", "cond_video": source, "cond_audio": persons, **more}
    (folder / "job.json").write_text(json.dumps(data))
    return ["--input_json", "job.json"]


def last_prompt(server) -> dict:
    """The workflow that the server has run last."""
    return max(server.get("/history").values(), key=lambda entry: entry["prompt"][0])["prompt"][2]


def test_one_picture_and_one_voice(server, folder, capsys):
    arguments = [*job(folder, "face.png", "a.wav"), "--server", server.url, *FILES, *SMALL, *QUICK]
    assert main([*arguments, "--mode", "streaming", "--save_file", "res", "--use_teacache", "--use_apg"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "res.mp4" and "Sampler" in err
    frames, sound = read_video(folder / "res.mp4")
    assert frames.shape == (24, 64, 96, 3) and np.abs(sound).max() > 0.05
    prompt = last_prompt(server)
    assert prompt[node_of(prompt, "InfiniteTalkStepCache")]["inputs"]["kind"] == "teacache"
    assert prompt[node_of(prompt, "InfiniteTalkGuidance")]["inputs"]["apg"] is True
    assert prompt[node_of(prompt, "InfiniteTalkSampler")]["inputs"]["frames_per_window"] == 17


def test_clip_is_one_window_and_max_frame_num_a_limit(server, folder, capsys):
    arguments = [*job(folder, "face.png", "a.wav"), "--server", server.url, *FILES, *SMALL, *QUICK]
    assert main([*arguments, "--save_file", "clip.mp4"]) == 0
    assert len(read_video(folder / "clip.mp4")[0]) == 17
    assert main([*arguments, "--mode", "streaming", "--max_frame_num", "20", "--save_file", "short"]) == 0
    assert len(read_video(folder / "short.mp4")[0]) == 20


def test_a_video_with_its_cuts_from_its_own_pictures_and_another_soundtrack(server, folder, capsys):
    """The voice is taken from a video file, and the soundtrack of the result from yet another."""
    music = fit_speech(ASSETS / "speech.flac", 3, folder / "music.wav")
    subprocess.run(
        [sys.executable, "-c", SOUND_VIDEO, "face.mp4", "a.wav", "talk.mkv"], check=True, timeout=60, cwd=folder
    )
    arguments = [*job(folder, "face.mp4", "talk.mkv", video_audio=music.name), "--server", server.url, *FILES]
    flags = ["--mode", "streaming", "--scene_seg", "--use_sdedit", "0.6", "--sample_steps", "2", "--frame_num", "17"]
    assert main([*arguments, *SMALL, *flags, "--save_file", "dubbed"]) == 0
    frames, sound = read_video(folder / "dubbed.mp4")
    assert frames.shape == (24, 64, 96, 3) and sound.shape[1] >= SECONDS * 22050
    inputs = last_prompt(server)[node_of(last_prompt(server), "InfiniteTalkSampler")]["inputs"]
    assert inputs["source_strength"] == 0.6 and inputs["scenes"]


SOUND_VIDEO = """
import sys, av
video, sound, out = sys.argv[1:]
with av.open(video) as v, av.open(sound) as s, av.open(out, "w") as target:
    picture = target.add_stream_from_template(v.streams.video[0])
    voice = target.add_stream("aac", rate=s.streams.audio[0].rate)
    for packet in v.demux(v.streams.video[0]):
        if packet.dts is not None:
            packet.stream = picture
            target.mux(packet)
    for frame in s.decode(audio=0):
        target.mux(voice.encode(frame))
    target.mux(voice.encode())
"""


def test_two_persons_one_after_the_other_in_their_boxes(server, folder, capsys):
    """The boxes count rows with x, as the reference does: the first person is left, not above."""
    boxes = {"person1": [0, 0, 512, 376], "person2": [0, 392, 512, 768]}
    arguments = job(folder, "two_faces.png", "a.wav", "b.wav", audio_type="add", bbox=boxes)
    arguments += ["--server", server.url, *FILES, *SMALL, *QUICK, "--mode", "streaming", "--save_file", "two"]
    assert main(arguments) == 0, capsys.readouterr().err
    assert len(read_video(folder / "two.mp4")[0]) == 24 + 15
    prompt = last_prompt(server)
    found = [entry["inputs"]["box"] for entry in prompt.values() if entry["class_type"] == "InfiniteTalkSpeaker"]
    assert found == ["0, 0, 376, 512", "392, 0, 376, 512"]
    assert main([*arguments, "--max_frame_num", "30"]) == 0  # the second has 6 frames left
    assert len(read_video(folder / "two.mp4")[0]) == 30


def test_a_curve_is_calibrated_and_then_skips(server, folder, capsys):
    arguments = [*job(folder, "face.png", "b.wav"), "--server", server.url, *FILES, *SMALL, "--frame_num", "17"]
    assert main([*arguments, "--sample_steps", "6", "--save_file", "a", "--calibrate", "cli"]) == 0
    assert (server.base / "models" / "infinitetalk" / "cli.magcache.json").is_file()
    loose = ["--set", "Step cache.threshold=10", "--set", "Step cache.retention=0"]
    assert main([*arguments, "--sample_steps", "6", "--save_file", "b", "--magcache", "cli", *loose]) == 0
    first, second = (read_video(folder / f"{name}.mp4")[0].astype(float) for name in "ab")
    assert first.shape == second.shape and np.abs(first - second).mean() > 0


def test_files_pass_in_blocks(server, tmp_path):
    """Neither way is more of a file in memory than a block or two."""
    size = 48 * 2**20
    with open(tmp_path / "large.bin", "wb") as file:
        file.truncate(size - 5)
        file.seek(0, os.SEEK_END)
        file.write(b"end\r\n")
    client = Client(server.url)
    tracemalloc.start()
    try:
        name = client.upload(tmp_path / "large.bin", "blocks.bin")
        client.save({"filename": name, "subfolder": "", "type": "input"}, tmp_path / "back.bin")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert filecmp.cmp(tmp_path / "large.bin", tmp_path / "back.bin", shallow=False)
    assert most < size / 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.bin", "large.bin"]


def test_a_file_that_is_not_there_leaves_nothing(server, tmp_path):
    with pytest.raises(HostError, match="/view"):
        Client(server.url).save({"filename": "no.mp4", "subfolder": "", "type": "output"}, tmp_path / "no.mp4")
    assert not list(tmp_path.iterdir())


def test_a_comfyui_of_its_own_gets_and_gives_files_without_a_copy(comfyui, tmp_path):
    """It is not even running. A symbolic link stands for its file."""
    host = OwnHost(comfyui, make_base(tmp_path / "base"), tmp_path / "output")
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "a.wav").write_bytes(b"sound")
    (tmp_path / "link.wav").symlink_to(Path("voices") / "a.wav")
    assert host.upload(tmp_path / "link.wav", "1_a.wav") == "1_a.wav"
    assert (host.base / "input" / "1_a.wav").samefile(tmp_path / "voices" / "a.wav")
    made = tmp_path / "output" / "InfiniteTalk" / "cli_1.mp4"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"video")
    node = made.stat().st_ino
    host.save({"filename": "cli_1.mp4", "subfolder": "InfiniteTalk", "type": "output"}, tmp_path / "res.mp4")
    assert (tmp_path / "res.mp4").stat().st_ino == node and not made.exists()


def test_only_what_this_run_has_left_is_rescued(comfyui, tmp_path):
    """Not the windows' own files, and not what earlier runs have left. The host is not even running."""
    older, ours, killed = (tmp_path / "output" / "InfiniteTalk" / "runs" / name for name in ("older", "ours", "killed"))
    for run in (older, ours, killed):
        (run / "windows").mkdir(parents=True)
        (run / "windows" / "0001-first.mp4").write_bytes(b"window")
    (older / "unfinished.mp4").write_bytes(b"older")
    host = OwnHost(comfyui, make_base(tmp_path / "base"), tmp_path / "output")
    assert host.rescue(tmp_path, "res") == []
    (ours / "unfinished.mp4").write_bytes(b"ours")
    (killed / "live.mp4").write_bytes(b"killed")
    saved = host.rescue(tmp_path, "res")
    assert [path.name for path in saved] == ["res_unfinished_1.mp4", "res_unfinished_2.mp4"]
    assert [path.read_bytes() for path in saved] == [b"killed", b"ours"]
    assert (older / "unfinished.mp4").exists() and (ours / "windows" / "0001-first.mp4").exists()


def test_an_own_comfyui_writes_into_the_output_folder_it_is_told(comfyui, tmp_path):
    assert output_folder(tmp_path, []) == tmp_path / "output"
    for rest in (["--cpu", "--output-directory", str(tmp_path / "x")], [f"--output-directory={tmp_path / 'x'}"]):
        assert output_folder(comfyui, rest) == tmp_path / "x"


def test_a_file_too_large_for_the_host_is_told(server, folder, capsys):
    shutil.copy(folder / "a.wav", folder / "large.wav")
    with open(folder / "large.wav", "r+b") as file:
        file.truncate(101 * 2**20)  # the host's limit is 100 MB
    assert main([*job(folder, "face.png", "large.wav"), "--server", server.url, *FILES]) == 2
    assert "large.wav: 105.9 MB are more than the ComfyUI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "problem", "remedy"),
    [
        (["--scene_seg"], "--scene_seg: cond_video is a picture", "Give a video"),
        (["--use_sdedit"], "--use_sdedit: cond_video is a picture", "Give a video"),
        (["--save_file", "no/res"], "--save_file: there is no folder no", "Make it"),
        (["--dit_path", "absent.safetensors"], "base model: the ComfyUI at http", "Put it there"),
        (["--lora_dir", "absent.safetensors"], "LoRA: the ComfyUI at http", "It has: "),
        (
            ["--set", "Sampler.nothing=1"],
            "--set: InfiniteTalkSampler (node 15) has no input 'nothing'",
            "It has: model",
        ),
        (["--set", "Nobody.seed=1"], "--set: the workflow has no node 'Nobody'", "It has: 1 (Model)"),
    ],
)
def test_what_cannot_work_is_told_in_two_lines(server, folder, capsys, flags, problem, remedy):
    before = len(server.get("/history"))
    assert main([*job(folder, "face.png", "a.wav"), "--server", server.url, *FILES, *SMALL, *QUICK, *flags]) == 2
    out, err = capsys.readouterr()
    *_, first, second = err.splitlines()
    assert out == "" and first.startswith(problem) and remedy in second
    assert len(server.get("/history")) == before


def test_a_host_that_is_not_there_or_lacks_the_pack(folder, capsys):
    arguments = [*job(folder, "face.png", "a.wav"), *FILES]
    assert main([*arguments, "--server", "http://127.0.0.1:9"]) == 1
    assert "No ComfyUI answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert main([*arguments, "--comfyui", str(folder)]) == 2
    assert "holds no ComfyUI" in capsys.readouterr().err


def start(command: list[str], folder: Path) -> subprocess.Popen:
    """A process that Ctrl-C reaches, also where these tests run in the background, which has it ignored."""
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = {**os.environ, "PYTHONPATH": str(PACK)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard)


def test_ctrl_c_cancels_the_run_at_the_host(server, folder):
    arguments = job(folder, "face.png", "a.wav") + ["--server", server.url, *FILES]
    command = [sys.executable, "-m", "infinitetalk_cli", *arguments, "--mode", "streaming"]
    with start(command, folder) as process:
        deadline = time.monotonic() + 180
        while not server.get("/queue")["queue_running"] and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 130
        assert process.stderr.read().splitlines()[-1] == "Cancelled."
    deadline = time.monotonic() + 180
    while server.get("/queue")["queue_running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    queue = server.get("/queue")
    assert not queue["queue_running"] and not queue["queue_pending"]


def own_files(small_models: Path) -> list[str]:
    files = [
        "--ckpt_dir", small_models, "--infinitetalk_dir", small_models / small_model.ADAPTER,
        "--wav2vec_dir", small_models / small_model.WAV2VEC_FOLDER, "--embeds", small_models / small_model.EMBEDS,
    ]  # fmt: skip
    return [str(part) for part in files]


def test_ctrl_c_leaves_the_finished_windows_of_a_comfyui_of_its_own(comfyui, small_models, folder):
    fit_speech(ASSETS / "speech.flac", 120, folder / "long.wav")
    arguments = [*job(folder, "face.png", "long.wav"), "--comfyui", str(comfyui), *own_files(small_models), *SMALL]
    flags = [*QUICK, "--mode", "streaming", "--max_frame_num", "3000", "--save_file", "long", "--run_name", "my talk"]
    there = ["--", "--output-directory", str(folder / "output")]
    command = [sys.executable, "-m", "infinitetalk_cli", *arguments, *flags, *there]
    with start(command, folder) as process:
        address = next(line for line in process.stderr if line.startswith("ComfyUI: ")).split()[1].rstrip(",")
        client = Client(address)
        deadline = time.monotonic() + 300
        while len(list(folder.glob("output/InfiniteTalk/runs/*/windows/*.json"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        said = process.stderr.read()
    assert "The finished windows are in long_unfinished_1.mp4" in said
    frames, sound = read_video(folder / "long_unfinished_1.mp4")
    assert 17 <= len(frames) < 3000 and sound.size
    (run,) = list_runs(folder / "output")
    assert run.folder.startswith("my talk-") and run.state == "stopped" and 1 <= run.windows_done < run.windows
    assert str(folder / "output") in said.splitlines()[-2] and not (folder / "long_unfinished_2.mp4").exists()
    with pytest.raises(HostError):
        client.get("/queue")


def test_a_comfyui_of_its_own_takes_the_files_from_where_they_lie(comfyui, small_models, folder, capsys):
    """Also the pickled VAE of the reference's own folder; nothing is written into the ComfyUI's models."""
    wan = folder / "Wan2.1-I2V-14B-480P"
    wan.mkdir()
    shutil.copy(small_models / small_model.DIT, wan / "i2v.safetensors")
    torch.save(load_file(small_models / small_model.VAE), wan / "Wan2.1_VAE.pth")
    before = sorted(path for path in (comfyui / "models").rglob("*") if path.is_file())
    _, _, *others = own_files(small_models)
    arguments = [*job(folder, "face.png", "a.wav"), "--comfyui", str(comfyui), "--ckpt_dir", str(wan), *others]
    there = ["--", "--output-directory", str(folder / "output")]
    assert main([*arguments, *SMALL, *QUICK, "--save_file", "own", *there]) == 0, capsys.readouterr().err
    (run,) = list_runs(folder / "output")
    assert run.state == "finished"
    assert len(read_video(folder / "own.mp4")[0]) == 17
    assert sorted(path for path in (comfyui / "models").rglob("*") if path.is_file()) == before
