"""What ComfyUI itself refuses of a workflow: values, missing inputs, links between sockets that do not fit.

A queued workflow went through that already; one of which only the check is queued did not. Knows no node of ours.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import execution

from ..check.graph import Graph
from ..check.report import Report

LONGEST = 160  # characters of what ComfyUI says: it lists every file of a folder
REMEDIES = {
    "required_input_missing": "Connect it, or give it a value.",
    "bad_linked_input": "Connect it to an output of another node.",
    "return_type_mismatch": "Connect an output of the input's own type.",
    "value_not_in_list": "Choose an entry of the node's list; it lists the files that are there.",
    "value_smaller_than_min": "Choose a larger value.",
    "value_bigger_than_max": "Choose a smaller value.",
    "invalid_input_type": "Give a value of the input's own type.",
    "dependency_cycle": "Take one of the links away.",
}


async def tell_refusals(graph: Graph, report: Report) -> None:
    """Add a problem for each thing that ComfyUI refuses, unless the check has found it already."""
    prompt = copy.deepcopy(dict(graph.nodes))  # the host writes converted values into it
    _, whole, _, of_nodes = await execution.validate_prompt("check", prompt, None)
    if whole is not None and not of_nodes:
        report.problem(f"workflow: {_short(whole['message'])}", "Export it again with Workflow > Export (API).")
    for node, found in of_nodes.items():
        for error in found["errors"]:
            _tell(graph.titled(node), error, report)


def _tell(title: str, error: Mapping[str, Any], report: Report) -> None:
    kind, told = error["type"], f"{error['message']}: {error['details']}"
    name = (error.get("extra_info") or {}).get("input_name", "")
    label, remedy = f"{title}, {name}" if name else title, REMEDIES.get(kind, "Look at this input of the node.")
    if kind == "custom_validation_failed":  # ours have two lines
        told, _, second = str(error["details"]).removeprefix(f"{name} - ").partition("\n")
        remedy = second or remedy
    known = any(told.startswith(found.what) or found.what.startswith((label, f"{title}:")) for found in report.findings)
    if not known:
        report.problem(told if kind == "custom_validation_failed" else f"{label}: {_short(told)}", remedy)


def _short(text: str) -> str:
    line = text.split("\n")[0].rstrip(".")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
