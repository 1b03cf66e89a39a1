"""Workflows in API format as plain dictionaries: read one, find its nodes, change and add some.

Knows no node by name; the host is asked only what inputs a node has.
"""

from __future__ import annotations

import json
from pathlib import Path

from infinitetalk.errors import InputError

from .client import Client

Prompt = dict  # node id -> {"class_type", "inputs", "_meta": {"title"}}
Link = list  # [node id, number of the output]


def load_workflow(path: Path) -> Prompt:
    """A workflow in API format; InputError when the file is something else."""
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "there is no such file"
        raise InputError(f"{path}: {what}.", "Give the path of a workflow in API format.")
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}", "Give a workflow in API format.") from error
    if isinstance(prompt, dict) and "nodes" in prompt and "links" in prompt:
        raise InputError(f"{path}: this is a graph of the editor.", "Export it there with File > Export (API).")
    if not (isinstance(prompt, dict) and all(isinstance(e, dict) and "class_type" in e for e in prompt.values())):
        raise InputError(
            f"{path}: this is not a workflow in API format.", "Export one in the editor with File > Export (API)."
        )
    return prompt


def title_of(entry: dict) -> str:
    return entry.get("_meta", {}).get("title") or entry["class_type"]


def find_node(prompt: Prompt, name: str) -> str | None:
    """The id of the node that `name` means: an id, a title or a class; None when there is none."""
    if name in prompt:
        return name
    for label in (title_of, lambda entry: entry["class_type"]):
        found = [node for node, entry in prompt.items() if label(entry) == name]
        if len(found) > 1:
            raise InputError(f"--set: {name!r} means nodes {', '.join(found)}.", "Give one of these ids.")
        if found:
            return found[0]
    return None


def inputs_of(prompt: Prompt, name: str) -> dict:
    """The inputs of the node that `name` means; KeyError when the workflow has none."""
    return prompt[find_node(prompt, name)]["inputs"]


def add_node(prompt: Prompt, class_type: str, title: str, **inputs) -> str:
    """A new node with the next free number as its id, which is returned."""
    node = str(max(int(known) for known in prompt) + 1)
    prompt[node] = {"class_type": class_type, "_meta": {"title": title}, "inputs": inputs}
    return node


def drop_unused(prompt: Prompt, name: str) -> None:
    """Take a node out, and then every node that only it had used; its own readers must be gone already."""
    sources = [value[0] for value in prompt.pop(find_node(prompt, name))["inputs"].values() if isinstance(value, list)]
    used = {value[0] for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, list)}
    for source in dict.fromkeys(sources):
        if source not in used:
            drop_unused(prompt, source)


def choices(client: Client, class_type: str, name: str) -> list[str]:
    """What the host offers in a list widget; empty when it has no such node or input."""
    schema = client.get(f"/object_info/{class_type}").get(class_type, {"input": {}})["input"]
    kind, *options = {**schema.get("required", {}), **schema.get("optional", {})}.get(name, [[]])
    return list(kind) if isinstance(kind, list) else list(options[0].get("options", []))


def apply_change(prompt: Prompt, change: str, client: Client) -> None:
    """Carry out one NODE.input=value in the workflow; `@FILE` uploads the file and sets its name."""
    target, equals, text = change.partition("=")
    if not equals or "." not in target:
        raise InputError(
            f"--set: {change!r} is not of the form NODE.input=value.",
            "NODE is a title, a class or an id; value is JSON, text, or @FILE.",
        )
    splits = [i for i, letter in enumerate(target) if letter == "."]  # titles and inputs may hold dots
    found = ((find_node(prompt, target[:i]), target[i + 1 :]) for i in splits)
    node, name = next(((node, name) for node, name in found if node is not None), (None, ""))
    if node is None:
        names = ", ".join(f"{node} ({title_of(entry)})" for node, entry in prompt.items())
        raise InputError(f"--set: the workflow has no node {target[: splits[0]]!r}.", f"It has: {names}.")
    inputs = prompt[node]["inputs"]
    if name not in inputs:
        schema = client.object_info(prompt[node]["class_type"])["input"]
        known = {**schema.get("required", {}), **schema.get("optional", {})}
        if name.split(".")[0] not in known:
            where = f"{prompt[node]['class_type']} (node {node})"
            raise InputError(f"--set: {where} has no input {name!r}.", f"It has: {', '.join(known)}.")
    if text.startswith("@"):
        file = Path(text[1:])
        if not file.is_file():
            raise InputError(f"--set {target}: there is no file {file}.", "Give the path of a file after @.")
        inputs[name] = client.upload(file)
        return
    try:
        inputs[name] = json.loads(text)
    except ValueError:
        inputs[name] = text
