"""What `bench quality` films: people and voices that no training has seen, and the drawn truth of each.

Scenes come from seeds that training does not use, speech from the test split of training/speech.py. Knows no model
and no host.

Shapes: N samples at 16 kHz, F frames at 25 a second (640 samples), P people, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from talker.draw import draw
from talker.scene import Scene, person_boxes, sample_scenes, search_boxes
from talker.truth import SAMPLES, energy_of
from training.speech import Corpus, make_corpus

SEED = 2_500_000  # and upwards: training's are elsewhere
FPS = 25
WINDOW = 81  # frames of one window
SIZES = {1: (128, 128), 2: (128, 192), 3: (128, 256)}  # people: (H, W)
SPEECH_SECONDS = 900  # of the held-out corpus
SPOKEN = 0.5  # least share of a line's frames in which the mouth is open
DRAWN_AT_ONCE = 27  # frames


@dataclass(frozen=True)
class Line:
    """A stretch of a recording, and what a mouth does to it.

    recording: float32 [N], the whole of it as the encoder hears it; name: which one; start: first frame of the
    stretch; opening, width: float32 [F] of the stretch, 0..1.
    """

    recording: torch.Tensor
    name: str
    start: int
    opening: np.ndarray
    width: np.ndarray

    @property
    def frames(self) -> int:
        return len(self.opening)

    @property
    def wave(self) -> torch.Tensor:
        """float32 [F * 640], the sound of the stretch."""
        return self.recording[self.start * SAMPLES : (self.start + self.frames) * SAMPLES]


@dataclass(frozen=True)
class Case:
    """One clip to be made: a scene of one picture (B = 1) and what each of its people says; None: nothing."""

    scene: Scene
    lines: tuple[Line | None, ...]

    @property
    def frames(self) -> int:
        return next(line.frames for line in self.lines if line is not None)

    @property
    def truth(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(opening, width) [F] of each person; nobody's mouth moves who says nothing."""
        shut = np.zeros(self.frames, np.float32), np.full(self.frames, 0.5, np.float32)
        return [shut if line is None else (line.opening, line.width) for line in self.lines]

    @property
    def picture(self) -> np.ndarray:
        """The reference: everybody at time 0 with a shut mouth, uint8 [H, W, 3]."""
        shut = torch.zeros(1, self.scene.people, 1)
        return _pixels(draw(self.scene, torch.zeros(1), shut, shut + 0.5, shut))[0]

    @property
    def video(self) -> np.ndarray:
        """The case as it should look, uint8 [F, H, W, 3]."""
        opening, width = (torch.from_numpy(np.stack(each))[None] for each in zip(*self.truth, strict=True))
        times, energy, parts = torch.arange(self.frames) / FPS, energy_of(opening), []
        for begin in range(0, self.frames, DRAWN_AT_ONCE):
            part = slice(begin, begin + DRAWN_AT_ONCE)
            parts.append(draw(self.scene, times[part], opening[..., part], width[..., part], energy[..., part]))
        return np.concatenate([_pixels(part) for part in parts])

    @property
    def boxes(self) -> np.ndarray:
        """Where each mouth is, [P, 4], or [P, F, 4] with a moving camera."""
        if not (self.scene.camera.pan.any() or self.scene.camera.zoom.any()):
            return search_boxes(self.scene)[0].numpy()
        return search_boxes(self.scene, torch.arange(self.frames) / FPS)[0].numpy()

    @property
    def people(self) -> np.ndarray:
        """Where each person is in the picture, [P, 4]."""
        return person_boxes(self.scene)[0].numpy()


def _pixels(pictures: torch.Tensor) -> np.ndarray:
    """float [1, T, 3, H, W] in 0..1 -> uint8 [T, H, W, 3]."""
    return (pictures[0].permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy()


@dataclass(frozen=True)
class Voices:
    """Lines out of a corpus that was not trained on."""

    corpus: Corpus

    @classmethod
    def of(cls, folder: Path) -> Voices:
        """The held-out corpus, made once in `folder`."""
        path = folder / "held_out_speech.safetensors"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make_corpus(SPEECH_SECONDS, SEED, "test").save(path)
        return cls(Corpus.load(path))

    def line(self, number: int, take: int = 0, frames: int = WINDOW) -> Line:
        """The `take`-th stretch of the `number`-th voice that is spoken for half of its time or more."""
        piece = self.corpus.piece(number % len(self.corpus))
        chance = np.random.default_rng([SEED, number, take, frames])
        starts = chance.permutation(len(piece.opening) - frames + 1)
        shares = [float((piece.opening[at : at + frames] > 0).float().mean()) for at in starts]
        fitting = [at for at, share in zip(starts, shares, strict=True) if share >= SPOKEN]
        return self._cut(number, int((fitting or starts)[0]), frames)

    def silences(self, count: int, frames: int = WINDOW) -> list[Line]:
        """Stretches in which nobody speaks for half of the time or more, the loudest first: noise and music."""
        found = []
        for number in range(len(self.corpus)):
            piece = self.corpus.piece(number)
            level = piece.wave.view(-1, SAMPLES).square().mean(dim=1).numpy()
            shut = piece.opening.numpy() <= 0
            best = max(
                range(0, len(shut) - frames + 1, 5),
                key=lambda at: (level[at : at + frames] * shut[at : at + frames]).sum(),
            )
            here = slice(best, best + frames)
            if shut[here].mean() >= 0.5:
                found.append((float((level[here] * shut[here]).sum()), number, best))
        return [self._cut(number, at, frames) for _, number, at in sorted(found, reverse=True)[:count]]

    def long_line(self, number: int, frames: int) -> Line:
        """Whole recordings one after the other, `frames` long in all: a recording of its own."""
        pieces, length, at = [], 0, number
        while length < frames:
            pieces.append(self.corpus.piece(at % len(self.corpus)))
            length, at = length + len(pieces[-1].opening), at + 1
        wave, opening, width = (
            torch.cat([getattr(piece, name) for piece in pieces]) for name in ("wave", "opening", "width")
        )
        wave = wave[: frames * SAMPLES]
        return Line(wave, f"long {number} {frames}", 0, opening[:frames].numpy(), width[:frames].numpy())

    def _cut(self, number: int, start: int, frames: int) -> Line:
        number %= len(self.corpus)
        piece, part = self.corpus.piece(number), slice(start, start + frames)
        return Line(piece.wave, f"piece {number}", start, piece.opening[part].numpy(), piece.width[part].numpy())


def scenes(count: int, people: int, tag: int, camera: int | list[int] = 0) -> list[Scene]:
    """`count` pictures of `people` people side by side; the first ones are the same whatever the count.

    tag: other numbers, other people. camera: index of CAMERAS, of all or of each.
    """
    cameras = [camera] * count if isinstance(camera, int) else camera
    size = SIZES[people]
    return [sample_scenes(1, people, size, SEED + 1000 * tag + n, torch.tensor([cameras[n]])) for n in range(count)]


def speaking(voices: Voices, count: int, people: int, tag: int, idle: bool = False) -> list[Case]:
    """Cases in which everybody speaks at once, or, with `idle`, all but one, each in turn."""
    cases = []
    for n, scene in enumerate(scenes(count, people, tag)):
        apart = max(1, len(voices.corpus) // people)  # other voices in one picture
        lines = [voices.line(n + person * apart, person) for person in range(people)]
        if idle:
            lines[n % people] = None
        cases.append(Case(scene, tuple(lines)))
    return cases
