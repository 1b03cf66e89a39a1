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
from ..check.settings import SAMPLERS
from .preflight import unhurt

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
    """Add a problem for each thing that ComfyUI refuses, unless the check has found it already.

    Of nodes that no sampler needs a warning: ComfyUI leaves their outputs out and goes on.
    """
    with unhurt(report, "workflow"):
        prompt = {node: copy.deepcopy(graph.nodes[node]) for node in graph.nodes}  # the host converts values in it
        _, whole, _, of_nodes = await execution.validate_prompt("check", prompt, None)
        if whole is not None and not of_nodes:
            report.problem(f"workflow: {_short(whole['message'])}", "Export it again with Workflow > Export (API).")
        samplers = graph.all_of(*SAMPLERS)
        needed = graph.needed(*samplers)
        for node, found in of_nodes.items():
            heard = report.at(graph.titled(node)).unless(node not in needed)
            for error in found["errors"]:
                _tell(graph.titled(node), error, heard, node in samplers)


def _tell(title: str, error: Mapping[str, Any], report: Report, sampler: bool) -> None:
    name = (error.get("extra_info") or {}).get("input_name", "")
    label, remedy = f"{title}, {name}", REMEDIES.get(error["type"], "Look at this input of the node.")
    said = f"{error['message']}: {error['details']}"
    told = f"{label}: {_short(said)}"
    if error["type"] == "custom_validation_failed":  # ours have two lines
        told, _, second = str(error["details"]).removeprefix(f"{name} - ").partition("\n")
        remedy = second or remedy
    marks = (label, told) if sampler else (label, told, f"{title}:")  # a sampler's title may stand before any finding
    if not any(mark in found.what for mark in marks for found in report.findings):
        report.problem(told, remedy)


def _short(text: str) -> str:
    line = text.split("\n")[0].rstrip(".")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
