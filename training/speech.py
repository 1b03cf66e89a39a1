"""Made-up speech with what a mouth does to it: python -m training.speech OUT.safetensors --seconds 600 --split train

Each piece of 20 to 60 s is one voice that reads sentences with pauses, over a noise floor, with noise or music in
between to which nobody opens the mouth, and is brought to -23 LUFS by the product's own rule. A piece depends on the
seed, the split and its number alone. Knows no encoder and no picture.

Shapes: N samples at 16 kHz, F = N / 640 frames, P pieces.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from infinitetalk.audio import loudness_gain
from infinitetalk.sound import MemorySound
from talker.truth import SAMPLES, measures, mouth

from .acoustics import THROATS, recorded, throat
from .espeak import RATE, TEST_VARIANTS, TRAIN_VARIANTS, Voice, is_fresh, say
from .noises import any_sound, noise
from .sentences import languages, sentence

SPLITS = ("train", "test")
TENSORS = ("wave", "level", "centroid", "starts")  # of a corpus
PIECE = (20.0, 54.0)  # seconds after which a piece ends with its sentence
PAUSE, LONG_PAUSE, LONG_SHARE = (0.15, 1.3), (2.0, 3.5), 0.05
OTHER, OTHER_SHARE, OTHER_LEVEL = (1.5, 5.0), 0.05, (-50.0, -32.0)  # seconds, how often after a sentence, dB
SENTENCE_GAIN = (-4.0, 3.0)  # dB
NOISE_FLOOR = (-75.0, -50.0)  # dB of full scale
TRIES = 4  # at a piece


@dataclass(frozen=True)
class Piece:
    """One voice for a while. wave: float32 [N]; opening, width: float32 [F], 0..1, of the speech in it."""

    wave: torch.Tensor
    opening: torch.Tensor
    width: torch.Tensor
    voice: str


@dataclass(frozen=True)
class Corpus:
    """Pieces one behind the other, each a whole number of frames long.

    wave: int16 [N]. level [F], centroid [F]: float32, of the speech without noise and music (but
    with its room), see talker.truth.measures. starts: int64 [P + 1], first frame of each piece, and F. voices: P names.
    """

    wave: torch.Tensor
    level: torch.Tensor
    centroid: torch.Tensor
    starts: torch.Tensor
    voices: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.voices)

    def sound(self, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Piece n as wave float32 [N] in -1..1, and level [F] and centroid [F] of the speech in it."""
        begin, end = self.starts[n : n + 2].tolist()
        wave = self.wave[begin * SAMPLES : end * SAMPLES].float() / 32767
        return wave, self.level[begin:end], self.centroid[begin:end]

    def piece(self, n: int) -> Piece:
        """Piece n with its mouth."""
        begin, end = self.starts[n : n + 2].tolist()
        return Piece(self.sound(n)[0], self.opening[begin:end], self.width[begin:end], self.voices[n])

    @property
    def opening(self) -> torch.Tensor:
        """float32 [F], 0..1."""
        return self._mouth[0]

    @property
    def width(self) -> torch.Tensor:
        """float32 [F], 0..1."""
        return self._mouth[1]

    @cached_property
    def _mouth(self) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = self.starts.diff().tolist()
        measured = zip(self.level.split(lengths), self.centroid.split(lengths), strict=True)
        opening, width = zip(*(mouth(*piece) for piece in measured), strict=True)
        return torch.cat(opening), torch.cat(width)

    def to(self, device: torch.device | str) -> Corpus:
        """The same corpus in a device's memory."""
        tensors = {name: getattr(self, name).to(device) for name in TENSORS}
        return Corpus(**tensors, voices=self.voices)

    def save(self, path: str | Path) -> None:
        """As one safetensors file; its folder is made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(self, name) for name in TENSORS}
        save_file(tensors, path, {"voices": json.dumps(self.voices)})

    @classmethod
    def load(cls, path: str | Path) -> Corpus:
        """What `save` wrote."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return cls(**tensors, voices=tuple(json.loads(file.metadata()["voices"])))


