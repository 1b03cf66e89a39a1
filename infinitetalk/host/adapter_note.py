"""What the user chose as the adapter, kept on the MODEL: which file, and for how many voices it was trained.

Adapters for one and for several voices have the same tensors: only the file's name or the user can tell. Must not
know sampling or loading.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from .progress import say

KEY = "infinitetalk_adapter"
BY_NAME = "from the name"
SINGLE, MULTI = "single", "multi"
TRAINED_FOR = (BY_NAME, SINGLE, MULTI)
_NAMED = {SINGLE: re.compile(r"single"), MULTI: re.compile(r"multi(?!talk)")}
_VOICES = {SINGLE: "one voice", MULTI: "several voices", "": "an unknown number of voices"}

_TWINS = {"multitalk": "MultiTalk", "skyreels": "SkyReels V3"}  # other models of the very same tensors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterNote:
    """file: as chosen; trained_for: SINGLE, MULTI or "" where nobody knows; chosen: the user said so."""

    file: str
    trained_for: str
    chosen: bool

    def __str__(self):
        source = "as chosen" if self.chosen else "by its name" if self.trained_for else "its name does not tell"
        return f"{self.file}: trained for {_VOICES[self.trained_for]} ({source})"

    @property
    def twin(self) -> str:
        """The model of the very same tensors that this file is of by its name; "" for InfiniteTalk's."""
        name = self.file.lower()
        return next((twin for part, twin in _TWINS.items() if part in name and "infinite" not in name), "")


def note_of(file: str, trained_for: str) -> AdapterNote:
    """Of an adapter's file, its folders included, and a choice of TRAINED_FOR."""
    if trained_for != BY_NAME:
        return AdapterNote(file, trained_for, True)
    found = [kind for kind, named in _NAMED.items() if named.search(file.lower())]
    return AdapterNote(file, found[0] if len(found) == 1 else "", False)


def keep_note(model, note: AdapterNote, node_id: str | None, more: str = "") -> None:
    """Put the note on `model`, a clone of the caller's own, and tell it under the node and in the log."""
    model.set_attachments(KEY, note)
    twin = f"By its name it is of {note.twin}, which was trained for another sampling." if note.twin else ""
    told = " ".join(part for part in (f"{note}.", twin, more) if part)
    log.log(logging.WARNING if twin else logging.INFO, "InfiniteTalk adapter: %s", told)
    say(told, node_id)


def voices_warning(model, voices: int) -> str:
    """What to tell when several voices meet an adapter for one; "" when there is nothing to tell."""
    note = model.get_attachment(KEY)
    if voices < 2 or note is None or note.trained_for != SINGLE:
        return ""
    return (
        f"{voices} voices, but the adapter {note.file} is for one {'as chosen' if note.chosen else 'by its name'}: "
        "lips may follow the wrong voice; take a multi one."
    )
