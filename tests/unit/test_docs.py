"""The nodes' help pages and translations say what the nodes are: the same inputs, types, defaults, ranges, outputs.

The schemas are read from the source of nodes/, so no ComfyUI is needed. An expression that this file cannot read
(a list of files, for instance) counts as unknown and is not compared; an input it cannot name is an error.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh")
INPUTS, OUTPUTS = {"en": "Inputs", "zh": "输入"}, {"en": "Outputs", "zh": "输出"}
OPTIONAL = {"en": " (optional)", "zh": "（可选）"}
UNKNOWN = object()


@dataclass
class Socket:
    """One input or output: name, type as the host shows it, whether it is optional, and its keywords."""

    name: str
    type: str
    keywords: dict = field(default_factory=dict)

    @property
    def optional(self) -> bool:
        return self.keywords.get("optional", False)


@dataclass
class Node:
    node_id: str
    keywords: dict
    inputs: list[Socket]
    outputs: list[Socket]


@cache
def constants(path: Path) -> dict:
    """Module-level names of a file whose values can be read, its own and those it imports from this repository."""
    known: dict = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.level:
            source = path.parents[statement.level - 1].joinpath(*(statement.module or "").split(".")).with_suffix(".py")
            there = constants(source) if source.is_file() else {}  # `from . import module` brings no constants
            known |= {alias.asname or alias.name: there.get(alias.name, UNKNOWN) for alias in statement.names}
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            known[statement.targets[0].id] = evaluate(statement.value, known)
        elif isinstance(statement, ast.FunctionDef):
            known[statement.name] = (statement, known)
    return known


def evaluate(node: ast.expr, known: dict):
    """The value of an expression of literals, known names, f-strings, lists and `io.Custom(name)`; else UNKNOWN."""
    if isinstance(node, ast.Name):
        return known.get(node.id, UNKNOWN)
    if isinstance(node, ast.JoinedStr):
        parts = [evaluate(part.value if isinstance(part, ast.FormattedValue) else part, known) for part in node.values]
        return UNKNOWN if UNKNOWN in parts else "".join(map(str, parts))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Custom":
        return evaluate(node.args[0], known)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "list" and node.args:
        value = evaluate(node.args[0], known)
        return UNKNOWN if value is UNKNOWN else list(value)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def type_name(owner: ast.expr, known: dict) -> str:
    """`io.ClipVision` -> CLIP_VISION; a name that io.Custom() was bound to -> its type."""
    if isinstance(owner, ast.Name):
        return known[owner.id]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", owner.attr).upper()


def sockets(items: list[ast.expr], known: dict) -> list[Socket]:
    """The sockets that a list in a schema makes; `*function()` stands for what the function returns."""
    found = []
    for item in items:
        if isinstance(item, ast.Starred):
            function, there = known[item.value.func.id]  # its names are those of the file it stands in
            found += sockets(function.body[-1].value.elts, there)
            continue
        keywords = {keyword.arg: evaluate(keyword.value, known) for keyword in item.keywords}
        kind = type_name(item.func.value, known)
        if kind == "MULTI_TYPE":
            types = next(keyword.value for keyword in item.keywords if keyword.arg == "types")
            kind = ",".join(type_name(entry, known) for entry in types.elts)
        name = evaluate(item.args[0], known) if item.args else keywords["display_name"]
        assert isinstance(name, str), ast.dump(item)
        found.append(Socket(name, kind, keywords))
    return found


def read_nodes() -> dict[str, Node]:
    nodes = {}
    for path in sorted((ROOT / "nodes").glob("*.py")):
        known = constants(path)
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "Schema"):
                continue
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            lists = [sockets(given.pop(part).elts, known) for part in ("inputs", "outputs")]
            values = {name: evaluate(value, known) for name, value in given.items()}
            nodes[values["node_id"]] = Node(values["node_id"], values, *lists)
    return nodes


NODES = read_nodes()
EACH = pytest.mark.parametrize("node", NODES.values(), ids=NODES)
LANGUAGE = pytest.mark.parametrize("language", LANGUAGES)


def page(node: Node, language: str) -> str:
    return (ROOT / "js" / "docs" / node.node_id / f"{language}.md").read_text(encoding="utf-8")


def table(text: str, heading: str) -> dict[str, list[str]]:
    """Rows of the table below a second-level heading, by the name in backticks that starts the first cell."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in (section.group(1) if section else "").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {re.match(r"`([^`]+)`", row[0]).group(1): row[1:] for row in rows}


def locale(language: str, file: str) -> dict:
    return json.loads((ROOT / "locales" / language / file).read_text(encoding="utf-8"))


def texts(value) -> list[str]:
    return [value] if isinstance(value, str) else [text for part in value.values() for text in texts(part)]


def shown(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_node_of_the_pack_is_read():
    """The reader of schemas finds the nodes that nodes/__init__.py lists, and their inputs."""
    listed = ast.parse((ROOT / "nodes" / "__init__.py").read_text(encoding="utf-8")).body
    names = next(s.value for s in listed if isinstance(s, ast.Assign) and s.targets[0].id == "NODES")
    assert sorted(NODES) == sorted(name.id for name in names.elts)
    sampler = {socket.name: socket for socket in NODES["InfiniteTalkSampler"].inputs}
    assert sampler["frames_per_window"].keywords["default"] == 81  # from a function in another file
    assert sampler["mode"].keywords["options"] == ["streaming", "clip"]  # from a constant in another layer
    assert (sampler["features"].type, sampler["guidance"].optional) == ("INFINITETALK_FEATURES", True)


@EACH
def test_every_input_and_output_has_a_tooltip(node):
    assert [socket.name for socket in (*node.inputs, *node.outputs) if not socket.keywords.get("tooltip")] == []
    assert node.keywords["description"] and node.keywords["display_name"]


@LANGUAGE
@EACH
def test_the_page_lists_the_inputs_as_they_are(node, language):
    rows = table(page(node, language), INPUTS[language])
    assert list(rows) == [socket.name for socket in node.inputs]
    for socket in node.inputs:
        kind, default, allowed, description = rows[socket.name]
        assert kind == socket.type.replace(",", ", ") + (OPTIONAL[language] if socket.optional else "")
        if "default" in socket.keywords:
            assert default == f"`{shown(socket.keywords['default'])}`", socket.name
        if "min" in socket.keywords:
            numbers = [shown(socket.keywords[key]) for key in ("min", "max")]
            assert re.findall(r"-?\d+(?:\.\d+)?", allowed)[:2] == numbers, socket.name
        options = socket.keywords.get("options", UNKNOWN)
        if isinstance(options, list):
            assert re.findall(r"`([^`]+)`", allowed) == options, socket.name
        assert description


@LANGUAGE
@EACH
def test_the_page_lists_the_outputs_as_they_are(node, language):
    rows = table(page(node, language), OUTPUTS[language])
    assert [(name, row[0]) for name, row in rows.items()] == [(socket.name, socket.type) for socket in node.outputs]


@LANGUAGE
@EACH
def test_the_page_begins_with_the_nodes_name(node, language):
    assert (
        page(node, language).splitlines()[0] == f"# {locale(language, 'nodeDefs.json')[node.node_id]['display_name']}"
    )


@LANGUAGE
def test_there_are_no_pages_and_translations_of_other_nodes(language):
    assert {path.parent.name for path in (ROOT / "js" / "docs").glob("*/*.md")} == set(NODES)
    assert set(locale(language, "nodeDefs.json")) == set(NODES)


@LANGUAGE
@EACH
def test_the_translation_names_every_input_and_output_and_nothing_else(node, language):
    entry = locale(language, "nodeDefs.json")[node.node_id]
    assert set(entry) == {"display_name", "description", "inputs"} | ({"outputs"} if node.outputs else set())
    assert list(entry["inputs"]) == [socket.name for socket in node.inputs]
    assert list(entry.get("outputs", {})) == [str(number) for number in range(len(node.outputs))]
    for part in (*entry["inputs"].values(), *entry.get("outputs", {}).values()):
        assert set(part) == {"name", "tooltip"} and all(part.values())


@EACH
def test_the_english_texts_are_those_of_the_schema(node):
    """English stands in both places, since the host shows the schema where there is no translation."""
    entry = locale("en", "nodeDefs.json")[node.node_id]
    assert {name: entry[name] for name in ("display_name", "description")} == {
        name: node.keywords[name] for name in ("display_name", "description")
    }
    for shown_texts, schema in ((entry["inputs"], node.inputs), (entry.get("outputs", {}), node.outputs)):
        assert [(part["name"], part["tooltip"]) for part in shown_texts.values()] == [
            (socket.name, socket.keywords["tooltip"]) for socket in schema
        ]


@LANGUAGE
def test_category_and_socket_types_are_translated(language):
    main = locale(language, "main.json")
    custom = {
        socket.type for node in NODES.values() for socket in node.outputs if socket.type.startswith("INFINITETALK")
    }
    assert list(main["nodeCategories"]) == ["InfiniteTalk"]
    assert set(main["dataTypes"]) == custom


@LANGUAGE
@pytest.mark.parametrize("file", ["main.json", "nodeDefs.json"])
def test_texts_hold_no_character_that_the_frontend_takes_for_code(language, file):
    """In vue-i18n {..} is a variable, @ a link to another text and | separates plural forms."""
    assert [text for text in texts(locale(language, file)) if re.search(r"[{}@|]", text)] == []


def test_links_between_documents_lead_somewhere():
    documents = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "js" / "docs").glob("*/*.md"),
        *ROOT.glob("demo/**/*.md"),
        *ROOT.glob("training/*.md"),
    ]
    assert len(documents) > 2 * len(NODES)
    for document in documents:
        for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"
