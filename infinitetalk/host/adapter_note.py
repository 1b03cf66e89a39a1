"""What the user chose as the adapter, kept on the MODEL and told. Must not know sampling or loading."""

from __future__ import annotations

import logging

from ..model.trained_for import AdapterNote, warning
from .progress import say

KEY = "infinitetalk_adapter"

log = logging.getLogger(__name__)


def keep_note(model, note: AdapterNote, node_id: str | None, more: str = "") -> None:
    """Put the note on `model`, a clone of the caller's own, and tell it under the node and in the log."""
    model.set_attachments(KEY, note)
    twin = f"By its name it is of {note.twin}, which was trained for another sampling." if note.twin else ""
    told = " ".join(part for part in (f"{note}.", twin, more) if part)
    log.log(logging.WARNING if twin else logging.INFO, "InfiniteTalk adapter: %s", told)
    say(told, node_id)


def voices_warning(model, voices: int) -> str:
    """What to tell when several voices meet an adapter for one; "" when there is nothing to tell."""
    return warning(model.get_attachment(KEY), voices)
