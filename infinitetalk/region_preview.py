"""A picture that shows which tokens of the video belong to which speaker, with names. Knows no audio and no host."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .config import SIZE_STEP

# Eight colours that stay apart for colour-blind eyes, after Okabe and Ito.
COLOURS = torch.tensor(
    [
        [0.90, 0.62, 0.00], [0.34, 0.71, 0.91], [0.00, 0.62, 0.45], [0.94, 0.89, 0.26],
        [0.80, 0.47, 0.65], [0.00, 0.45, 0.70], [0.84, 0.37, 0.00], [1.00, 1.00, 1.00],
    ]
)  # fmt: skip
STRENGTH = 0.45  # of a speaker's colour over the picture
DARK = 0.4  # brightness of the background
PAD = 3  # pixels around a name


def draw_regions(picture: torch.Tensor, persons: torch.Tensor, titles: Sequence[str]) -> torch.Tensor:
    """The picture [H, W, 3] 0..1 with every speaker's tokens coloured and named, the rest darkened; float32.

    persons: 0/1 [N, H/16, W/16]; a token of several speakers shows the mean of their colours.
    """
    tokens = persons.float()
    colours = COLOURS[torch.arange(len(tokens)) % len(COLOURS)]
    owners = tokens.sum(dim=0)
    tint = torch.einsum("nhw,nc->hwc", tokens, colours) / owners.clamp(min=1)[..., None]
    tint, owned = _pixels(tint), _pixels((owners > 0).float()[..., None])
    shown = picture.float() * (owned * (1 - STRENGTH) + (1 - owned) * DARK) + tint * owned * STRENGTH
    eight_bit = (shown.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    image = Image.fromarray(eight_bit)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(10, min(image.size) // 20))
    for mask, name, colour in zip(persons, titles, colours, strict=True):
        _label(draw, mask, _printable(name), (font, tuple((colour * 255).int().tolist())))
    return torch.from_numpy(np.asarray(image).copy()).float() / 255


def _pixels(grid: torch.Tensor) -> torch.Tensor:
    """[h, w, C] tokens -> [H, W, C] pixels."""
    return grid.repeat_interleave(SIZE_STEP, dim=0).repeat_interleave(SIZE_STEP, dim=1)


def _printable(text: str) -> str:
    """In the letters that Pillow's own font has, ASCII: marks are dropped, other scripts left out."""
    return " ".join(unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().split())


def _label(draw: ImageDraw.ImageDraw, mask: torch.Tensor, text: str, style: tuple) -> None:
    """The text on a dark plate at the top of a region, shortened to its width and moved to stay in the picture."""
    font, colour = style
    rows, columns = mask.nonzero().unbind(dim=1)
    room = int(columns.max() + 1 - columns.min()) * SIZE_STEP - 2 * PAD
    while draw.textlength(text, font=font) > room and len(text) > 1:
        text = text[:-1]
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * PAD, bottom - top + 2 * PAD
    x = max(0, min(int(columns.min()) * SIZE_STEP, draw.im.size[0] - width))
    y = max(0, min(int(rows.min()) * SIZE_STEP, draw.im.size[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=(0, 0, 0))
    draw.text((x + PAD - left, y + PAD - top), text, fill=colour, font=font)
