"""Pictures of a talking video for a page: a strip of frames above their sound, and the frames as a moving picture.

    python -m demo.strip VIDEO FOLDER [--name talking] [--start S] [--seconds S] [--frames N] [--length S]

Writes FOLDER/NAME.png, N frames from --start over --seconds of it with the sound of just these seconds below, a line
from each frame to its place; and FOLDER/NAME.webp, which moves for --length seconds from --start on, without sound.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, WAVE = (255, 255, 255), (90, 98, 110), (46, 134, 193)
GAP, WAVE_HEIGHT, LABELS = 4, 56, 18  # pixels: between frames, of the sound, of the times below it
ENLARGE = 2  # of the moving picture
QUALITY = 80


class Clip(NamedTuple):
    """frames [F, H, W, 3] uint8 at `fps`, sound [T] in -1..1 at `rate` (empty without one)."""

    frames: np.ndarray
    fps: Fraction
    sound: np.ndarray
    rate: int


def read(path: Path) -> Clip:
    """All of a video file; the sound mixed to one channel."""
    with av.open(str(path)) as container:
        fps = Fraction(container.streams.video[0].average_rate)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return Clip(frames, fps, np.zeros(0, np.float32), 1)
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("flt", "mono")
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return Clip(frames, fps, np.concatenate(parts), rate)


def heights(sound: np.ndarray, columns: int) -> np.ndarray:
    """Loudest sample of each column [columns], in 0..1 of the loudest of all."""
    if not len(sound):
        return np.zeros(columns)
    edges = np.linspace(0, len(sound), columns + 1).astype(int)
    loudest = np.array([np.abs(sound[a : max(b, a + 1)]).max() for a, b in zip(edges[:-1], edges[1:], strict=True)])
    return loudest / max(loudest.max(), 1e-6)


def strip(clip: Clip, start: float, seconds: float, count: int) -> Image.Image:
    """`count` frames side by side, each in the middle of its share of the time, above the sound of that time."""
    times = start + (np.arange(count) + 0.5) * seconds / count
    chosen = clip.frames[np.floor(times * float(clip.fps)).astype(int).clip(0, len(clip.frames) - 1)]
    height, width = chosen.shape[1:3]
    picture = Image.new("RGB", (count * (width + GAP) - GAP, height + GAP + WAVE_HEIGHT + LABELS), PAPER)
    draw = ImageDraw.Draw(picture)
    middle = height + GAP + WAVE_HEIGHT / 2
    part = clip.sound[round(start * clip.rate) : round((start + seconds) * clip.rate)]
    for x, size in enumerate(heights(part, picture.width)):
        draw.line([(x, middle - size * WAVE_HEIGHT / 2), (x, middle + size * WAVE_HEIGHT / 2)], fill=WAVE)
    font = ImageFont.load_default(12)
    for number, (frame, time) in enumerate(zip(chosen, times, strict=True)):
        x = number * (width + GAP)
        picture.paste(Image.fromarray(frame), (x, 0))
        draw.line([(x + width / 2, height), (x + width / 2, height + GAP + WAVE_HEIGHT)], fill=INK)
        draw.text((x + width / 2, picture.height - 2), f"{time:.2f} s", fill=INK, font=font, anchor="ms")
    return picture


def write_moving(clip: Clip, start: float, length: float, path: Path) -> None:
    """The frames of `length` seconds as an endless WebP, enlarged for a page."""
    first = round(start * float(clip.fps))
    chosen = clip.frames[first : first + round(length * float(clip.fps))]
    size = (chosen.shape[2] * ENLARGE, chosen.shape[1] * ENLARGE)
    images = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in chosen]
    duration = round(1000 / clip.fps)  # milliseconds
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0, quality=QUALITY, method=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="talking")
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--length", type=float, default=6.0)
    given = parser.parse_args()
    clip = read(given.video)
    given.folder.mkdir(parents=True, exist_ok=True)
    still, moving = (given.folder / f"{given.name}.{kind}" for kind in ("png", "webp"))
    strip(clip, given.start, given.seconds, given.frames).save(still, optimize=True)
    write_moving(clip, given.start, given.length, moving)
    for path in (still, moving):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
