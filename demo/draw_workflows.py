"""Draws the shipped workflows: their API form, opened in ComfyUI's editor, arranged, and saved as graphs.

    python -m demo.draw_workflows [NAME ...]

Run it after a change of workflows/api/*.json or of a node's inputs: the editor adds the widgets that are new, and
both forms are written again. Needs Chromium (CHROMIUM or the PATH); leaves a picture of each graph in .dev/graphs.
"""

from __future__ import annotations

import json
import sys
import uuid

from playwright.sync_api import Page, sync_playwright

import dev
from infinitetalk_cli.models_table import load_table
from infinitetalk_cli.server import PACK, Server

from . import talking_model
from .base import make_base
from .notes import NOTES, model_files, read_me

FOLDER = PACK / "workflows"
GAP, TITLE, MARGIN, BAND = 40, 30, 20, 80  # pixels: between nodes, a node's title, around a group, above its nodes
NOTE_WIDTH = 540
# Columns from left to right: width of their nodes, and their groups with the node classes in them.
COLUMNS = [
    (400, {"Models": ["InfiniteTalkLoadModel", "LoraLoaderModelOnly", "CLIPLoader", "VAELoader", "CLIPVisionLoader",
                      "AudioEncoderLoader", "InfiniteTalkLoadAudioEncoder"]}),
    (360, {"Picture and speech": ["LoadImage", "LoadVideo", "LoadAudio", "InfiniteTalkLoadSpeech"],
           "Prompt": ["CLIPTextEncode", "ConditioningZeroOut", "InfiniteTalkLoadEmbeds"]}),
    (360, {"Encode": ["InfiniteTalkAudioEncode", "InfiniteTalkPanZoom", "InfiniteTalkReference",
                      "InfiniteTalkVideoReference"],
           "Settings": ["InfiniteTalkGuidance", "InfiniteTalkSchedule", "KSamplerSelect", "InfiniteTalkPreset",
                   "InfiniteTalkMemory"]}),
    (360, {"Speakers": ["InfiniteTalkSpeaker", "InfiniteTalkSpeakers", "PreviewImage"]}),
    (460, {"Sampling": ["InfiniteTalkSampler"], "Video": ["InfiniteTalkVideoCombine"]}),
]  # fmt: skip
HEIGHTS = {"LoadImage": 390, "LoadVideo": 390, "LoadAudio": 140, "CLIPTextEncode": 180, "PreviewImage": 300,
           "InfiniteTalkSampler": 800, "InfiniteTalkVideoCombine": 600}  # fmt: skip

EDITOR_ONLY = "video-preview"  # an input that the editor invents for Load Video
OPEN = """async ([prompt, name]) => { await app.loadApiJson(prompt, name); }"""
OPENED = """ids => app.graph.nodes.length === ids.length && ids.every(id => app.graph.getNodeById(id))"""
SIZES = """() => Object.fromEntries(app.graph.nodes.map(node => [node.id, [...node.computeSize()]]))"""
ARRANGE = """([places, groups, notes, files]) => {
    for (const [id, [x, y, width, height]] of Object.entries(places)) {
        const node = app.graph.getNodeById(id);
        node.pos = [x, y];
        node.setSize([width, height]);
        const named = (node.widgets ?? []).map(widget => widget.value).filter(value => files[value]);
        if (named.length) node.properties.models = named.map(value => ({ name: value, ...files[value] }));
    }
    for (const [title, x, y, width, height] of groups) {
        const group = new LiteGraph.LGraphGroup(title);
        group.pos = [x, y];
        group.size = [width, height];
        group.color = "#5c8fb8";
        app.graph.add(group);
    }
    for (const [title, text, x, y, width, height] of notes) {
        const note = LiteGraph.createNode("MarkdownNote");
        app.graph.add(note);
        note.title = title;
        note.pos = [x, y];
        note.setSize([width, height]);
        note.widgets[0].value = text;
        note.color = "#432";
        note.bgcolor = "#653";
    }
    app.canvas.setDirty(true, true);
}"""
FIT = """([x, y, width, height]) => {
    const scale = Math.min((innerWidth - 100) / width, (innerHeight - 100) / height);
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [80 / scale - x, 90 / scale - y];
    app.canvas.setDirty(true, true);
}"""


def arrange(prompt: dict, sizes: dict[str, list[float]]) -> tuple[dict, list]:
    """(id -> [x, y, width, height], groups as [title, x, y, width, height]) in columns that follow the data."""
    places, groups, x = {}, [], 0
    for width, titles in COLUMNS:
        y, used = 0, False
        for title, classes in titles.items():
            members = [node for kind in classes for node in prompt if prompt[node]["class_type"] == kind]
            if not members:
                continue
            top, used = y, True
            for node in members:
                height = round(max(sizes[node][1] + 10, HEIGHTS.get(prompt[node]["class_type"], 0)))
                places[node] = [x, y, width, height]
                y += height + TITLE + GAP - 10
            bottom = y - TITLE - GAP + 10
            groups.append([title, x - MARGIN, top - BAND, width + 2 * MARGIN, bottom - top + BAND + MARGIN])
            y = bottom + MARGIN + GAP + BAND
        x += (width + 100) if used else 0
    return places, groups


