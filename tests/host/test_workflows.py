"""The shipped workflows: they fit the nodes, graph and API form say the same, and they run."""

from __future__ import annotations

import copy
import json
import wave

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from demo import small_model
from demo.base import ASSETS
from demo.commands import fit_speech
from infinitetalk_cli.server import PACK
from tests.host.server import changed, node_of, read_video
from tests.host.small_workflow import SMALL, for_small_model

FOLDER = PACK / "workflows"
NAMES = sorted(path.stem for path in (FOLDER / "api").glob("*.json"))
BYPASSED = 4  # mode of a node that hands its input on
MODEL_FILE = (".safetensors", ".gguf")  # need not be installed here
PYTHON_TYPE = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}


@pytest.fixture(scope="module")
def nodes(server) -> dict:
    """The host's description of every node class, on a host that has the small models."""
    return server.object_info()


def inputs_of(info: dict) -> dict:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def link_problem(prompt: dict, nodes: dict, link: list, wanted: str) -> str | None:
    source, slot = link
    if source not in prompt:
        return f"comes from node {source}, which is not there"
    outputs = nodes[prompt[source]["class_type"]]["output"]
    if slot >= len(outputs):
        return f"comes from output {slot} of {len(outputs)}"
    if outputs[slot] not in wanted.split(","):
        return f"takes {wanted} and gets {outputs[slot]}"
    return None


