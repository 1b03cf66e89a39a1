"""Speakers bound to a reference: regions checked first, then the voices arranged. The Speakers node's one call.

Everything that can be refused without the audio encoder is refused before it runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from ..config import SIZE_STEP
from ..errors import InputError
from ..region_preview import draw_regions
from ..regions import Canvas, assign
from ..speakers import MAX_SPEAKERS, Speaker, Speakers, join, title
from .kept import settled
from .progress import say

EVERYBODY_ELSE = Speaker(name="everybody else")


def bind(
    reference, speakers: Sequence[Speaker], order: str, node_id: str | None = None
) -> tuple[Speakers, torch.Tensor]:
    """(features of the conversation, the reference picture with the regions drawn in, [H, W, 3]).

    reference: of a picture or a video; notes for the user go under the node and into the log. Raises InputError
    for speakers, regions or an order that cannot work.
    """
    if not 1 <= len(speakers) <= MAX_SPEAKERS:
        raise InputError(
            f"speakers: {len(speakers)} are connected, the node takes 1 to {MAX_SPEAKERS}.",
            "Connect InfiniteTalk Speaker nodes; people who say nothing can share the background.",
        )
    titles = [title(number, speaker) for number, speaker in enumerate(speakers)]
    canvas = Canvas(tuple(reference.source), (reference.height, reference.width))
    regions, notes = assign([speaker.region for speaker in speakers], titles, canvas)
    heard = list(speakers)
    if regions is not None and len(speakers) == 1:
        heard.append(EVERYBODY_ELSE)
    voices, mix = join(heard, order)
    sounds = [one.features.sound.digest for one in heard if one.features]
    sound = settled(mix, "mix", f"{sounds} {[voice.identity for voice in voices]} {order}")
    if notes:
        for note in notes:
            logging.info("InfiniteTalk Speakers: %s", note)
        say("\n".join(notes), node_id)
    if regions is None:
        persons = torch.ones(1, reference.height // SIZE_STEP, reference.width // SIZE_STEP)
    else:
        persons = regions[: len(speakers)]
    labels = [_label(number, speaker) for number, speaker in enumerate(speakers)]
    return Speakers(voices, regions, sound), draw_regions(reference.picture, persons, labels)


def _label(number: int, speaker: Speaker) -> str:
    silent = "(silent)" if speaker.features is None else ""
    return " ".join(part for part in (str(number + 1), speaker.name, silent) if part)
