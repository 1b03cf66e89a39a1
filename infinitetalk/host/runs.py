"""The kept runs below the host's output folder, told in the node that asks."""

from __future__ import annotations

import folder_paths

from ..runs import removals
from ..runs_text import act
from .progress import say


def tell(action: str, run: str, confirm: bool, node_id: str | None) -> str:
    """Do one of runs_text.ACTIONS; its text, shown under the node too. Raises InputError."""
    text = act(folder_paths.get_output_directory(), action, run, confirm)
    say(text, node_id)
    return text


def runs_removed() -> int:
    """A number that changes when a run of this host is removed."""
    return removals(folder_paths.get_output_directory())
