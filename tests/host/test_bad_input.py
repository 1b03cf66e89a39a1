"""Every bad input through the real queue: one clear error of two lines, nothing written, and the next prompt works."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infinitetalk_cli.client import HostError, output_files
from tests.host.layouts import adapter_tensors, base_tensors

SHRUNK = {
    "8": {"width": 64, "height": 64, "window_frames": 9},
    "10": {"steps": 1},
    "12": {"frames_per_window": 9, "motion_frames": 5},
}


@pytest.fixture
def graph(server):
    """The small workflow at a size that runs in seconds, on a short speech."""
    server.put_speech("short.wav", tone(0.5), 16_000)
    graph = server.workflow()
    graph["5"]["inputs"]["audio"] = "short.wav"
    for node, values in SHRUNK.items():
        graph[node]["inputs"].update(values)
    return graph


def tone(seconds: float, rate: int = 16_000) -> np.ndarray:
    time_axis = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * 220 * time_axis) * (1 + np.sin(2 * np.pi * 3 * time_axis)) / 2


def refusal(server, graph) -> str:
    """The host's message for a prompt that must fail; checks that it has two lines and left no output."""
    before = outputs(server)
    with pytest.raises(HostError) as caught:
        server.queue(graph)
    assert outputs(server) == before
    message = str(caught.value)
    assert len(message.strip().split("\n")) == 2, message
    return message


def outputs(server) -> set[str]:
    return {path.name for path in (server.base / "output").rglob("*.mp4")}


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (tone(0.05), 16_000, "bad.wav lasts 0.05 s"),
        (np.stack([tone(0.5)] * 8, axis=1), 16_000, "it has 8 channels"),
        (tone(0.5, 8_000), 8_000, "its sample rate is 8000 Hz"),
        (tone(0.5, 192_000), 192_000, "its sample rate is 192000 Hz"),
    ],
)
def test_unusable_speech(server, graph, sound, rate, message):
    server.put_speech("bad.wav", sound, rate)
    graph["5"]["inputs"]["audio"] = "bad.wav"
    assert message in refusal(server, graph)


def test_a_silent_video_as_speech(server, graph, tmp_path):
    """The host gives no AUDIO at all for a video without sound."""
    from infinitetalk.video import VideoWriter

    writer = VideoWriter(tmp_path / "silent.mp4", 64, 64)
    writer.add(np.zeros((5, 64, 64, 3), np.uint8))
    server.put("silent.mp4", writer.finish().read_bytes())
    graph["20"] = {"class_type": "LoadVideo", "inputs": {"file": "silent.mp4"}}
    graph["21"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["20", 0]}}
    graph["7"]["inputs"]["audio"] = ["21", 1]
    assert "silent.mp4 holds no sound" in refusal(server, graph)


def test_empty_speech(server, graph):
    graph["20"] = {"class_type": "EmptyAudio", "inputs": {"duration": 0.0, "sample_rate": 16000, "channels": 1}}
    graph["7"]["inputs"]["audio"] = ["20", 0]
    assert "audio: there are no samples in it" in refusal(server, graph)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 1, 3), "1x1 pixels is too small"), ((64, 30_000, 3), "30000x64 pixels is too large")],
)
def test_unusable_pictures(server, graph, shape, message):
    server.put_image("bad.png", np.full(shape, 128, np.uint8))
    graph["4"]["inputs"]["image"] = "bad.png"
    assert message in refusal(server, graph)


def test_a_picture_with_transparency(server, graph):
    """Load Image drops the alpha channel; a node that joins it again makes an RGBA IMAGE."""
    graph["20"] = {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["4", 0], "alpha": ["4", 1]}}
    graph["8"]["inputs"]["image"] = ["20", 0]
    assert "4 channels (512x512), not the 3 of RGB" in refusal(server, graph)


def test_a_grey_file_is_rgb_to_the_host(server, graph):
    server.put_image("grey.png", np.full((80, 64), 128, np.uint8))
    graph["4"]["inputs"]["image"] = "grey.png"
    assert len(output_files(server.queue(graph))) >= 1


