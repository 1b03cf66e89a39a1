"""A workflow in API format as a value: its nodes, their links and widgets. Knows no node by name, and no host."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = object()  # a value that another node gives when it runs
# Inputs that pictures, sound or words come in at: what makes those is another job, of models of its own.
_MADE = re.compile(r"image|video|mask|latent|pixels|samples|frames|boxes|^audio$|^text$|string|^run$")


@dataclass(frozen=True)
class Graph:
    """nodes: id -> {"class_type", "inputs"}, as ComfyUI's API has them."""

    nodes: Mapping[str, Mapping[str, Any]]

    def kind(self, node: str | None) -> str:
        """The node's class, "" for no node."""
        return str(self.nodes[node].get("class_type", "")) if node is not None else ""

    def all_of(self, *kinds: str) -> list[str]:
        """Ids of the nodes of these classes."""
        return [node for node in self.nodes if self.kind(node) in kinds]

    def link(self, node: str | None, name: str) -> str | None:
        """Id of the node that is linked to an input, None for a widget's value or nothing."""
        value = self._inputs(node).get(name) if node is not None else None
        return value[0] if self._is_link(value) else None

    def value(self, node: str, name: str, default: Any = None) -> Any:
        """A widget's value, as the host gives it to the node: of the default's type; `default` when the node has none,
        UNKNOWN when another node gives it or it is of no such type."""
        value = self._inputs(node).get(name)
        if isinstance(value, (list, dict)):
            return UNKNOWN
        if value is None or default is None:
            return default if value is None else value
        try:
            value = type(default)(value)
        except (TypeError, ValueError, OverflowError):
            return UNKNOWN
        return value if not isinstance(value, float) or math.isfinite(value) else UNKNOWN

    def links(self, node: str) -> dict[str, str]:
        """Input -> id of the node that is linked to it."""
        found = {name: self.link(node, name) for name in self._inputs(node)}
        return {name: source for name, source in found.items() if source is not None}

    def upstream(self, node: str, *names: str, through: Callable[[str, str], bool] | None = None) -> list[str]:
        """The nodes that come in at these inputs, and all that they are made of, each once, the nearest first.

        What makes pictures, sound or words on the way does not belong to it. through: whether what is behind a node's
        input does; None: always.
        """
        found: dict[str, None] = {}
        waiting = [source for name in names if (source := self.link(node, name)) is not None]
        while waiting:
            source = waiting.pop(0)
            if source not in found:
                found[source] = None
                links = self.links(source).items()
                waiting += [
                    link
                    for name, link in links
                    if not _MADE.search(name) and (through is None or through(source, name))
                ]
        return list(found)

    def needed(self, *nodes: str) -> set[str]:
        """The nodes and everything that they are made of, pictures, sound and words too."""
        found, waiting = set(), list(nodes)
        while waiting:
            if (node := waiting.pop()) not in found:
                found.add(node)
                waiting += self.links(node).values()
        return found

    def along(self, node: str, name: str) -> Iterator[str]:
        """The node linked to an input, then the one linked to that one's input of the same name, and so on."""
        seen = {node}
        while (node := self.link(node, name)) is not None and node not in seen:
            seen.add(node)
            yield node

    def titled(self, node: str) -> str:
        """How a message names a node: its title or class, and its id."""
        meta = self.nodes[node].get("_meta")
        title = meta.get("title") if isinstance(meta, Mapping) else None
        return f"{title or self.kind(node)} (node {node})"

    def _inputs(self, node: str) -> Mapping[str, Any]:
        return self.nodes[node].get("inputs") or {}

    def _is_link(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in self.nodes
