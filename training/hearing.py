"""The speech of a corpus as the DiT hears it: encoder features beside the mouth's truth, cut to one length.

Real speech has silences of all lengths and people who say nothing, so zeros are put into some pieces and behind others.
Must not know pictures or the DiT.

Shapes: P pieces of SECONDS, F frames, L encoder layers, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.functional import pad

from talker.truth import SAMPLES, mouth

from .bank import Speech
from .excerpts import NOTHING
from .speech import Corpus
from .train_wav2vec import encode_batch, load_encoder

FRAMES = 500  # of a cut piece: 20 s
HOLES, HOLE = 0.5, (15, 250)  # share of the pieces with a silence put in; its frames
IDLE_EVERY, IDLE = 8, 560  # each eighth piece is followed by so many silent frames, which make silent pieces


def hear(corpus: Path, encoder: Path, device: torch.device, seed: int) -> Speech:
    """All of a corpus through the encoder of a folder."""
    model = load_encoder(encoder).to(device)
    parts: dict[str, list[torch.Tensor]] = {"features": [], "opening": [], "width": []}
    for wave, opening, width in pieces(Corpus.load(corpus), seed):
        with torch.no_grad():
            heard = encode_batch(model, wave[None].to(device))[0].half()
        frames = min(len(heard), len(opening))
        for begin in {*range(0, frames - FRAMES + 1, FRAMES), frames - FRAMES}:
            for name, values in (("features", heard), ("opening", opening), ("width", width)):
                parts[name].append(values[begin : begin + FRAMES].to(device))
    joined = {name: torch.stack(values) for name, values in parts.items()}
    return Speech(**joined, silent=(joined["opening"] == 0).all(dim=1))


def pieces(corpus: Corpus, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(wave, opening, width) of each piece and of those with silences in them or behind them."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    nothing = torch.zeros(FRAMES + 1)
    yield torch.zeros((FRAMES + 1) * SAMPLES), nothing, nothing + 0.5
    for n in range(len(corpus)):
        wave, level, centroid = corpus.sound(n)
        if n % IDLE_EVERY == 0:
            around = (IDLE, 0) if n % (2 * IDLE_EVERY) == 0 else (0, IDLE)
            wave = pad(wave, tuple(SAMPLES * count for count in around))
            level, centroid = pad(level, around, value=NOTHING), pad(centroid, around)
        elif torch.rand((), generator=generator) < HOLES:
            length = whole(*HOLE)
            begin = whole(0, len(level) - length)
            wave, level = wave.clone(), level.clone()
            wave[begin * SAMPLES : (begin + length) * SAMPLES] = 0
            level[begin : begin + length] = NOTHING
        yield wave, *mouth(level, centroid)
