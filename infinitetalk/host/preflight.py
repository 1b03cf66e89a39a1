"""The check before anything is loaded: a prompt's nodes and its files' headers, in the host's own folders.

What is found and told is decided in `check/`; here are the host's lists, headers and the machine. Reads no weights.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
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
    reports = {}
    for sampler in samplers:
        reports[sampler] = report = Report()
        with unhurt(report, graph.titled(sampler)):
            check_sampler(graph, sampler, locate_input, open_weight, machine, report)
    every = [report.findings for report in reports.values()]
    whole.findings += [one for one in (every[0] if every else ()) if all(one in findings for findings in every)]
    for sampler, report in reports.items():
        report.findings = [one for one in report.findings if one not in whole.findings]
        whole.add(report, f"{graph.titled(sampler)}: " if len(samplers) > 1 else "")
    return whole


@contextmanager
def unhurt(report: Report, title: str) -> Iterator[None]:
    """Whatever a strange file or graph does to the check, it must not stop what works: told and logged instead."""
    try:
        yield
    except Exception as error:
        log.exception("InfiniteTalk: the check of %s failed", title)
        report.warn(
            f"{title}: the check could not be finished ({type(error).__name__}: {str(error)[:160]}).",
            "It says nothing about the rest; ComfyUI's log has the details, please report them.",
        )


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
    if not name:
        raise InputError(f"{label}: no file is chosen.", "Upload one, or choose one of the list.")
    try:
        path = Path(folder_paths.get_annotated_filepath(name))
        found = path.is_file()
    except OSError as error:
        raise InputError(f"{label}: {name[:80]} cannot be a file ({error.strerror}).", "Choose another one.") from error
    except ValueError as error:  # it leads out of the folder
        raise InputError(
            f"{label}: {name[:80]!r} is not below the input folder.", "Choose a file of the list."
        ) from error
    if not found:
        raise InputError(f"{label}: {name[:80]} is not in the input folder.", "Upload it, or choose another one.")
    return path
