"""Prompts per window with the host's own text encoder classes, its conditioning nodes and a real run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.timeline import plan
from infinitetalk_cli.client import HostError

pytestmark = pytest.mark.usefixtures("host")

WINDOWS = plan(200, WindowConfig())


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def clip(host):
    from tests.host.text_encoder import small_clip

    return small_clip()


def encode(clip, text: str) -> list:
    from infinitetalk.host.prompts import encode_prompts

    return encode_prompts(clip, text)


def native(clip, text: str) -> list:
    """What the host's CLIPTextEncode gives."""
    from nodes import CLIPTextEncode

    return CLIPTextEncode().encode(clip, text)[0]


def chosen(conditioning: list) -> list[list[torch.Tensor]]:
    """The embeddings that each window takes."""
    from infinitetalk.host.prompts import for_window

    return [[entry[0] for entry in for_window(conditioning, window)] for window in WINDOWS]


def same(found: list[list[torch.Tensor]], wanted: list[list[torch.Tensor]]) -> bool:
    return [len(entries) for entries in found] == [len(entries) for entries in wanted] and all(
        torch.equal(a, b) for one, two in zip(found, wanted, strict=True) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("text", ["she laughs", "[0] she laughs", "she (laughs:1.3) |"])
def test_one_line_is_what_clip_text_encode_gives(clip, text):
    ours, theirs = encode(clip, text), native(clip, text.strip("[0] |"))
    assert len(ours) == len(theirs) == 1 and ours[0][1].keys() == theirs[0][1].keys()
    assert torch.equal(ours[0][0], theirs[0][0]) and ours[0][0].shape == (1, 512, 4096)


def test_each_window_takes_its_line(clip):
    a, b = (native(clip, text)[0][0] for text in ("she laughs", "he jumps"))
    assert (a - b).abs().max() > 0.01
    assert same(chosen(encode(clip, "she laughs | he jumps")), [[a], [b], [b]])
    assert same(chosen(encode(clip, "[0] she laughs | [5] he jumps")), [[a], [a], [b]])  # middles 1.62, 4.68, 7.06


def test_the_same_text_is_encoded_once(clip):
    first, _, third = encode(clip, "she laughs | he jumps | she laughs")
    assert first[0] is third[0] and first[1] is not third[1]


def test_entries_go_through_the_hosts_conditioning_nodes(clip):
    """Combined with a prompt for all windows and with other lines; limited to steps; zeroed."""
    from nodes import ConditioningCombine, ConditioningSetTimestepRange, ConditioningZeroOut

    lines, others = encode(clip, "she laughs | he jumps"), encode(clip, "[0] my dog | [7] a camera")
    always = native(clip, "a person talks")
    a, b, dog, camera, person = (
        native(clip, text)[0][0] for text in ("she laughs", "he jumps", "my dog", "a camera", "a person talks")
    )
    (both,) = ConditioningCombine().combine(lines, always)
    assert same(chosen(both), [[a, person], [b, person], [b, person]])
    (mixed,) = ConditioningCombine().combine(lines, others)
    assert same(chosen(mixed), [[a, dog], [b, dog], [b, camera]])
    (half,) = ConditioningSetTimestepRange().set_range(lines, 0.0, 0.5)
    assert same(chosen(half), [[a], [b], [b]]) and all(entry[1]["end_percent"] == 0.5 for entry in half)
    (zero,) = ConditioningZeroOut().zero_out(lines)
    assert same(chosen(zero), [[torch.zeros_like(a)]] * 3)


def test_conditioning_of_other_nodes_is_for_every_window(clip):
    prompt = native(clip, "a person talks")
    assert same(chosen(prompt), [[prompt[0][0]]] * 3)


def test_a_run_follows_the_lines(clip, machine, tmp_path):
    """Two windows: the first is made as by its line alone, the second as by the other one."""
    from tests.host.machine import CONFIG
    from tests.host.test_run import read, run

    assert [window.keep for window in plan(13, CONFIG.window)] == [9, 4]
    two, first, swapped = (
        read(run(machine, tmp_path, 13, replace(CONFIG, colour=0.0), positive=encode(clip, text)))[0].astype(int)
        for text in ("she laughs | he jumps", "she laughs", "[0] she laughs | [0.4] my big dog")
    )
    assert np.array_equal(two[:8], first[:8]) and np.array_equal(swapped[:8], first[:8])
    assert np.abs(two[9:] - first[9:]).mean() > 0.5 and np.abs(two[9:] - swapped[9:]).mean() > 0.5


def test_the_window_node_takes_the_windows_line(clip, machine):
    from infinitetalk.host.window import prepare_window
    from tests.host.machine import CONFIG

    negative = machine.texts[1]
    host = (machine.model, machine.vae, encode(clip, "she laughs | he jumps"), negative)
    previous = torch.rand(9, machine.size, machine.size, 3, generator=torch.Generator().manual_seed(1))
    for index, text in enumerate(("she laughs", "he jumps")):
        prepared = prepare_window(host, machine.features(13), machine.reference, CONFIG, index, previous)
        (entry,) = prepared[2]
        assert torch.equal(entry[0], native(clip, text)[0][0])


def test_a_loader_without_a_text_encoder_is_refused():
    with pytest.raises(InputError, match="clip: the connected loader has no text encoder"):
        encode(None, "a | b")


def test_a_bad_text_is_refused_before_anything_loads(server):
    graph = {
        "1": {"class_type": "CLIPLoader", "inputs": {"clip_name": "absent.safetensors", "type": "wan"}},
        "2": {"class_type": "InfiniteTalkPrompts", "inputs": {"clip": ["1", 0], "text": "[0] a | b"}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    with pytest.raises(HostError) as caught:
        server.queue(graph)
    assert "line 1 has a time and line 2 has none" in str(caught.value)