@pytest.mark.parametrize(
    ("node", "values", "message"),
    [
        ("8", {"width": 100}, "width: 100 is not a multiple of 16"),
        ("8", {"height": 72}, "height: 72 is not a multiple of 16"),
        ("8", {"window_frames": 80}, "frames per window: 80 is not of the form 4n+1"),
        ("12", {"frames_per_window": 80}, "frames per window: 80 is not of the form 4n+1"),
        ("12", {"motion_frames": 8}, "motion frames: 8 is not of the form 4n+1"),
        ("12", {"motion_frames": 9}, "motion frames: 9 is not smaller than the 9 frames"),
    ],
)
def test_numbers_are_refused_before_anything_runs(server, graph, node, values, message):
    graph[node]["inputs"].update(values)
    with pytest.raises(HostError) as caught:
        server.queue(graph)
    assert message in str(caught.value)
    assert caught.value.details["node_errors"][node]  # a validation error: the widget turns red, nothing was run


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("t2v", base_tensors(256, 3, in_dim=16, clip=False), "a text-to-video model"),
        ("5b", base_tensors(256, 3, in_dim=48, out_dim=48, clip=False), "the Wan2.2 5B model"),
        ("vace", base_tensors(256, 3, in_dim=16, clip=False, vace=True), "a VACE model"),
    ],
)
def test_wrong_models_are_refused_before_they_are_loaded(server, graph, name, tensors, message):
    file = server.base / "models" / "diffusion_models" / f"wrong_{name}.safetensors"
    save_file(tensors, file)
    graph["1"]["inputs"]["model"] = file.name
    with pytest.raises(HostError) as caught:
        server.queue(graph)
    assert message in str(caught.value) and caught.value.details["node_errors"]["1"]


ADAPTER = adapter_tensors(256, 3, 768, 64)


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("lora", {"diffusion_model.blocks.0.self_attn.q.lora_up.weight": ADAPTER["audio_proj.proj2.weight"]}, "a LoRA"),
        ("longcat", {**ADAPTER, "blocks.0.audio_cross_attn.q_norm.weight": torch.ones(256)}, "LongCat"),
        ("humo", {"audio_proj.audio_proj_glob_1.layer.weight": ADAPTER["audio_proj.proj2.weight"]}, "a HuMo model"),
        ("width", adapter_tensors(128, 3, 768, 64), "the adapter has width 128 and 3 blocks"),
        ("depth", adapter_tensors(256, 4, 768, 64), "the adapter has width 256 and 4 blocks"),
    ],
)
def test_wrong_adapters_are_refused_before_they_are_loaded(server, graph, name, tensors, message):
    file = server.base / "models" / "model_patches" / f"wrong_{name}.safetensors"
    save_file(tensors, file)
    graph["1"]["inputs"]["adapter"] = file.name
    with pytest.raises(HostError) as caught:
        server.queue(graph)
    assert message in str(caught.value) and caught.value.details["node_errors"]["1"]


