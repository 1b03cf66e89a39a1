"""A table's prompts and references as the host has them: CONDITIONING from the text encoder, sockets by number.

Must not know windows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..table import Row, bind
from ..table_text import parse_table


def make_table(text: str, clip: Any, references: dict[int, Any], graph: str | None = None) -> tuple[Row, ...]:
    """The rows of a table's text; references: those connected, by number from 1.

    clip: a text encoder, as in `encode_prompts`; None when there is none. graph: digest of what made them. Raises
    InputError.
    """

    def encode(prompt: str) -> list:
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))

    rows = bind(parse_table(text), references, encode if clip is not None else None)
    return tuple(row._replace(overrides=replace(row.overrides, graph=graph)) for row in rows)
