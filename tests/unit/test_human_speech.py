"""Joining recordings to pieces, on stand-ins for the downloaded ones."""

from __future__ import annotations

import av
import numpy as np
import pytest

from bench import human_speech
from bench.human_speech import RATE, VOICES, pieces


def record(path, seconds: float) -> None:
    """A tone as the packages hold speech: G.722, 16 kHz."""
    samples = (8000 * np.sin(0.2 * np.arange(int(seconds * RATE)))).astype(np.int16)
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def voice(tmp_path, monkeypatch):
    monkeypatch.setattr(human_speech, "KEPT", tmp_path)
    sounds = tmp_path / VOICES[0].package / "usr/share/asterisk/sounds/somebody"
    sounds.mkdir(parents=True)
    for n in range(12):
        record(sounds / f"sentence{n}.g722", 2.5 + 0.1 * n)
    for name, seconds in (("beep", 3), ("ascending-2tone", 3), ("tt-monkeys", 3), ("word", 0.4), ("menu", 30)):
        record(sounds / f"{name}.g722", seconds)
    (sounds / "nothing.g722").touch()
    return VOICES[0]


def test_pieces_are_of_whole_sentences_each_used_once(voice):
    made = pieces(voice, 3)
    names = [name for piece in made for name in piece.prompts]
    assert len(set(names)) == len(names) and all(name.startswith("sentence") for name in names)
    for piece in made:
        assert 8 * RATE <= len(piece.wave) <= 12 * RATE
        assert piece.wave[0] == piece.wave[-1] == 0 and 0.2 < piece.wave.abs().max() < 0.3
    assert [piece.prompts for piece in made] == [piece.prompts for piece in pieces(voice, 3)]
    assert made[0].prompts != pieces(voice, 3, seed=1)[0].prompts


def test_more_than_there_is_cannot_be_had(voice):
    with pytest.raises(IndexError):
        pieces(voice, 9)
