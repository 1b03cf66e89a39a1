"""For how many voices an adapter was trained, by what the user chose or by the file's name.

Adapters for one and for several voices have the same tensors: nothing else can tell. Knows no model and no host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BY_NAME = "from the name"
SINGLE, MULTI = "single", "multi"
TRAINED_FOR = (BY_NAME, SINGLE, MULTI)
_NAMED = {SINGLE: re.compile(r"single"), MULTI: re.compile(r"multi(?!talk)")}
_VOICES = {SINGLE: "one voice", MULTI: "several voices", "": "an unknown number of voices"}
_TWINS = {"multitalk": "MultiTalk", "skyreels": "SkyReels V3"}  # other models of the very same tensors


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


def warning(note: AdapterNote | None, voices: int) -> str:
    """What to tell when several voices meet an adapter for one; "" when there is nothing to tell."""
    if voices < 2 or note is None or note.trained_for != SINGLE:
        return ""
    return (
        f"{voices} voices, but the adapter {note.file} is for one {'as chosen' if note.chosen else 'by its name'}: "
        "lips may follow the wrong voice; take a multi one."
    )