def value_problem(value: object, kind: str | list, options: dict) -> str | None:
    """What is wrong with a widget's value, by its description in /object_info."""
    choices = kind if isinstance(kind, list) else options.get("options")
    if kind == "COMBO" or isinstance(kind, list):
        absent = isinstance(value, str) and value.endswith(MODEL_FILE)
        return None if value in choices or absent else f"{value!r} is none of {choices}"
    if kind not in PYTHON_TYPE:
        return f"takes a link of type {kind}"
    if not isinstance(value, PYTHON_TYPE[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        return f"{value!r} is no {kind}"
    if kind in ("INT", "FLOAT") and not options["min"] <= value <= options["max"]:
        return f"{value} is outside {options['min']} to {options['max']}"
    if kind == "INT" and (value - options["min"]) % options.get("step", 1):
        return f"{value} is no step of {options['step']} from {options['min']}"
    return None


def grown(known: dict, name: str) -> list | None:
    """The description of an input; of an input that grows, such as speakers.speaker0, that of its template."""
    group, _, member = name.partition(".")
    if not member:
        return known.get(name)
    if group not in known or not known[group][0].startswith("COMFY_AUTOGROW"):
        return None
    template = known[group][1]["template"]
    number = member.removeprefix(template["prefix"])
    if not number.isdigit() or int(number) >= template["max"]:
        return None
    return next(spec for part in template["input"].values() for spec in part.values())


def problems(prompt: dict, nodes: dict) -> list[str]:
    """Everything in a workflow in API format that does not fit the nodes, one line each."""
    found = []
    for node, entry in prompt.items():
        info = nodes.get(entry["class_type"])
        if info is None:
            found.append(f"{node}: there is no node {entry['class_type']}")
            continue
        known = inputs_of(info)
        given = {name.split(".")[0] for name in entry["inputs"]}
        absent = [name for name in info["input"].get("required", {}) if name not in given]
        found += [f"{node}.{name}: missing" for name in absent]
        for name, value in entry["inputs"].items():
            spec = grown(known, name)
            if spec is None:
                found.append(f"{node}.{name}: no such input")
                continue
            kind, options = spec[0], (spec + [{}])[1]
            if isinstance(value, list):
                problem = link_problem(prompt, nodes, value, kind)
            else:
                problem = value_problem(value, kind, options)
            found += [f"{node}.{name}: {problem}"] if problem else []
    return found


def widgets(node: dict, info: dict) -> dict:
    """The widget values of a graph's node by name. The editor writes them in the order of the schema."""
    values, found = iter(node.get("widgets_values", [])), {}
    for name, (kind, *options) in inputs_of(info).items():
        if kind == "COMBO" or isinstance(kind, list) or kind in PYTHON_TYPE:
            found[name] = next(values)
            if options and options[0].get("control_after_generate"):
                next(values)  # fixed, randomize ...: only the editor knows it
    return found


def as_prompt(graph: dict, nodes: dict) -> dict:
    """A graph of the editor in API format, without titles: notes left out, bypassed nodes bridged."""
    links = {link[0]: link for link in graph["links"]}
    by_id = {node["id"]: node for node in graph["nodes"]}

    def origin(link: int) -> list:
        _, source, slot, _, _, kind = links[link]
        node = by_id[source]
        if node["mode"] == BYPASSED:
            return origin(next(entry["link"] for entry in node["inputs"] if entry["type"] == kind))
        return [str(source), slot]

    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in nodes and node["mode"] != BYPASSED:
            linked = {entry["name"]: origin(entry["link"]) for entry in node["inputs"] if entry.get("link") is not None}
            inputs = {**widgets(node, nodes[node["type"]]), **linked}
            prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def read_wave(path) -> np.ndarray:
    """The samples [T] of a mono WAV file of 16 bits."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def graph_of(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_every_workflow_is_there_in_both_forms_with_a_picture():
    assert NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_workflow_fits_the_nodes(server, nodes, name):
    assert problems(server.workflow(name), nodes) == []


@pytest.mark.parametrize(
    ("class_type", "inputs", "text"),
    [
        ("InfiniteTalkSampler", {"seeed": 1}, "12.seeed: no such input"),
        ("InfiniteTalkSampler", {"seed": -1}, "12.seed: -1 is outside 0 to"),
        ("InfiniteTalkSampler", {"seed": 1.5}, "12.seed: 1.5 is no INT"),
        ("InfiniteTalkSampler", {"frames_per_window": 80}, "12.frames_per_window: 80 is no step of 4 from 5"),
        ("InfiniteTalkSampler", {"mode": "stream"}, "12.mode: 'stream' is none of"),
        ("InfiniteTalkSampler", {"model": ["2", 0]}, "12.model: takes MODEL and gets VAE"),
        ("InfiniteTalkSampler", {"model": ["1", 1]}, "12.model: comes from output 1 of 1"),
        ("InfiniteTalkSampler", {"model": ["99", 0]}, "12.model: comes from node 99, which is not there"),
        ("InfiniteTalkSampler", {"vae": "2"}, "12.vae: takes a link of type VAE"),
        ("InfiniteTalkVideoCombine", {"video": ["1", 0]}, "13.video: takes"),
        ("LoadImage", {"image": "nowhere.png"}, "4.image: 'nowhere.png' is none of"),
    ],
)
def test_the_check_finds_what_does_not_fit(server, nodes, class_type, inputs, text):
    (found,) = problems(changed(server.workflow(), class_type, **inputs), nodes)
    assert found.startswith(text)


def test_the_check_finds_what_is_missing(server, nodes):
    prompt = copy.deepcopy(server.workflow())
    del prompt["12"]["inputs"]["vae"]
    prompt["13"]["class_type"] = "InfiniteTalkVideoCombin"
    assert problems(prompt, nodes) == ["12.vae: missing", "13: there is no node InfiniteTalkVideoCombin"]


@pytest.mark.parametrize("name", NAMES)
def test_graph_says_the_same_as_the_api_form(server, nodes, name):
    wanted = server.workflow(name)
    for entry in wanted.values():
        del entry["_meta"]
    assert as_prompt(graph_of(name), nodes) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_nodes_of_the_graph_do_not_overlap(name):
    title = 30  # pixels above a node's position
    boxes = [(*node["pos"], *node["size"], node["id"]) for node in graph_of(name)["nodes"]]
    for index, (x, y, width, height, node) in enumerate(boxes):
        for other_x, other_y, other_width, other_height, other in boxes[index + 1 :]:
            apart_x = x + width <= other_x or other_x + other_width <= x
            apart_y = y + height <= other_y - title or other_y + other_height <= y - title
            assert apart_x or apart_y, f"nodes {node} and {other} overlap"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "infinitetalk_small"])
def test_graph_tells_where_every_model_file_comes_from(name):
    """The editor offers missing files for download by these entries, and the note lists them for people."""
    graph = graph_of(name)
    notes = "".join(node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote")
    files = 0
    for node in graph["nodes"]:
        names = [value for value in node.get("widgets_values", []) if str(value).endswith(MODEL_FILE)]
        assert [model["name"] for model in node["properties"].get("models", [])] == names
        for model in node["properties"].get("models", []):
            files += 1
            assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith("/" + model["name"])
            assert f"| {model['directory']} | [{model['name']}]({model['url']}) |" in notes
    assert files >= 6


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def lora(server) -> None:
    """A LoRA of the published layout for one layer of the random model, in the server's models."""
    key = "diffusion_model.blocks.0.self_attn.q"
    sizes = {"lora_down": (2, small_model.DIM), "lora_up": (small_model.DIM, 2)}
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{key}.{part}.weight": torch.randn(size, generator=generator) for part, size in sizes.items()}
    (server.base / "models" / "loras").mkdir(exist_ok=True)
    save_file(tensors, server.base / "models" / "loras" / SMALL["LoraLoaderModelOnly"]["lora_name"])


@pytest.mark.parametrize("name", NAMES)
def test_workflow_speaks_the_speech_in_two_windows(server, lora, tmp_path, name):
    """On the random model: as many frames as speech, of the size asked for, with the original sound."""
    speech = fit_speech(ASSETS / "speech.flac", 0.96, server.base / "input" / "workflow.wav")
    history = server.queue(for_small_model(server.workflow(name)))
    frames, sound = read_video(server.video(history, tmp_path))
    voices = 2 if name == "infinitetalk_two_speakers" else 1  # one after the other
    assert frames.shape == (24 * voices, 64, 96, 3)
    original = np.tile(read_wave(speech), voices)
    assert 0 <= sound.shape[1] - len(original) < 1024  # AAC comes in packets of 1024 samples
    assert np.corrcoef(sound[0, : len(original)], original)[0, 1] > 0.95


def test_dubbing_follows_the_source_and_a_cut(server, tmp_path):
    """With a scene's cut the second window starts afresh from the source's own frame there."""
    fit_speech(ASSETS / "speech.flac", 1.6, server.base / "input" / "workflow.wav")
    prompt = for_small_model(server.workflow("infinitetalk_video_dubbing"))
    video = node_of(prompt, "LoadVideo")
    scenes = {"video": [video, 0], "detector": "all", "threshold": 0.0, "min_seconds": 0.5}
    prompt["901"] = {"class_type": "InfiniteTalkScenes", "inputs": scenes}
    prompt["902"] = {"class_type": "PreviewAny", "inputs": {"source": ["901", 1]}}
    prompt = changed(prompt, "InfiniteTalkSampler", scenes=["901", 0], color_correction=0.0)
    history = server.queue(prompt)
    frames, _ = read_video(server.video(history, tmp_path))
    assert frames.shape == (40, 64, 96, 3)
    table = history["outputs"]["902"]["text"][0]
    assert "2 scenes" in table and "1.04" in table  # the cut is at 30 / 29.97 s, first seen in frame 26 of 25 a second
