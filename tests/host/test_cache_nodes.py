"""Guidance curves and the step cache through the real queue: calibrate, use the curve, and what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from infinitetalk_cli.client import HostError
from tests.host.server import changed

NAME = "node_test.magcache.json"


@pytest.fixture
def graph(server):
    """The small workflow, one short window of four steps, with a step cache and its report shown."""
    server.put_speech("short.wav", 0.3 * np.sin(np.arange(8000) / 20))
    graph = server.workflow()
    graph["5"]["inputs"]["audio"] = "short.wav"
    graph["8"]["inputs"] |= {"width": 64, "height": 64, "window_frames": 9}
    graph["12"]["inputs"] |= {"frames_per_window": 9, "motion_frames": 5, "mode": "clip", "cache": ["20", 0]}
    graph["9"]["inputs"] |= {"text_curve": "3, 3, 2, 2", "audio_curve": "0:2 1:3", "apg": True}
    graph["20"] = {"class_type": "InfiniteTalkStepCache", "inputs": {"kind": "teacache", "threshold": 0.2}}
    graph["21"] = {"class_type": "PreviewAny", "inputs": {"source": ["12", 2]}}
    graph["22"] = {"class_type": "PreviewAny", "inputs": {"source": ["12", 1]}}
    return graph


def shown(history: dict) -> tuple[str, int]:
    """(report, skipped) of the sampler."""
    return history["outputs"]["21"]["text"][0], int(history["outputs"]["22"]["text"][0])


def test_calibrate_then_skip_by_the_curve(server, graph):
    graph["20"]["inputs"] |= {"kind": "calibrate", "curve": NAME}
    report, skipped = shown(server.queue(graph))
    assert "curve of 4 steps for cond, drop_text, uncond written" in report and skipped == 0
    written = server.base / "models" / "infinitetalk" / NAME
    assert set(json.loads(written.read_text())["branches"]) == {"cond", "drop_text", "uncond"}

    graph["20"]["inputs"] |= {"kind": "magcache", "threshold": 10.0, "max_skips": 1, "retention": 0.25}
    report, skipped = shown(server.queue(graph))
    assert report.startswith("6 of 12 forwards skipped (50 %)") and skipped == 6

    plain = changed(graph, "InfiniteTalkGuidance", text_curve="", text_scale=1.0, apg=False)
    with pytest.raises(HostError, match="has no branch drop_audio, only cond, drop_text, uncond"):
        server.queue(plain)


def test_ksampler_skips_by_the_windows_cache(server, graph):
    graph["20"]["inputs"] |= {"kind": "calibrate", "curve": "window_test.magcache.json"}
    server.queue(graph)
    wired = {name: graph["12"]["inputs"][name] for name in ("model", "vae", "positive", "negative", "features")}
    wired |= {name: graph["12"]["inputs"][name] for name in ("reference", "guidance", "cache")}
    graph["12"] = {
        "class_type": "InfiniteTalkWindow",
        "inputs": wired | {"window": 0, "frames_per_window": 9, "motion_frames": 5},
    }
    graph["21"] = {
        "class_type": "KSampler",
        "inputs": {"model": ["12", 0], "positive": ["12", 2], "negative": ["12", 3], "latent_image": ["12", 4]}
        | {"seed": 1, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0},
    }
    graph["22"] = {"class_type": "VAEDecode", "inputs": {"samples": ["21", 0], "vae": ["2", 0]}}
    graph["23"] = {"class_type": "PreviewImage", "inputs": {"images": ["22", 0]}}
    del graph["13"]
    with pytest.raises(HostError, match="cache: calibrate writes its curve at the end of a run"):
        server.queue(graph)

    def last_frame(graph) -> bytes:
        images = server.queue(graph)["outputs"]["23"]["images"]
        assert len(images) == 9
        return Image.open(io.BytesIO(server.view(images[-1]))).tobytes()

    used = {"kind": "magcache", "max_skips": 4, "retention": 0.25}
    skipping, nothing = (
        last_frame(changed(graph, "InfiniteTalkStepCache", **used, threshold=threshold)) for threshold in (10.0, 0.0)
    )
    del graph["12"]["inputs"]["cache"]
    assert last_frame(graph) == nothing != skipping


def test_four_steps_are_too_few_for_teacache(server, graph):
    report, skipped = shown(server.queue(graph))
    assert "the first 5 steps are always computed and this run has 4" in report and skipped == 0


@pytest.mark.parametrize(
    ("node", "values", "message"),
    [
        ("InfiniteTalkGuidance", {"text_curve": "5, x"}, "text_curve: 'x' is not a number"),
        ("InfiniteTalkGuidance", {"audio_curve": "0:2 0:3"}, "audio_curve: the position 0 comes after 0"),
        ("InfiniteTalkGuidance", {"start_percent": 0.5, "end_percent": 0.5}, "guided part of the run: 0.5 to 0.5"),
        ("InfiniteTalkGuidance", {"end_percent": 1.5}, "guided part of the run: 0.0 to 1.5"),
        ("InfiniteTalkStepCache", {"kind": "magcache", "curve": "no.magcache.json"}, "does not exist"),
        ("InfiniteTalkStepCache", {"kind": "calibrate", "curve": "../no.magcache.json"}, "is not a file name"),
    ],
)
def test_bad_values_are_refused_before_anything_loads(server, graph, node, values, message):
    with pytest.raises(HostError) as error:
        server.queue(changed(graph, node, **values))
    assert message in str(error.value)


def test_easycache_on_the_model_is_refused(server, graph):
    graph["23"] = {
        "class_type": "EasyCache",
        "inputs": {
            "model": ["1", 0],
            "reuse_threshold": 0.2,
            "start_percent": 0.15,
            "end_percent": 0.95,
            "verbose": False,
        },
    }
    graph["12"]["inputs"]["model"] = ["23", 0]
    with pytest.raises(HostError, match="already carries EasyCache"):
        server.queue(graph)
    del graph["12"]["inputs"]["cache"]
    assert shown(server.queue(graph)) == ("EasyCache counts what it skips in ComfyUI's log", 0)
