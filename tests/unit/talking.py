"""Drawn clips with their truth for the tests of the measures, as a decoded video has them; and ways to spoil them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from talker.draw import draw
from talker.scene import Scene, person_boxes, sample_scenes, search_boxes
from tests.unit.clips import write_clip

FPS = 25


@dataclass(frozen=True)
class Clip:
    """frames uint8 [T, H, W, 3]; per person the true opening and width [P, T]; boxes [P, 4], of mouths and people."""

    frames: np.ndarray
    opening: np.ndarray
    width: np.ndarray
    mouths: np.ndarray
    people: np.ndarray
    unit: float


def curves(people: int, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Opening and width [P, T] of speech with pauses, as smooth and as shut as the truth of a sound is."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(2, people, frames + 8))
    jaw, lips = np.array([1, 4, 6, 4, 1]) / 16, np.ones(5) / 5
    opening = np.array([np.convolve(row, jaw, "valid")[:frames] for row in noise[0]])
    width = np.array([np.convolve(row, lips, "valid")[:frames] for row in noise[1]])
    phrases = np.arange(frames // 20 + 1) % 3 > 0  # of 20 frames; the third is a pause
    speaks = np.array([np.repeat(random.permutation(phrases), 20)[:frames] for _ in range(people)])
    opening = (0.4 + 0.6 * opening).clip(0, 1) * speaks
    return np.where(opening < 0.06, 0, opening), (0.5 + 0.7 * width).clip(0, 1)


def speak(scene: Scene, opening: np.ndarray, width: np.ndarray, start: float = 0.0) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] of a scene of one; opening, width [P, T]; start: seconds."""
    times = start + torch.arange(opening.shape[1]) / FPS
    curve = [torch.as_tensor(each, dtype=torch.float32)[None] for each in (opening, width)]
    parts = [slice(at, at + FPS) for at in range(0, len(times), FPS)]
    drawn = torch.cat([draw(scene, times[part], *(each[..., part] for each in curve))[0] for part in parts])
    return (drawn * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def clip(people: int = 1, frames: int = 81, size: tuple[int, int] = (128, 128), seed: int = 0) -> Clip:
    """One drawn clip."""
    scene = sample_scenes(1, people, size, seed)
    opening, width = curves(people, frames, seed)
    return Clip(
        frames=speak(scene, opening, width),
        opening=opening,
        width=width,
        mouths=search_boxes(scene)[0].numpy(),
        people=person_boxes(scene)[0].numpy(),
        unit=scene.unit,
    )


def video(frames: np.ndarray, folder: Path) -> np.ndarray:
    """The frames after H.264 at crf 18 with colours at half the resolution."""
    path = write_clip(folder / "clip.mp4", list(frames))
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def spoil(frames: np.ndarray, blur: float = 0.7, noise: float = 4.0) -> np.ndarray:
    """The frames blurred (standard deviation in px) and with noise (in 8-bit levels)."""
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in frames]).astype(np.float64)
    blurred += np.random.default_rng(0).normal(scale=noise, size=frames.shape)
    return blurred.round().clip(0, 255).astype(np.uint8)
