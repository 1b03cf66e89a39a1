"""The sources of ComfyUI's own InfiniteTalk template, wired unchanged into this pack, and the limits of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.config import WindowConfig
from infinitetalk.timeline import plan
from tests.host.layouts import adapter_tensors, base_tensors
from tests.host.server import read_video

pytestmark = pytest.mark.usefixtures("host")

WIDTH, LAYERS, SPEECH = 128, 40, 12 * 768  # the host builds every patch with 40 blocks, every encoder 768 wide
TEMPLATE = "video_wan2_1_infinitetalk.json"


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def template_sources() -> dict[str, str]:
    """Class of the node behind each input of the template's InfiniteTalk node and audio encoding."""
    text = resources.files("comfyui_workflow_templates_json").joinpath("templates", TEMPLATE).read_text("utf-8")
    graph = json.loads(text)
    inner = graph["definitions"]["subgraphs"][0]
    outer_nodes = {node["id"]: node for node in graph["nodes"]}
    inner_nodes = {node["id"]: node for node in inner["nodes"]}
    inner_links = {link["id"]: link for link in inner["links"]}
    outer_links = {link[0]: link for link in graph["links"]}
    used = next(node for node in graph["nodes"] if node["type"] == inner["id"])
    found = {}
    for node in inner["nodes"]:
        if node["type"] not in ("WanInfiniteTalkToVideo", "AudioEncoderEncode", "LoraLoaderModelOnly"):
            continue
        for socket in node["inputs"]:
            link = inner_links.get(socket["link"])
            if link is None:
                continue
            if link["origin_id"] in inner_nodes:
                source = inner_nodes[link["origin_id"]]
            else:  # comes into the subgraph from outside
                name = inner["inputs"][link["origin_slot"]]["name"]
                outside = next((entry["link"] for entry in used["inputs"] if entry["name"] == name), None)
                source = None if outside is None else outer_nodes[outer_links[outside][1]]
            if source is not None:
                found[f"{node['type']}.{socket['name']}"] = source["type"]
    return found


def test_the_template_has_the_sources_that_are_tried_here():
    found, node = template_sources(), "WanInfiniteTalkToVideo."
    assert found[node + "model"] == "LoraLoaderModelOnly" and found["LoraLoaderModelOnly.model"] == "UNETLoader"
    assert found[node + "model_patch"] == "ModelPatchLoader"
    assert found["AudioEncoderEncode.audio_encoder"] == "AudioEncoderLoader"
    assert found["AudioEncoderEncode.audio"] == "LoadAudio"
    assert found[node + "mode.mask_1"] == found[node + "mode.mask_2"] == "Painter"
    assert found[node + "start_image"] == "LoadImage" and found[node + "vae"] == "VAELoader"


def host_wav2vec() -> dict[str, torch.Tensor]:
    """A random wav2vec2 file of the only small size the host's loader knows, from the host's own class."""
    import comfy.sd  # noqa: F401  # the host imports its parts in this order
    from comfy.audio_encoders.audio_encoders import AudioEncoderModel

    settings = {"embed_dim": 768, "num_heads": 12, "num_layers": 12, "conv_norm": False, "conv_bias": False}
    kind = {"model_type": "wav2vec2", "do_normalize": False, "do_stable_layer_norm": False}
    generator = torch.Generator().manual_seed(8)
    tensors = {}
    for key, value in AudioEncoderModel(kind | settings).model.state_dict().items():
        if value.ndim > 1:
            noise = torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5
        else:
            noise = torch.ones(value.shape) if key.endswith("weight") else torch.zeros(value.shape)
        tensors[f"wav2vec2.{key}"] = noise.half()
    return tensors


def lora() -> dict[str, torch.Tensor]:
    generator, name = torch.Generator().manual_seed(9), "diffusion_model.blocks.0.self_attn.q"
    return {
        f"{name}.lora_down.weight": torch.randn(4, WIDTH, generator=generator) / WIDTH,
        f"{name}.lora_up.weight": torch.randn(WIDTH, 4, generator=generator),
    }