def test_a_file_cut_off_while_loading_is_refused(server, graph):
    whole = (server.base / "models" / "model_patches" / "infinitetalk_small_adapter.safetensors").read_bytes()
    (server.base / "models" / "model_patches" / "wrong_cut.safetensors").write_bytes(whole[: len(whole) // 2])
    graph["1"]["inputs"]["adapter"] = "wrong_cut.safetensors"
    with pytest.raises(HostError, match="is not a readable safetensors or GGUF file"):
        server.queue(graph)


def test_a_model_from_another_loader_is_refused_when_the_adapter_is_applied(server, graph):
    save_file(
        base_tensors(256, 3, in_dim=16, clip=False),
        server.base / "models" / "diffusion_models" / "wrong_t2v.safetensors",
    )
    graph["20"] = {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "wrong_t2v.safetensors", "weight_dtype": "default"},
    }
    adapter = graph["1"]["inputs"]["adapter"]
    graph["1"] = {"class_type": "InfiniteTalkApplyAdapter", "inputs": {"model": ["20", 0], "adapter": adapter}}
    assert "this is a text-to-video model" in refusal(server, graph)


def test_no_clip_features(server, graph):
    del graph["8"]["inputs"]["clip_vision_output"]
    assert "clip_vision: nothing is connected" in refusal(server, graph)


def test_the_adapter_socket_without_a_patch(server, graph):
    model = graph["1"]["inputs"]["model"]
    graph["20"] = {"class_type": "UNETLoader", "inputs": {"unet_name": model, "weight_dtype": "default"}}
    graph["1"] = {
        "class_type": "InfiniteTalkApplyAdapter",
        "inputs": {"model": ["20", 0], "adapter": "(from model_patch)"},
    }
    assert "nothing is connected to model_patch" in refusal(server, graph)


def test_cancel_through_the_queue_keeps_what_is_finished(server, graph):
    """POST /interrupt in the second window; the finished part is in the run's folder and plays."""
    import av

    server.put_speech("long.wav", tone(3.0), 16_000)
    graph["5"]["inputs"]["audio"] = "long.wav"
    graph["10"]["inputs"]["steps"] = 2
    failure, seen = [], []

    def queue():
        try:
            server.queue(graph, lambda node, value, maximum: seen.append((value, maximum)))
        except HostError as error:
            failure.append(str(error))

    worker = threading.Thread(target=queue)
    worker.start()
    deadline = time.monotonic() + 300
    while not any(value >= 3 and maximum > 30 for value, maximum in seen):
        assert time.monotonic() < deadline and worker.is_alive(), (seen, failure)
        time.sleep(0.05)
    server.request("/interrupt", b"{}")
    worker.join(120)
    assert failure and "interrupted" in failure[0]
    (kept,) = (server.base / "output").rglob("unfinished.mp4")
    with av.open(str(kept)) as file:
        frames = sum(1 for _ in file.decode(video=0))
        assert frames >= 9 and (frames - 9) % 4 == 0
        assert file.streams.audio
    assert server.queue(server_ready(graph))["status"]["completed"]


def server_ready(graph: dict) -> dict:
    """The same graph on the short speech: the host still works after a cancel."""
    graph["5"]["inputs"]["audio"] = "short.wav"
    return graph


def test_numbers_from_another_node_are_checked_when_they_arrive(server, graph):
    """A linked number is not known while the prompt is validated; a good one runs, a bad one is refused by name."""
    graph["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 9}}
    graph["21"] = {"class_type": "PrimitiveInt", "inputs": {"value": 64}}
    graph["12"]["inputs"]["frames_per_window"] = graph["8"]["inputs"]["window_frames"] = ["20", 0]
    graph["8"]["inputs"]["width"] = ["21", 0]
    assert server.queue(graph)["status"]["completed"]
    graph["21"]["inputs"]["value"] = 70
    assert "width: 70 is not a multiple of 16" in refusal(server, graph)
    graph["21"]["inputs"]["value"] = 64
    graph["20"]["inputs"]["value"] = 10
    assert "frames per window: 10 is not of the form 4n+1" in refusal(server, graph)


@pytest.mark.parametrize(
    ("node", "values", "message"),
    [
        ("8", {"size": "1080p"}, "size: '1080p' is unknown"),
        ("8", {"width": 8192}, "width: 8192 pixels are more than 4096"),
        ("12", {"frames_per_window": 805}, "frames per window: 805 is more than 401"),
    ],
)
def test_limits_hold_where_our_own_checks_replace_the_hosts(server, graph, node, values, message):
    graph[node]["inputs"].update(values)
    with pytest.raises(HostError) as caught:
        server.queue(graph)
    assert message in str(caught.value)


def test_speech_with_values_that_are_no_numbers(server, graph):
    import struct

    samples = tone(0.5).astype("<f4")
    samples[100] = np.nan
    body = samples.tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32)  # 3: 32-bit float
    header = struct.pack("<4sI4s", b"RIFF", 36 + len(body), b"WAVE") + form + struct.pack("<4sI", b"data", len(body))
    server.put("nan.wav", header + body)
    graph["5"]["inputs"]["audio"] = "nan.wav"
    assert "audio: " in (message := refusal(server, graph)) and "NaN" in message


def test_a_file_that_changed_is_read_again(server, graph):
    """Saved embeddings under the same name: the next prompt uses the new ones."""
    from safetensors.torch import load_file

    folder = server.base / "models" / "infinitetalk"
    tensors = load_file(folder / "infinitetalk_small_embeds.safetensors")
    save_file(tensors, folder / "changing_embeds.safetensors")
    graph["3"]["inputs"]["embeds"] = "changing_embeds.safetensors"
    graph["12"]["inputs"]["mode"] = "clip"
    first = outputs_of(server, graph)
    assert outputs_of(server, graph) == first  # cached
    save_file(
        {key: value.flip(1).contiguous() for key, value in tensors.items()}, folder / "changing_embeds.safetensors"
    )
    assert outputs_of(server, graph) != first


def outputs_of(server, graph) -> list:
    return [file["filename"] for file in output_files(server.queue(graph))]


@pytest.mark.parametrize("prefix", ["../evil", "/etc/evil", "", "a/.", "x" * 250, "a\0b", "c:evil"])
def test_names_that_lead_elsewhere_are_refused(server, graph, prefix):
    graph["13"]["inputs"]["filename_prefix"] = prefix
    with pytest.raises(HostError, match="is not a name below the output folder"):
        server.queue(graph)


def test_a_video_that_cannot_be_read(server, graph):
    server.put("broken.mp4", b"this is no video")
    graph = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "broken.mp4"}},
        "2": {"class_type": "InfiniteTalkVideoCombine", "inputs": {"video": ["1", 0], "filename_prefix": "broken"}},
    }
    assert "video: it cannot be read" in refusal(server, graph)


def test_embeddings_of_another_model(server, graph):
    folder = server.base / "models" / "infinitetalk"
    tensors = {
        "positive": torch.zeros(1, 6, 5),
        "negative": torch.zeros(1, 6, 4096),
        "clip_vision": torch.zeros(1, 257, 1280),
    }
    save_file(tensors, folder / "foreign_embeds.safetensors")
    graph["3"]["inputs"]["embeds"] = "foreign_embeds.safetensors"
    assert "embeds: positive in foreign_embeds.safetensors has shape [1, 6, 5]" in refusal(server, graph)