def make_corpus(seconds: float, seed: int = 0, split: str = "train", workers: int = 16) -> Corpus:
    """At least `seconds` of speech; the last piece is as long as any.

    workers: processes at a time; the result does not depend on it. Every piece has a process of its own, a copy of this
    one, because the voices remember what they said before. Raises RuntimeError where this one has spoken already, or
    where the voice's program broke down TRIES times at one piece.
    """
    if not is_fresh():
        raise RuntimeError("A voice has spoken in this process, so the corpus would not be the one of its seed.")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    lengths = []
    while sum(lengths) < seconds:
        lengths.append(float(rng.uniform(*PIECE)))
    jobs = [(seed, split, n, length) for n, length in enumerate(lengths)]
    workers = max(1, min(workers, len(jobs), os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as threads:  # each waits for its process
        made = list(threads.map(_in_a_process, jobs))
    waves, levels, centroids, voices = zip(*made, strict=True)
    frames = torch.tensor([0] + [len(level) for level in levels])
    together = [torch.cat([torch.from_numpy(part) for part in parts]) for parts in (waves, levels, centroids)]
    return Corpus(*together, frames.cumsum(0), voices)


def _in_a_process(job: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """`_piece` in a copy of this process. espeak-ng breaks down now and then (SIGSEGV), and not there again."""
    forks = multiprocessing.get_context("fork")
    for _ in range(TRIES):
        ours, theirs = forks.Pipe(duplex=False)
        process = forks.Process(target=_send_piece, args=(theirs, job))
        process.start()
        theirs.close()
        try:
            made = ours.recv()
        except EOFError:  # it is gone
            made = None
        process.join()
        if isinstance(made, Exception):
            raise made
        if made is not None:
            return made
    raise RuntimeError(f"espeak-ng broke down {TRIES} times at piece {job[2]} of seed {job[0]}.\nUse another seed.")


def _send_piece(connection: Connection, job: tuple) -> None:
    torch.set_num_threads(1)
    try:
        connection.send(_piece(*job))
    except Exception as error:  # noqa: BLE001  # it is raised where it was asked for
        connection.send(error)


def _piece(seed: int, split: str, number: int, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """wave int16 [N], level [F], centroid [F], name of the voice."""
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    voice = _voice(split, rng)
    speech, other = _read(voice, split, seconds, rng)
    floor = 10 ** (rng.uniform(*NOISE_FLOOR) / 20)
    clean = torch.from_numpy(recorded(speech, rng))
    clean = clean * loudness_gain(MemorySound(clean[None, None], RATE))[1]
    mixed = clean + torch.from_numpy((other + floor * noise(len(speech), rng)).astype(np.float32))
    gain = loudness_gain(MemorySound(mixed[None, None], RATE))[1]
    level, centroid = measures(clean * gain)
    wave = (mixed * gain * 32767).round().clamp(-32767, 32767).short()
    return wave.numpy(), level.numpy(), centroid.numpy(), voice.name


def _voice(split: str, rng: np.random.Generator) -> Voice:
    variants = TRAIN_VARIANTS if split == "train" else TEST_VARIANTS
    language, variant = str(rng.choice(languages(split))), str(rng.choice(variants))
    speed, pitch, melody = rng.integers(110, 231), rng.integers(20, 81), rng.integers(25, 91)
    return Voice(language, variant, int(speed), int(pitch), int(melody))


def _read(voice: Voice, split: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is spoken, and what else is heard: float32 and float64 [N], N a whole number of frames."""
    spoken, others, at = [], [], 0  # (first sample, wave)

    def pause(low: float, high: float) -> int:
        return int(rng.uniform(low, high) * RATE)

    size = int(rng.choice(THROATS))
    at += pause(0.0, 0.8)
    while at < seconds * RATE:
        said = throat(say(voice, sentence(voice.language, split, rng)), size)
        spoken.append((at, said * 10 ** (rng.uniform(*SENTENCE_GAIN) / 20)))
        at += len(said) + (pause(*LONG_PAUSE) if rng.random() < LONG_SHARE else pause(*PAUSE))
        if rng.random() < OTHER_SHARE:
            length = pause(*OTHER)
            others.append((at, any_sound(length, rng) * 10 ** (rng.uniform(*OTHER_LEVEL) / 20)))
            at += length + pause(*PAUSE)
    total = -(-at // SAMPLES) * SAMPLES
    return _placed(spoken, total).astype(np.float32), _placed(others, total)


def _placed(parts: list[tuple[int, np.ndarray]], total: int) -> np.ndarray:
    wave = np.zeros(total)
    for start, part in parts:
        wave[start : start + len(part)] = part
    return wave


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a corpus of synthetic speech with the mouth's movements.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=16)
    given = parser.parse_args()
    begun = time.monotonic()
    corpus = make_corpus(given.seconds, given.seed, given.split, given.workers)
    corpus.save(given.out)
    open_share = (corpus.opening > 0).float().mean().item()
    print(
        f"{len(corpus)} pieces, {len(corpus.level) / 25:.0f} s, mouth open {open_share:.0%} of the time, "
        f"{len(set(corpus.voices))} voices, made in {time.monotonic() - begun:.1f} s"
    )


if __name__ == "__main__":
    main()