@pytest.fixture(scope="module")
def files(server):
    """Files of the published layouts in the server's folders, as small as the host's loaders take them."""
    models = server.base / "models"
    for folder, name, tensors in (
        ("diffusion_models", "interop_base", base_tensors(WIDTH, LAYERS)),
        ("model_patches", "interop_patch", adapter_tensors(WIDTH, LAYERS, SPEECH)),
        ("audio_encoders", "interop_speech", host_wav2vec()),
        ("loras", "interop_lora", lora()),
    ):
        (models / folder).mkdir(exist_ok=True)
        save_file(tensors, models / folder / f"{name}.safetensors")
    generator = np.random.default_rng(1)
    server.put_image("interop.png", generator.integers(0, 255, (64, 96, 3), np.uint8))
    left, right = np.zeros((2, 64, 96, 4), np.uint8)
    left[8:56, 4:44, 3] = 255  # Painter's file: what is painted is opaque
    right[8:56, 52:92, 3] = 255
    server.put_image("interop_left.png", left)
    server.put_image("interop_right.png", right)
    cut_out = generator.integers(0, 255, (64, 96, 4), np.uint8)  # LoadImage's mask is what is transparent
    cut_out[..., 3] = 255 - right[..., 3]
    server.put_image("interop_cut_out.png", cut_out)
    for name, pitch in (("interop_1.wav", 180), ("interop_2.wav", 260)):
        time = np.arange(16_000 * 10 // 25) / 16_000  # ten frames
        server.put_speech(name, 0.3 * np.sin(2 * np.pi * pitch * time) * np.sin(2 * np.pi * 4 * time))
    return server


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def graph() -> dict:
    """One speaker: the template's loaders, our nodes behind them, one short window."""
    return {
        "unet": node("UNETLoader", unet_name="interop_base.safetensors", weight_dtype="default"),
        "lora": node(
            "LoraLoaderModelOnly", model=["unet", 0], lora_name="interop_lora.safetensors", strength_model=1.0
        ),
        "patch": node("ModelPatchLoader", name="interop_patch.safetensors"),
        "encoder": node("AudioEncoderLoader", audio_encoder_name="interop_speech.safetensors"),
        "vae": node("VAELoader", vae_name="infinitetalk_small_vae.safetensors"),
        "image": node("LoadImage", image="interop.png"),
        "sound": node("LoadAudio", audio="interop_1.wav"),
        "embeds": node("InfiniteTalkLoadEmbeds", embeds="infinitetalk_small_embeds.safetensors"),
        "zero": node("ConditioningZeroOut", conditioning=["embeds", 0]),
        "model": node(
            "InfiniteTalkApplyAdapter", model=["lora", 0], adapter="(from model_patch)", model_patch=["patch", 0]
        ),
        "features": node(
            "InfiniteTalkAudioEncode", audio=["sound", 0], audio_encoder=["encoder", 0], normalize="auto"
        ),
        "reference": node(
            "InfiniteTalkReference", image=["image", 0], vae=["vae", 0], clip_vision_output=["embeds", 2],
            size="custom", width=96, height=64, window_frames=9,
        ),
        "preset": node("InfiniteTalkPreset", preset="LightX2V 4 steps", model=["model", 0]),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="normal", steps=1, denoise=1.0),
        "sampler": node(
            "InfiniteTalkSampler", model=["model", 0], vae=["vae", 0], positive=["embeds", 0], negative=["zero", 0],
            features=["features", 0], reference=["reference", 0], sampler=["euler", 0], sigmas=["sigmas", 0],
            guidance=["preset", 2], seed=1, frames_per_window=9, motion_frames=5, color_correction=0.0, mode="clip",
            tail="silence",
        ),
        "save": node("SaveVideo", video=["sampler", 0], filename_prefix="interop", format="auto", codec="auto"),
    }  # fmt: skip


def two_speakers(mask_1: list, mask_2: list, extra: dict) -> dict:
    """`graph` with two voices on two masks."""
    added = {
        "sound_2": node("LoadAudio", audio="interop_2.wav"),
        "features_2": node("InfiniteTalkAudioEncode", audio=["sound_2", 0], audio_encoder=["encoder", 0]),
        "speaker_1": node("InfiniteTalkSpeaker", features=["features", 0], mask=mask_1),
        "speaker_2": node("InfiniteTalkSpeaker", features=["features_2", 0], mask=mask_2),
        "speakers": node("InfiniteTalkSpeakers", reference=["reference", 0], order="para"),
    }
    added["speakers"]["inputs"] |= {"speakers.speaker0": ["speaker_1", 0], "speakers.speaker1": ["speaker_2", 0]}
    whole = graph() | added | extra
    whole["sampler"]["inputs"]["features"] = ["speakers", 0]
    return whole


