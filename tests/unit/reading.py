"""Reading a written video back, for the tests of everything that writes one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]


def alone(code: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run code in a process of its own, for what would harm this one."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@dataclass(frozen=True)
class Read:
    """times: of the frames, s; pixels: float RGB 0..255 [F, H, W, 3] as the host decodes them; picture, sound:
    stated durations, s; samples: [C, T], empty without sound; rate: Hz; tags: of the container."""

    times: list[Fraction]
    pixels: np.ndarray
    picture: Fraction
    sound: Fraction
    samples: np.ndarray
    rate: int
    tags: dict[str, str]

    @property
    def click(self) -> int:
        """Index of the loudest sample of the first channel."""
        return int(np.abs(self.samples[0]).argmax())


def read(path: Path | str) -> Read:
    with av.open(str(path)) as file:
        picture, tags = file.streams.video[0], dict(file.metadata)
        frames = [(frame.pts * frame.time_base, frame.to_ndarray(format="gbrpf32le")) for frame in file.decode(picture)]
        length = picture.duration * picture.time_base
    samples, sound, rate = np.zeros((0, 0)), Fraction(0), 0
    with av.open(str(path)) as file:
        if file.streams.audio:
            stream = file.streams.audio[0]
            sound, rate = stream.duration * stream.time_base, stream.rate
            samples = np.concatenate([frame.to_ndarray() for frame in file.decode(stream)], axis=1)
    pixels = np.stack([pixels for _, pixels in frames]) * 255
    return Read([time for time, _ in frames], pixels, length, sound, samples, rate, tags)


def packets(path: Path | str) -> list[bytes]:
    """The picture's coded packets, as they are in the file."""
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.video[0]) if packet.size]


def numbered(count: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """uint8 [count, height, width, 3]; the grey level says which frame it is."""
    levels = (torch.arange(count) * 2 % 200 + 20).to(torch.uint8)
    return levels[:, None, None, None].expand(count, height, width, 3).contiguous()


def click_at(second: float, length: float, rate: int, channels: int = 1) -> torch.Tensor:
    """[1, channels, T] silence of `length` seconds with one loud sample."""
    waveform = torch.zeros(1, channels, round(length * rate))
    waveform[..., round(second * rate)] = 0.9
    return waveform
