"""The check before anything is loaded: a prompt's nodes and its files' headers, in the host's own folders.

What is found and told is decided in `check/`; here are the host's lists, headers and the machine. Reads no weights.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import folder_paths

from ..check.cost import Machine
from ..check.graph import Graph
from ..check.report import Report
from ..check.settings import SAMPLERS
from ..check.workflow import check_sampler
from ..errors import InputError
from .headers import open_weight
from .machine import this_machine

log = logging.getLogger(__name__)


def look_over(prompt: Any, node: str | None = None, machine: Machine | None = None) -> Report:
    """All that can be told of a prompt (the host's DynamicPrompt).

    node: the sampler that asks, else all of them are looked at. machine: this one, its speed measured, if None.
    """
    graph = graph_of(prompt)
    whole = Report()
    samplers = [node] if node is not None and graph.kind(node) in SAMPLERS else graph.all_of(*SAMPLERS)
    if not samplers:
        whole.warn("workflow: it has no InfiniteTalk Sampler.", "Add one, or start from one of the templates.")
    machine = machine or this_machine()
    for sampler in samplers:
        report = Report()
        try:
            check_sampler(graph, sampler, locate_input, open_weight, machine, report)
        except Exception as error:  # whatever a strange file or graph does to the check, it must not stop what works
            log.exception("InfiniteTalk: the check of %s failed", graph.titled(sampler))
            report.warn(
                f"{graph.titled(sampler)}: the check could not be finished ({type(error).__name__}: {error}).",
                "It says nothing about the rest; ComfyUI's log has the details, please report them.",
            )
        whole.add(report, f"{graph.titled(sampler)}: " if len(samplers) > 1 else "")
    return whole


def graph_of(prompt: Any) -> Graph:
    """The nodes of the host's DynamicPrompt."""
    return Graph({name: prompt.get_node(name) for name in sorted(prompt.all_node_ids())})


def check_before_loading(prompt: Any, node: str) -> None:
    """What a sampler does before its inputs are made: InputError for what cannot work, the rest into the log."""
    report = look_over(prompt, node, this_machine(probe=False))
    report.refuse()
    for finding in report.findings:
        log.warning("InfiniteTalk: %s", finding)


def locate_input(name: str, label: str) -> Path:
    """A file of the host's input folder; with `name [output]` of the output folder. label: the node, for errors."""
    try:
        path = Path(folder_paths.get_annotated_filepath(name))
    except ValueError as error:  # it leads out of the folder
        raise InputError(
            f"{label}: {name[:80]!r} is not below the input folder.", "Choose a file of the list."
        ) from error
    if not path.is_file():
        raise InputError(f"{label}: {name[:80]} is not in the input folder.", "Upload it, or choose another one.")
    return path