def frames_of(files, prompt: dict, tmp_path) -> np.ndarray:
    frames, sound = read_video(files.video(files.queue(prompt), tmp_path))
    assert frames.shape == (9, 64, 96, 3) and sound.size  # "clip": the first window of ten frames of speech
    return frames.astype(int)


def test_the_templates_loaders_make_a_video(files, tmp_path):
    """Each of them matters: another LoRA strength and another voice give another picture."""
    before = len(files.log)
    heard = frames_of(files, graph(), tmp_path)
    complaints = [line for line in files.log[before:].splitlines() if "not loaded" in line or "missing" in line]
    assert complaints == []  # every weight of the LoRA and of the encoder found its place
    stronger, other = graph(), graph()
    stronger["lora"]["inputs"]["strength_model"] = 20.0
    other["sound"]["inputs"]["audio"] = "interop_2.wav"
    assert np.abs(heard - frames_of(files, stronger, tmp_path)).max() > 0
    assert np.abs(heard - frames_of(files, other, tmp_path)).max() > 0


def test_the_templates_painters_bind_two_voices(files, tmp_path):
    masks = {
        name: node("Painter", image=["image", 0], mask=f"interop_{name}.png", width=512, height=512, bg_color="#000000")
        for name in ("left", "right")
    }
    straight = frames_of(files, two_speakers(["left", 1], ["right", 1], masks), tmp_path)
    swapped = frames_of(files, two_speakers(["right", 1], ["left", 1], masks), tmp_path)
    assert np.abs(straight - swapped).max() > 0


def test_other_mask_nodes_of_the_host_bind_a_voice(files, tmp_path):
    """A PNG's channel, the transparent part of a picture, and a mask made of rectangles."""
    sources = {
        "channel": node("LoadImageMask", image="interop_left.png", channel="alpha"),
        "channel_inverted": node("InvertMask", mask=["channel", 0]),  # the host's mask is what is transparent
        "cut_out": node("LoadImage", image="interop_cut_out.png"),
        "empty": node("SolidMask", value=0.0, width=96, height=64),
        "block": node("SolidMask", value=1.0, width=40, height=48),
        "solid": node(
            "MaskComposite", destination=["empty", 0], source=["block", 0], x=4, y=8, operation="add"
        ),
    }  # fmt: skip
    from_channel = frames_of(files, two_speakers(["channel_inverted", 0], ["cut_out", 1], sources), tmp_path)
    from_solid = frames_of(files, two_speakers(["solid", 0], ["cut_out", 1], sources), tmp_path)
    assert np.array_equal(from_channel, from_solid)  # the same rectangle


@pytest.mark.parametrize(("frames", "motion"), [(17, 1), (17, 13), (81, 9), (121, 33)])
def test_the_extremes_of_windows_make_a_whole_video(machine, tmp_path, frames, motion):
    """Two windows each: the first and as much of the next that one new frame needs."""
    from infinitetalk.host.vae import WanVae
    from infinitetalk.reference import Reference, padded_video
    from tests.host.machine import CONFIG
    from tests.host.test_run import read, run

    window = WindowConfig(frames, motion)
    assert [part.keep for part in plan(frames + 1, window)] == [frames, 1]
    picture = machine.reference.picture[:32, :32]
    latent = WanVae(machine.vae).encode(padded_video(picture, frames))
    changes = {"reference": Reference(picture, latent, machine.reference.clip), "sigmas": torch.tensor([1.0, 0.0])}
    for mode, length in (("streaming", frames + 1), ("clip", frames)):
        config = replace(CONFIG, window=window, mode=mode, colour=0.0)
        pictures, seconds, _ = read(run(machine, tmp_path, frames + 1, config, **changes))
        assert pictures.shape == (length, 32, 32, 3) and seconds == pytest.approx(length / 25)


@pytest.mark.parametrize(
    ("size", "source", "wanted"),
    [
        ("480p", (480, 832), (448, 896)),
        ("480p", (900, 900), (640, 640)),
        ("480p", (1920, 1080), (832, 448)),
        ("720p", (720, 1280), (704, 1280)),
        ("720p", (900, 900), (960, 960)),
    ],
)
def test_480p_and_720p_choose_their_own_tables(size, source, wanted):
    from infinitetalk.buckets import pick_bucket
    from infinitetalk.host.reference import SIZES

    assert pick_bucket(*source, SIZES[size]) == wanted
