"""Draws demo/assets/face.png, the demonstration's portrait: python -m demo.draw_face"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = 512  # pixels of the finished square picture
SCALE = 4  # drawn larger, then shrunk: smooth edges

SKIN, SHADE, HAIR, HAIR_LIGHT = (243, 196, 164), (224, 165, 133), (74, 48, 38), (104, 70, 54)
SHIRT, SHIRT_DARK, LIPS, IRIS, INK = (62, 104, 148), (44, 78, 116), (196, 88, 88), (70, 120, 90), (48, 34, 32)


def background() -> Image.Image:
    """A wall, lighter at the top."""
    ramp = Image.linear_gradient("L").resize((SIZE * SCALE, SIZE * SCALE))
    light, dark = (Image.new("RGB", ramp.size, colour) for colour in ((236, 230, 214), (176, 192, 196)))
    return Image.composite(dark, light, ramp)


def bow(start: tuple, through: tuple, end: tuple) -> list[tuple[float, float]]:
    """Points of the quadratic Bezier curve from start to end, bent towards `through`."""
    steps = [i / 24 for i in range(25)]
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t**2) for t in steps]
    return [tuple(a * s + b * c + d * e for s, c, e in zip(start, through, end, strict=True)) for a, b, d in weights]


def portrait() -> Image.Image:
    """Head and shoulders of a cartoon person who looks at the camera with the mouth closed."""
    picture = background()
    draw = ImageDraw.Draw(picture)

    def box(x: float, y: float, rx: float, ry: float) -> list[float]:
        return [SCALE * value for value in (x - rx, y - ry, x + rx, y + ry)]

    def ellipse(x: float, y: float, rx: float, ry: float, fill: tuple) -> None:
        draw.ellipse(box(x, y, rx, ry), fill=fill)

    def polygon(*points: tuple[float, float], fill: tuple) -> None:
        draw.polygon([(SCALE * x, SCALE * y) for x, y in points], fill=fill)

    def arc(oval: tuple, angles: tuple[int, int], width: float, fill: tuple) -> None:
        draw.arc(box(*oval), *angles, fill=fill, width=int(width * SCALE))

    ellipse(256, 212, 150, 172, HAIR)  # hair behind the head
    polygon(*bow((106, 206), (96, 400), (176, 418)), *bow((336, 418), (416, 400), (406, 206)), fill=HAIR)
    ellipse(256, 520, 208, 130, SHIRT)  # shoulders
    polygon((214, 350), (298, 350), (306, 420), (256, 452), (206, 420), fill=SHADE)  # neck
    polygon((204, 404), (256, 452), (222, 486), (186, 410), fill=SHIRT_DARK)  # collar
    polygon((308, 404), (256, 452), (290, 486), (326, 410), fill=SHIRT_DARK)
    for side in (-1, 1):  # ears
        ellipse(256 + side * 121, 250, 20, 32, SKIN)
        ellipse(256 + side * 122, 250, 10, 19, SHADE)
    ellipse(256, 226, 118, 132, SKIN)  # head
    ellipse(256, 282, 98, 100, SKIN)
    for side in (-1, 1):  # cheeks
        ellipse(256 + side * 66, 294, 24, 15, (240, 176, 150))

    for side in (-1, 1):
        x = 256 + side * 48
        ellipse(x, 234, 25, 16, (252, 250, 246))  # eyes
        ellipse(x, 234, 13, 14, IRIS)
        ellipse(x, 234, 7, 8, INK)
        ellipse(x + 5, 229, 4, 4, (255, 255, 255))
        arc((x, 236, 27, 20), (195, 345), 4.5, INK)  # lid
        arc((x, 218, 34, 22), (215, 325), 7.5, HAIR)  # brow
    ellipse(256, 286, 17, 9, (232, 178, 146))  # nose
    polygon((250, 252), (262, 252), (270, 286), (242, 286), fill=(236, 186, 154))
    for side in (-1, 1):
        ellipse(256 + side * 8, 289, 4, 2.5, SHADE)
    smile = bow((214, 324), (256, 342), (298, 324))  # mouth
    polygon(*smile, *bow((298, 324), (272, 312), (256, 319)), *bow((256, 319), (240, 312), (214, 324)), fill=LIPS)
    polygon(*smile, *bow((298, 324), (256, 366), (214, 324)), fill=(210, 106, 104))
    draw.line([(SCALE * x, SCALE * y) for x, y in smile], fill=(124, 46, 52), width=3 * SCALE, joint="curve")
    arc((256, 362, 22, 12), (35, 145), 2.5, SHADE)  # chin

    parting = (300, 112)
    left, right = bow(parting, (150, 120), (134, 250)), bow(parting, (374, 130), (380, 250))
    crown = [*bow((112, 250), (116, 70), (256, 60)), *bow((256, 60), (396, 70), (400, 250))]
    polygon(*left, *crown, *right[::-1], fill=HAIR)
    for lift in (0, 16):  # shine
        strand = bow((280 - lift, 92 - lift / 2), (190, 98 - lift), (150, 172 - lift))
        draw.line([(SCALE * x, SCALE * y) for x, y in strand], fill=HAIR_LIGHT, width=4 * SCALE, joint="curve")
    picture = picture.filter(ImageFilter.GaussianBlur(SCALE * 0.5))
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    portrait().save(Path(__file__).parent / "assets" / "face.png", optimize=True)
