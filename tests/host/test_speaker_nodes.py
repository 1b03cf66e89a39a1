"""The speaker nodes through the real queue: a conversation from start to end, what it plays, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from infinitetalk_cli.client import HostError, output_files
from tests.host.server import read_video

SIZE = (96, 160)  # height, width of the picture
PARTS = ("2", "3", "4", "5", "6", "7", "8")  # of the small workflow: what comes before the sampler


@pytest.fixture
def graph(server):
    """The small workflow with two speakers, the left one with half a second of speech, the right one with 0.8 s."""
    random = np.random.default_rng(0)
    server.put_image("group.png", random.integers(60, 200, (*SIZE, 3), dtype=np.uint8))
    for name, seconds, pitch in (("left.wav", 0.5, 180), ("right.wav", 0.8, 260)):
        time = np.arange(round(seconds * 16_000)) / 16_000
        server.put_speech(name, 0.3 * np.sin(2 * np.pi * pitch * time))
    graph = server.workflow()
    graph["4"]["inputs"]["image"] = "group.png"
    graph["5"]["inputs"]["audio"] = "left.wav"
    graph["8"]["inputs"] |= {"width": SIZE[1], "height": SIZE[0], "window_frames": 9}
    graph["10"]["inputs"]["steps"] = 1
    graph["12"]["inputs"] |= {"frames_per_window": 9, "motion_frames": 5, "features": ["30", 0], "mode": "clip"}
    graph["25"] = {"class_type": "LoadAudio", "inputs": {"audio": "right.wav"}}
    graph["26"] = {"class_type": "InfiniteTalkAudioEncode", "inputs": {"audio": ["25", 0], "audio_encoder": ["6", 0]}}
    graph["28"] = {"class_type": "InfiniteTalkSpeaker", "inputs": {"features": ["7", 0], "name": "Ann"}}
    graph["29"] = {"class_type": "InfiniteTalkSpeaker", "inputs": {"features": ["26", 0], "name": "Bo"}}
    speakers = {"speakers.speaker0": ["28", 0], "speakers.speaker1": ["29", 0]}
    graph["30"] = {"class_type": "InfiniteTalkSpeakers", "inputs": {"reference": ["8", 0], "order": "para", **speakers}}
    graph["31"] = {"class_type": "PreviewImage", "inputs": {"images": ["30", 1]}}
    graph["32"] = {"class_type": "SaveAudio", "inputs": {"audio": ["30", 2], "filename_prefix": "mix"}}
    return graph


def without_sampling(graph: dict) -> dict:
    return {node: entry for node, entry in graph.items() if node in PARTS or int(node) > 20}


def files_of(history: dict, node: str, kind: str) -> list[dict]:
    return history["outputs"][node][kind]


def picture(server, history) -> np.ndarray:
    (file,) = files_of(history, "31", "images")
    return np.asarray(Image.open(io.BytesIO(server.view(file))).convert("RGB")).astype(int)


def seconds(server, history, folder) -> float:
    import av

    (file,) = files_of(history, "32", "audio")
    path = folder / file["filename"]
    path.write_bytes(server.view(file))
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate


def refusal(server, graph) -> str:
    with pytest.raises(HostError) as caught:
        server.queue(without_sampling(graph))
    message = str(caught.value).strip()
    assert len(message.split("\n")) == 2, message
    return message


def test_a_conversation_from_start_to_end(server, graph, tmp_path):
    history = server.queue(graph)
    (file,) = [file for file in output_files(history) if file["filename"].endswith(".mp4")]
    path = tmp_path / "video.mp4"
    path.write_bytes(server.view(file))
    frames, sound = read_video(path)
    assert frames.shape == (9, *SIZE, 3)
    assert np.abs(sound).max() > 0.1
    assert seconds(server, history, tmp_path) == pytest.approx(0.8)
    shown = picture(server, history)
    assert shown.shape == (*SIZE, 3)
    left, middle, right = shown[48:80, 24:56], shown[48:80, 84:92], shown[48:80, 104:136]
    assert middle.mean() < 0.7 * min(left.mean(), right.mean())  # the background is dark
    assert (left[..., 0] - left[..., 2]).mean() > 60 > 40 - (right[..., 2] - right[..., 0]).mean()


@pytest.mark.parametrize(
    ("order", "starts", "length"),
    [("para", {}, 0.8), ("add", {}, 1.3), ("para", {"29": 1.0}, 1.8), ("add", {"28": 2.0}, 2.5)],
)
def test_the_mix_lasts_as_long_as_the_order_says(server, graph, tmp_path, order, starts, length):
    graph["30"]["inputs"]["order"] = order
    for node, start in starts.items():
        graph[node]["inputs"]["start"] = start
    assert seconds(server, server.queue(without_sampling(graph)), tmp_path) == pytest.approx(length)


def test_one_masked_speaker_and_one_silent_one(server, graph, tmp_path):
    del graph["29"]["inputs"]["features"]
    both = server.queue(without_sampling(graph))
    assert seconds(server, both, tmp_path) == pytest.approx(0.5)
    del graph["30"]["inputs"]["speakers.speaker1"], graph["29"]
    graph["28"]["inputs"]["box"] = "0, 0, 48, 96"
    shown = picture(server, server.queue(without_sampling(graph)))
    assert shown[64:, :48].mean() > 1.5 * shown[64:, 48:].mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"28": {"box": "0, 0, 60, 90"}}, "speakers: 1 of 2 speakers have a region"),
        ({"28": {"box": "0, 0, 60"}}, "box: '0, 0, 60' is not four numbers"),
        ({"28": {"box": "500, 0, 60, 90"}, "29": {"box": "80, 0, 60, 90"}}, "lies outside the picture of 160x96"),
        ({"28": {"box": "80, 0, 60, 80"}, "29": {"box": "80, 0, 60, 90"}}, "share 100% of the smaller one"),
        ({"28": {"box": "1, 1, 5, 5"}, "29": {"box": "80, 0, 60, 90"}}, "covers no token of the 160x96 video"),
        ({"28": {"mask": ["4", 1]}, "29": {"box": "80, 0, 60, 90"}}, "the mask of 64x64 pixels is empty"),
        ({"28": {"mask": ["4", 1], "box": "1, 1, 9, 9"}}, "mask and box: the same person is given 2 regions"),
        ({"28": {"features": None}, "29": {"features": None}}, "none of the 2 speakers has a voice"),
        ({"28": {"features": ["30", 0]}}, "features: 2 voices, one person has one"),
    ],
)
def test_what_cannot_work_is_refused_before_sampling(server, graph, changes, message):
    if changes["28"].get("features") == ["30", 0]:  # the node's own output into a second pair
        graph["40"] = {"class_type": "InfiniteTalkSpeaker", "inputs": changes.pop("28")}
        graph["41"] = {
            "class_type": "InfiniteTalkSpeakers",
            "inputs": {"reference": ["8", 0], "order": "para", "speakers.speaker0": ["40", 0]},
        }
        graph["42"] = {"class_type": "PreviewImage", "inputs": {"images": ["41", 1]}}
    for node, values in changes.items():
        for name, value in values.items():
            if value is None:
                del graph[node]["inputs"][name]
            else:
                graph[node]["inputs"][name] = value
    assert message in refusal(server, graph)


def test_another_reference_at_the_sampler_is_refused(server, graph):
    graph["33"] = {"class_type": "InfiniteTalkReference", "inputs": {**graph["8"]["inputs"], "width": 128}}
    graph["12"]["inputs"]["reference"] = ["33", 0]
    with pytest.raises(HostError, match="regions are for a video of 160x96 pixels, the reference has 128x96"):
        server.queue(graph)
