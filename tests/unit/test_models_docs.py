"""What the page of model files, the README and the shipped workflows say about model files is what the table says."""

from __future__ import annotations

import json
import re

import pytest

import dev
from demo import model_docs
from demo.notes import model_files, read_me
from infinitetalk_cli.models_table import load_table

TABLE = load_table()
GRAPHS = sorted((dev.ROOT / "workflows").glob("*.json"))
WITHOUT = "infinitetalk_small"  # its files lie in demo/models and are fetched nowhere
ENDINGS = (".safetensors", ".gguf", ".pth")


def test_the_page_has_the_tables_of_today():
    text = model_docs.PAGE.read_text(encoding="utf-8")
    assert model_docs.page(text, TABLE) == text, "run python -m demo.model_docs"
    for name, profile in TABLE.profiles.items():
        assert f"`{name}`" in text and all(f"`{file}`" in text for file in profile.files)
    for file in TABLE.files.values():
        assert (f"`{file.sha256}`" in text) if file.sha256 else (f"[`{file.name}`]({file.url}) | as the hub" in text)


def test_the_commands_in_the_documents_name_profiles_and_files_of_the_table():
    commands = [
        (document, match)
        for document in ("README.md", "docs/MODELS.md")
        for match in re.findall(
            r"^python\S* (?:dev\.py |-m infinitetalk_cli\.)models (?:get|verify) (.+)$",
            (dev.ROOT / document).read_text(encoding="utf-8"), re.MULTILINE,
        )
    ]  # fmt: skip
    assert len(commands) >= 5
    for _, command in commands:
        assert TABLE.chosen(command.split(" --to ")[0].split())


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_loaders_of_the_workflows_carry_the_tables_files(path):
    """By these the editor offers missing files for download. A file that can be fetched and is not carried fails."""
    graph = json.loads(path.read_text(encoding="utf-8"))
    seen = 0
    for node in graph["nodes"]:
        names = [value for value in node.get("widgets_values") or [] if str(value).endswith(ENDINGS)]
        files = [TABLE.files[name] for name in names if path.stem != WITHOUT]
        seen += len(files)
        carried = [{"name": file.name, "url": file.url, "directory": file.folder} for file in files]
        assert node["properties"].get("models", []) == carried
    assert seen >= 6 or path.stem == WITHOUT


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_notes_of_the_workflows_are_those_of_today(path):
    """The note beside a graph lists its files with their sizes."""
    prompt = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
    graph = json.loads(path.read_text(encoding="utf-8"))
    notes = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    wanted = [text for _, text, _ in read_me(path.stem, model_files(prompt))]
    assert notes == wanted, "run python -m demo.draw_workflows"


def test_the_templates_files_are_those_of_the_largest_profile():
    prompt = json.loads((dev.ROOT / "workflows/api/infinitetalk_image_to_video.json").read_text(encoding="utf-8"))
    assert set(model_files(prompt)) == set(TABLE.profiles["24gb-quality"].files)
    prompt = json.loads((dev.ROOT / "workflows/api/infinitetalk_four_steps.json").read_text(encoding="utf-8"))
    assert set(model_files(prompt)) == set(TABLE.profiles["24gb-4step"].files)
