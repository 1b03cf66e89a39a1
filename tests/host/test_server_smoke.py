"""The pack on a real server: it registers, its small workflow makes the right video, and failures are told plainly."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from demo import commands
from demo.base import make_base
from infinitetalk_cli.client import HostError, HostGone
from infinitetalk_cli.server import PACK_NAME, Server
from tests.host.server import changed, node_of, read_video


@pytest.fixture(scope="module")
def short(server) -> dict:
    """The small workflow on 0.6 s of speech (15 frames) in one window of 17 frames, two steps, 64x64 pixels."""
    rng = np.random.default_rng(0)
    speech = server.put_speech("smoke.wav", 0.1 * rng.standard_normal(9_600))
    prompt = changed(server.workflow(), "LoadAudio", audio=speech)
    prompt = changed(prompt, "InfiniteTalkReference", width=64, height=64, window_frames=17)
    prompt = changed(prompt, "InfiniteTalkSchedule", steps=2)
    return changed(prompt, "InfiniteTalkSampler", frames_per_window=17)


def test_nodes_are_registered_with_help(server):
    ours = {name: info for name, info in server.object_info().items() if name.startswith("InfiniteTalk")}
    assert len(ours) >= 8
    for name, info in ours.items():
        assert info["python_module"] == f"custom_nodes.{PACK_NAME}", name
        assert info["category"].startswith("InfiniteTalk"), name
        assert info["display_name"] and info["description"], name
        for group in ("required", "optional"):
            for label, spec in info["input"].get(group, {}).items():
                assert len(spec) > 1 and spec[1].get("tooltip"), f"{name}.{label} has no tooltip"


def test_small_workflow_makes_a_video_as_long_as_the_speech(server, short, tmp_path):
    seen = []
    history = server.queue(short, lambda node, value, maximum: seen.append((node, value, maximum)))
    frames, sound = read_video(server.video(history, tmp_path))
    assert frames.shape == (15, 64, 64, 3)
    assert frames.std() > 5  # not one colour
    assert sound.size and np.abs(sound).max() > 0.05
    assert any(maximum and value == maximum for _, value, maximum in seen), seen


def test_run_command_sets_inputs_uploads_files_and_copies_outputs(server, comfyui, short, tmp_path, capsys):
    (tmp_path / "workflow.json").write_text(json.dumps(short))
    speech = server.base / "input" / "smoke.wav"
    (tmp_path / "other.wav").write_bytes(speech.read_bytes())
    options = Namespace(
        workflow=tmp_path / "workflow.json",
        changes=[
            f"LoadAudio.audio=@{tmp_path / 'other.wav'}",
            "Sampler.seed=7",
            f"{node_of(short, 'InfiniteTalkVideoCombine')}.filename_prefix=run_command",
        ],
        out=tmp_path / "out",
        server=server.url,
    )
    assert commands.run(comfyui, options) == 0
    (made,) = (tmp_path / "out").glob("run_command*.mp4")
    assert str(made) in capsys.readouterr().out
    assert read_video(made)[0].shape == (15, 64, 64, 3)
    assert (server.base / "input" / "other.wav").exists()


def test_run_command_reports_a_bad_set_and_a_refused_workflow(server, comfyui, short, tmp_path, capsys):
    (tmp_path / "workflow.json").write_text(json.dumps(short))
    options = Namespace(workflow=tmp_path / "workflow.json", changes=[], out=tmp_path, server=server.url)
    for change, text in (
        ("Nobody.seed=1", "no node 'Nobody'"),
        ("Sampler.nothing=1", "no input 'nothing'"),
        ("LoadAudio.audio=@missing.wav", "no file missing.wav"),
        ("Sampler.seed", "not of the form"),
        ("Sampler.seed=-5", "InfiniteTalkSampler (node 12): Value -5 smaller than min"),
        ("LoadImage.image=nowhere.png", "LoadImage (node 4)"),
    ):
        options.changes = [change]
        assert commands.run(comfyui, options) == 1
        assert text in capsys.readouterr().err, change


def test_a_failing_node_is_named_with_its_message(server, short):
    loud = server.put_speech("loud.wav", np.full(16_000, 0.1), 16_000)
    bad = changed(short, "LoadAudio", audio=loud)
    encode = next(entry for entry in bad.values() if entry["class_type"] == "InfiniteTalkAudioEncode")
    bad["902"] = {"class_type": "TrimAudioDuration",  # what it leaves is known when it runs
                  "inputs": {"audio": encode["inputs"]["audio"], "start_index": 0.0, "duration": 0.05}}  # fmt: skip
    encode["inputs"] = {**encode["inputs"], "audio": ["902", 0]}
    with pytest.raises(HostError, match=r"InfiniteTalkAudioEncode \(node \w+\): ") as caught:
        server.queue(bad)
    assert caught.value.details["node_type"] == "InfiniteTalkAudioEncode"
    server.get("/system_stats")  # and the server lives on


def test_a_pack_that_cannot_be_imported_fails_the_start(comfyui, small_models, tmp_path):
    base = make_base(tmp_path / "base", small_models)
    packs = base / "custom_nodes"
    (packs / "another").mkdir()
    (packs / PACK_NAME).unlink()
    (packs / PACK_NAME).mkdir()
    for broken in ("another", PACK_NAME):
        (packs / broken / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    server = Server(comfyui, base)
    with pytest.raises(HostError, match="could not import this node pack"), server:
        pass
    assert server.process.poll() is not None  # nothing is left running
    assert not Path(server.temp).exists()


def test_a_server_that_ends_at_once_says_why(comfyui, small_models, tmp_path):
    server = Server(comfyui, make_base(tmp_path / "base", small_models), ["--no-such-option"])
    with pytest.raises(HostError, match="no-such-option"), server:
        pass


def test_a_server_that_dies_in_the_middle_says_so_with_its_log(comfyui, small_models, tmp_path):
    server = Server(comfyui, make_base(tmp_path / "base", small_models))
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "face.png"}},
              "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}  # fmt: skip
    with pytest.raises(HostGone, match="(?s)in the middle of the prompt.*got prompt"), server:
        server.queue(prompt, lambda node, value, maximum: server.signal(soft=False))
