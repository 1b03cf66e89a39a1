"""The sample pictures and the sample video, drawn from the world that the talking model was trained on.

    python -m demo.draw_people [FOLDER]

Everybody's mouth is shut, as in the pictures that the model starts from. Shrunk to SIZE, a picture is what the training
drew at that size (42 dB). Must not know the model.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from talker.draw import draw
from talker.motion import CAMERAS
from talker.scene import Scene, person_boxes, sample_scenes

ASSETS = Path(__file__).resolve().parent / "assets"
SIZE = {1: (128, 128), 2: (128, 192), 3: (128, 256)}  # (height, width) for so many people, in pixels of the training
PICTURES = {1: "face.png", 2: "two_faces.png", 3: "three_faces.png"}
SEEDS = {1: 126, 2: 23, 3: 11}
SCALE = 4  # of the pictures: 512 pixels high

FPS = Fraction(30_000, 1001)  # of the video: not the model's 25, as is usual
SHOTS = ((126, "left"), (24, "in"))  # seed of the person and camera, of 30 frames each
SHOT_FRAMES = 30
VIDEO_SCALE = 2
SHARP = {"crf": "14"}


def scene(people: int = 1) -> Scene:
    """The people of a sample picture, a batch of one."""
    return sample_scenes(1, people, SIZE[people], SEEDS[people])


def boxes(people: int) -> list[tuple[int, int, int, int]]:
    """(x0, y0, x1, y1) of each person of a sample picture, from left to right, in its pixels."""
    return [tuple(round(SCALE * float(edge)) for edge in box) for box in person_boxes(scene(people))[0]]


def pictures(drawn: Scene, times: torch.Tensor, scale: int) -> np.ndarray:
    """The scene with shut mouths at `times` [T] in seconds -> uint8 [T, H, W, 3]."""
    shut = torch.zeros(1, drawn.people, len(times))
    frames = draw(drawn, times, shut, shut + 0.5, scale=scale)[0]
    return (frames * 255).round().byte().permute(0, 2, 3, 1).numpy()


def draw_picture(people: int, path: Path) -> Path:
    """A sample picture, SCALE times the trained size."""
    Image.fromarray(pictures(scene(people), torch.zeros(1), SCALE)[0]).save(path, optimize=True)
    return path


def draw_video(path: Path) -> Path:
    """The person of the first picture, the camera moving; then, after a cut, somebody else. Without sound."""
    times = torch.arange(SHOT_FRAMES) / float(FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FPS, options=SHARP)
        stream.height, stream.width = (VIDEO_SCALE * side for side in SIZE[1])
        stream.pix_fmt = "yuv420p"
        for seed, camera in SHOTS:
            shot = sample_scenes(1, 1, SIZE[1], seed, torch.tensor([CAMERAS.index(camera)]))
            for frame in pictures(shot, times, VIDEO_SCALE):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    return path


def draw_all(folder: Path) -> list[Path]:
    """Every sample picture, and the video."""
    made = [draw_picture(people, folder / name) for people, name in PICTURES.items()]
    return [*made, draw_video(folder / "face.mp4")]


if __name__ == "__main__":
    for made in draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS):
        print(made, made.stat().st_size)