def settle(page: Page) -> None:
    page.wait_for_timeout(1500)  # pictures and media of the widgets


def draw(page: Page, name: str) -> None:
    """Rewrite one workflow's two forms."""
    api = FOLDER / "api" / f"{name}.json"
    prompt = json.loads(api.read_text(encoding="utf-8"))
    page.evaluate(OPEN, [prompt, name])
    page.wait_for_function(OPENED, arg=list(prompt), timeout=60_000)
    settle(page)
    sizes = {str(node): size for node, size in page.evaluate(SIZES).items()}
    places, groups = arrange(prompt, sizes)
    files = model_files(prompt)
    notes, y = [], -50
    for title, text, height in read_me(name, files):
        notes.append([title, text, -NOTE_WIDTH - 80, y, NOTE_WIDTH, height])
        y += height + TITLE + 20
    sources = {model: {key: file[key] for key in ("url", "directory")} for model, file in files.items()}
    page.evaluate(ARRANGE, [places, groups, notes, sources])
    settle(page)
    graph = bare(page.evaluate("() => app.graph.serialize()"))
    graph["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"infinitetalk/{name}"))
    graph["extra"] = {"ds": {"scale": 0.55, "offset": [800, 140]}}
    (FOLDER / f"{name}.json").write_text(json.dumps(graph, indent=2) + "\n", encoding="utf-8")
    written = page.evaluate("async () => (await app.graphToPrompt()).output")
    api.write_text(compact(written), encoding="utf-8")
    right = max(x + width for x, _, width, _ in places.values())
    bottom = max(y + height for _, y, _, height in places.values())
    page.evaluate(FIT, [-NOTE_WIDTH - 80, -BAND, right + NOTE_WIDTH + 80, bottom + BAND])
    settle(page)
    pictures = dev.DEV / "graphs"
    pictures.mkdir(exist_ok=True)
    page.screenshot(path=pictures / f"{name}.png")


def bare(graph: dict) -> dict:
    """A graph without what the editor makes again by itself: sockets of widgets, unset looks, versions of packs."""
    for node in graph["nodes"]:
        node.pop("showAdvanced", None)
        node["inputs"] = [
            {key: value for key, value in entry.items() if value is not None}
            for entry in node.get("inputs", [])
            if "widget" not in entry or entry["link"] is not None
        ]
        node["outputs"] = [
            {key: value for key, value in entry.items() if value is not None} for entry in node.get("outputs", [])
        ]
        node["properties"] = {
            key: value for key, value in node["properties"].items() if key in ("Node name for S&R", "models")
        }
    return graph


def compact(prompt: dict) -> str:
    """A workflow in API format, a line for each node's inputs where they fit."""
    entries = []
    for node, entry in prompt.items():
        entry["inputs"].pop(EDITOR_ONLY, None)
        inputs = json.dumps(entry["inputs"])
        if len(inputs) > 100:
            lines = ",\n".join(
                f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in entry["inputs"].items()
            )
            inputs = f"{{\n{lines}\n    }}"
        entries.append(
            f"  {json.dumps(node)}: {{\n"
            f'    "class_type": {json.dumps(entry["class_type"])},\n'
            f'    "_meta": {json.dumps(entry["_meta"])},\n'
            f'    "inputs": {inputs}\n  }}'
        )
    return "{\n" + ",\n".join(entries) + "\n}\n"


def main(names: list[str]) -> None:
    comfyui = dev.PINNED_HOST
    base = make_base(dev.DEV / "drawing", talking_model.MODELS)
    for file in load_table().files.values():  # names are enough for the editor not to miss them
        (base / "models" / file.folder).mkdir(parents=True, exist_ok=True)
        (base / "models" / file.place).touch()
    with Server(comfyui, base) as server, sync_playwright() as playwright:
        # Said, whatever an earlier start has left: the sizes are those of the classic renderer.
        look = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.VueNodes.Enabled": False}
        server.post("/settings", look)
        browser = playwright.chromium.launch(executable_path=dev.find_chromium(), args=["--no-sandbox"])
        for name in names or sorted(NOTES):
            page = browser.new_page(viewport={"width": 2010, "height": 1350})
            page.goto(server.url)
            page.wait_for_function("window.app?.vueAppReady && app.graph", timeout=60_000)
            draw(page, name)
            print(name, flush=True)
            page.close()


if __name__ == "__main__":
    main(sys.argv[1:])
