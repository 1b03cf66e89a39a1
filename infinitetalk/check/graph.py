"""A workflow in API format as a value: its nodes, their links and widgets. Knows no node by name, and no host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
        return self.nodes[node]["class_type"] if node is not None else ""

    def all_of(self, *kinds: str) -> list[str]:
        """Ids of the nodes of these classes."""
        return [node for node in self.nodes if self.kind(node) in kinds]

    def link(self, node: str | None, name: str) -> str | None:
        """Id of the node that is linked to an input, None for a widget's value or nothing."""
        value = self.nodes[node]["inputs"].get(name) if node is not None else None
        return value[0] if self._is_link(value) else None

    def value(self, node: str, name: str, default: Any = None) -> Any:
        """A widget's value; `default` when the node has none, UNKNOWN when another node gives it."""
        value = self.nodes[node]["inputs"].get(name, default)
        return UNKNOWN if self._is_link(value) else value

    def links(self, node: str) -> dict[str, str]:
        """Input -> id of the node that is linked to it."""
        found = {name: self.link(node, name) for name in self.nodes[node]["inputs"]}
        return {name: source for name, source in found.items() if source is not None}

    def upstream(self, node: str, *names: str) -> list[str]:
        """The nodes that come in at these inputs, and all that they are made of, each once, the nearest first.

        What makes pictures, sound or words on the way does not belong to it.
        """
        found: dict[str, None] = {}
        waiting = [source for name in names if (source := self.link(node, name)) is not None]
        while waiting:
            source = waiting.pop(0)
            if source not in found:
                found[source] = None
                waiting += [link for name, link in self.links(source).items() if not _MADE.search(name)]
        return list(found)

    def along(self, node: str, name: str) -> Iterator[str]:
        """The node linked to an input, then the one linked to that one's input of the same name, and so on."""
        seen = {node}
        while (node := self.link(node, name)) is not None and node not in seen:
            seen.add(node)
            yield node

    def titled(self, node: str) -> str:
        """How a message names a node: its title or class, and its id."""
        title = self.nodes[node].get("_meta", {}).get("title") or self.kind(node)
        return f"{title} (node {node})"

    def _is_link(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in self.nodes
