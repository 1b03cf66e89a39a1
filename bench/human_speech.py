"""Real people's speech under free licences: python -m bench.human_speech [FOLDER]

Fetches the spoken prompts of a telephone exchange from Debian (apt-get on a Debian or Ubuntu machine, nothing is
installed and no rights are needed), keeps them in .dev/, and joins them to pieces of 8 to 12 s with short pauses. They
are wide-band recordings (G.722, 16 kHz) by four people in five languages, unlike anything the small model was trained
on. Nothing of it belongs into the repository: the licences ask for attribution and, mostly, for the same licence.
With FOLDER the pieces of each voice are written there as WAV files. Knows no model.

Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".dev" / "human_speech"
RATE = 16_000
SECONDS = (8.0, 12.0)  # of a piece
PAUSE = (0.25, 0.8)  # seconds between two prompts
PROMPT = (0.8, 9.0)  # seconds: single words and whole menus are left out
NO_SPEECH = ("tone", "beep", "tt-")  # in the names of jingles, beeps and screeching monkeys


class NotFetched(Exception):
    """The recordings are not here and could not be had."""


@dataclass(frozen=True)
class Voice:
    """One speaker's recordings; the facts are those of the package's copyright file."""

    language: str
    speaker: str
    licence: str

    @property
    def package(self) -> str:
        return f"asterisk-core-sounds-{self.language}-g722"


VOICES = (
    Voice("en", "Allison Smith (f)", "CC-BY-SA-3.0"),
    Voice("es", "Allison Smith, in Spanish (f)", "CC-BY-SA-3.0"),
    Voice("fr", "June Wallack (f)", "CC-BY-SA-3.0"),
    Voice("it", "Carlo Flora (m)", "CC-BY-3.0"),
    Voice("ru", "provided by Maxim Topal, ivrvoice.ru (f)", "CC-BY-3.0"),
)


@dataclass(frozen=True)
class HumanPiece:
    """wave: float32 [N], as loud as it was recorded. prompts: names of the recordings in it, in order."""

    wave: torch.Tensor
    voice: Voice
    prompts: tuple[str, ...]


def pieces(voice: Voice, count: int, seed: int = 0) -> list[HumanPiece]:
    """`count` pieces of one voice; no recording is used twice."""
    rng = np.random.default_rng([seed, VOICES.index(voice)])
    files = [file for file in sorted(fetch(voice).glob("*.g722")) if not any(part in file.name for part in NO_SPEECH)]
    waiting = [files[n] for n in rng.permutation(len(files))]
    return [_joined(voice, waiting, rng) for _ in range(count)]


def fetch(voice: Voice) -> Path:
    """The folder of a voice's recordings; downloaded and unpacked when it is not there yet."""
    folder = KEPT / voice.package
    if not folder.is_dir():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as place:
            subprocess.run(["apt-get", "download", "-qq", voice.package], cwd=place, check=True)
            (archive,) = Path(place).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", str(archive), "unpacked"], cwd=place, check=True)
            os.replace(Path(place) / "unpacked", folder)
    (sounds,) = (folder / "usr/share/asterisk/sounds").iterdir()
    return sounds


def _joined(voice: Voice, waiting: list[Path], rng: np.random.Generator) -> HumanPiece:
    """One piece; what it uses is taken from the files that are waiting."""
    parts, names, late, length = [_pause(rng)], [], [], 0.0
    while length < SECONDS[0]:
        file = waiting.pop()  # an IndexError here: more pieces were asked for than the voice has recordings for
        spoken = _decoded(file)
        if not PROMPT[0] <= len(spoken) / RATE <= PROMPT[1]:
            continue
        if length + len(spoken) / RATE > SECONDS[1] - PAUSE[1]:
            late.append(file)
            continue
        parts += [spoken, _pause(rng)]
        names.append(file.stem)
        length = sum(map(len, parts)) / RATE
    waiting += late
    return HumanPiece(torch.from_numpy(np.concatenate(parts)), voice, tuple(names))


def _pause(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(int(rng.uniform(*PAUSE) * RATE), np.float32)


def _decoded(file: Path) -> np.ndarray:
    """float32 [N]; nothing for the few empty files."""
    with av.open(str(file), format="g722") as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
        assert not frames or stream.rate == RATE
    return np.concatenate([np.zeros(0, np.int16), *frames]).astype(np.float32) / 32768


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch freely licensed human speech and join it to short pieces.")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=4, help="pieces of each voice")
    given = parser.parse_args()
    for voice in VOICES:
        for n, piece in enumerate(pieces(voice, given.count)):
            print(f"{voice.language} {n}: {len(piece.wave) / RATE:.1f} s, {voice.speaker}, {voice.licence},",
                  f"from Debian's {voice.package}: {', '.join(piece.prompts)}")  # fmt: skip
            if given.folder:
                given.folder.mkdir(parents=True, exist_ok=True)
                _write(given.folder / f"{voice.language}{n}.wav", piece.wave)


def _write(path: Path, samples: torch.Tensor) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).round().short().numpy().tobytes())


if __name__ == "__main__":
    main()
