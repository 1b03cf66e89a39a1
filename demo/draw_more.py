"""Sample inputs made from the portrait: a short video of it with a cut, and a picture of two people.

    python -m demo.draw_more FOLDER

Made when they are needed, in well under a second; nothing of it lies in the repository.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image, ImageOps

FACE = Path(__file__).resolve().parent / "assets" / "face.png"
FPS = Fraction(30000, 1001)  # not the model's 25: the usual case
SIDE = 256  # pixels
FRAMES = 60  # two seconds
CUT = 30  # from this frame on the other view


def view(face: Image.Image, frame: int) -> Image.Image:
    """The portrait, the camera moving slowly in; from CUT on close up and mirrored."""
    margin = frame // 2 if frame < CUT else 90
    box = (margin, margin, face.width - margin, face.height - margin)
    picture = face if frame < CUT else ImageOps.invert(ImageOps.mirror(face))
    return picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)


def draw_video(path: Path) -> Path:
    """An mp4 of FRAMES frames, without sound."""
    face = Image.open(FACE).convert("RGB")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FPS)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for frame in range(FRAMES):
            for packet in stream.encode(av.VideoFrame.from_image(view(face, frame))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def draw_pair(path: Path) -> Path:
    """The portrait beside its mirror picture in darker colours."""
    face = Image.open(FACE).convert("RGB")
    darker = [part.point([round(value * factor) for value in range(256)])
              for part, factor in zip(face.split(), (0.78, 0.66, 0.62), strict=True)]  # fmt: skip
    other = ImageOps.mirror(Image.merge("RGB", darker))
    pair = Image.new("RGB", (2 * face.width, face.height))
    pair.paste(face, (0, 0))
    pair.paste(other, (face.width, 0))
    pair.save(path)
    return path


def draw(folder: Path) -> list[Path]:
    """What the shipped workflows name beside the demonstration's picture and speech."""
    return [draw_video(folder / "face.mp4"), draw_pair(folder / "two_faces.png")]


if __name__ == "__main__":
    for made in draw(Path(sys.argv[1])):
        print(made)
