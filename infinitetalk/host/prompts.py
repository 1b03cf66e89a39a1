"""Per-window prompts as host CONDITIONING: every entry carries when it is in force, and each window takes its own.

The mark is a value in the entry, so entries go through the host's own conditioning nodes with it. Must not know
windows' inputs or sampling.
"""

from __future__ import annotations

import node_helpers

from ..errors import InputError
from ..prompts import in_force, parse_prompts
from ..timeline import Window

PROMPT = "infinitetalk_prompt"  # the span of an entry, see infinitetalk/prompts.py; absent: for every window


def encode_prompts(clip, text: str) -> list:
    """CONDITIONING with an entry for every line of `text`, each text encoded once as the host's CLIPTextEncode does.

    A text of one line gives exactly what that node gives. Raises InputError.
    """
    lines = parse_prompts(text)
    if clip is None:
        raise InputError("clip: the connected loader has no text encoder.", "Use Load CLIP with umt5_xxl, type wan.")
    encoded = {}
    for line in lines:
        if line.text not in encoded:
            encoded[line.text] = clip.encode_from_tokens_scheduled(clip.tokenize(line.text))
    if len(lines) == 1:
        return encoded[lines[0].text]
    return [
        entry
        for line in lines
        for entry in node_helpers.conditioning_set_values(encoded[line.text], {PROMPT: line.span})
    ]


def for_window(conditioning: list, window: Window) -> list:
    """The entries of `conditioning` that hold for `window`: those meant for it and those without a mark."""
    return [entry for entry in conditioning if PROMPT not in entry[1] or in_force(entry[1][PROMPT], window)]
