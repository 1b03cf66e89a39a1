"""How a drawn person looks: colours and shapes as batched tensors, drawn at random from a seed.

Lengths are in face units: at face scale 1 in a frame 128 px high, one unit is one pixel. The origin is the middle of
the face, x to the right, y down. This file must not know time, cameras or pixels.

Two promises the measures rest on: skin is bright (luminance above 0.5) and the lips are clearly darker and redder than
it (0.3-0.45, with a red of 0.63 and more), so that the mouth's interior is the only dark thing between nose and chin.
"""

from dataclasses import dataclass, fields

import torch

MOUTH_Y, MOUTH_DROP = 19.0, 1.5  # middle of the closed lips; how far it sinks when the mouth opens fully
MOUTH_NARROW, MOUTH_SPREAD, MOUTH_OPEN = 5.0, 7.0, 9.0  # interior: half width 5 + 7 * width, half height 9 * opening
LIPS = 2.5  # lips around the interior
EYE_X, EYE_Y = 12.5, -8.0
FACE_Y = 42.0  # half height of the face
PUFF_Y = -12.0  # middle of a round head of hair
NONE = -99.0  # a radius or length that draws nothing
REACH = 40.0  # no hair reaches further from the middle of the face, sideways

_SKINS = (
    (1.00, 0.87, 0.76), (0.97, 0.80, 0.67), (0.98, 0.83, 0.62), (0.91, 0.72, 0.54), (0.86, 0.66, 0.50),
    (0.80, 0.60, 0.42), (0.76, 0.56, 0.43), (0.71, 0.51, 0.37), (0.93, 0.74, 0.66), (0.83, 0.65, 0.44),
)  # fmt: skip
_HAIRS = (
    (0.10, 0.09, 0.11), (0.23, 0.14, 0.10), (0.42, 0.25, 0.14), (0.62, 0.38, 0.18), (0.92, 0.76, 0.42),
    (0.80, 0.36, 0.15), (0.62, 0.62, 0.65), (0.93, 0.92, 0.90), (0.55, 0.13, 0.15), (0.20, 0.28, 0.52),
    (0.72, 0.40, 0.62), (0.16, 0.45, 0.45),
)  # fmt: skip
_CLOTHES = (
    (0.86, 0.27, 0.25), (0.20, 0.42, 0.70), (0.16, 0.55, 0.47), (0.95, 0.70, 0.22), (0.45, 0.31, 0.60),
    (0.25, 0.27, 0.33), (0.93, 0.93, 0.95), (0.92, 0.50, 0.58), (0.38, 0.62, 0.82), (0.53, 0.66, 0.30),
)  # fmt: skip
_EYES = ((0.33, 0.20, 0.12), (0.22, 0.46, 0.72), (0.24, 0.52, 0.33), (0.45, 0.50, 0.56), (0.52, 0.36, 0.16))
_FRAMES = ((0.13, 0.13, 0.16), (0.70, 0.16, 0.18), (0.16, 0.30, 0.58), (0.72, 0.53, 0.20))
_DARK_SKIN_LIPS, _LIGHT_SKIN_LIPS = (0.69, 0.21, 0.23), (0.83, 0.27, 0.31)

# Hair styles: cap = how far hair stands above the head, line = height of the hairline, lean = its slope,
# locks = lower end of hair hanging beside the face, puff = radius of a round head of hair, curl = its waves,
# bun = radius of one at bun_x, bun_y (and another one mirrored).
_STYLE_FIELDS = ("cap", "line", "lean", "locks", "puff", "curl", "bun", "bun_x", "bun_y")
_STYLES = (
    (3.0, -25.0, 0.00, NONE, NONE, 0.0, NONE, 0.0, 0.0),  # short
    (5.0, -27.0, 0.17, NONE, NONE, 0.0, NONE, 0.0, 0.0),  # parted to one side
    (4.0, -24.0, 0.00, 52.0, NONE, 0.0, NONE, 0.0, 0.0),  # long
    (4.0, -26.0, 0.15, 26.0, NONE, 0.0, NONE, 0.0, 0.0),  # to the chin
    (2.5, -26.0, 0.00, NONE, NONE, 0.0, 10.0, 0.0, -47.0),  # bun
    (3.0, -25.0, 0.15, NONE, NONE, 0.0, 10.0, 24.0, -38.0),  # two buns
    (3.0, -26.0, 0.00, NONE, NONE, 0.0, 14.0, 9.0, -38.0),  # tuft
    (4.0, -25.0, 0.00, NONE, 37.0, 2.2, NONE, 0.0, 0.0),  # curls
    (NONE, -25.0, 0.00, NONE, NONE, 0.0, NONE, 0.0, 0.0),  # bald
)


@dataclass(frozen=True)
class Looks:
    """Looks of P people in B scenes: colours [B, P, 3] in 0..1, lengths [B, P] in face units, flags 0 or 1."""

    skin: torch.Tensor
    shade: torch.Tensor
    blush: torch.Tensor
    lips: torch.Tensor
    hair: torch.Tensor
    brow: torch.Tensor
    iris: torch.Tensor
    frame: torch.Tensor
    cloth: torch.Tensor
    trim: torch.Tensor
    face_x: torch.Tensor
    jaw: torch.Tensor
    ear: torch.Tensor
    eye: torch.Tensor
    nose: torch.Tensor
    brow_size: torch.Tensor
    brow_tilt: torch.Tensor
    smile: torch.Tensor
    glasses: torch.Tensor
    lens: torch.Tensor
    earring: torch.Tensor
    shoulder: torch.Tensor
    neckline: torch.Tensor
    collar: torch.Tensor
    stripe: torch.Tensor
    lapel: torch.Tensor
    cap: torch.Tensor
    line: torch.Tensor
    lean: torch.Tensor
    locks: torch.Tensor
    puff: torch.Tensor
    curl: torch.Tensor
    bun: torch.Tensor
    bun_x: torch.Tensor
    bun_y: torch.Tensor

    def crown(self):
        """How far hair stands above the middle of the face [B, P]."""
        return torch.maximum(self.bun - self.bun_y, self.puff + self.curl - PUFF_Y)


COLOURS = tuple(f.name for f in fields(Looks))[:10]
LENGTHS = tuple(f.name for f in fields(Looks))[10:]


def luminance(rgb: torch.Tensor) -> torch.Tensor:
    """Luminance (Rec. 601 weights on the values as stored) of `rgb` [..., 3] in 0..1 -> [...]."""
    return 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]


def sample_looks(batch: int, people: int, generator: torch.Generator) -> Looks:
    """Looks of `people` random people in `batch` scenes, on the generator's device (the CPU: one seed, one person)."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(batch, people, generator=generator)

    def chance(share):
        return (uniform(0, 1) < share).float()

    def pick(palette, spread=0.03):
        colours = torch.tensor(palette)
        index = torch.randint(len(colours), (batch, people), generator=generator)
        noise = spread * (2 * torch.rand(batch, people, 3, generator=generator) - 1)
        return (colours[index] + noise).clamp(0.03, 1)

    skin = pick(_SKINS, 0.015)
    bright = ((luminance(skin) - 0.52) / 0.35).clamp(0, 1)[..., None]
    lips = torch.lerp(torch.tensor(_DARK_SKIN_LIPS), torch.tensor(_LIGHT_SKIN_LIPS), bright)
    hair = pick(_HAIRS)
    style = torch.tensor(_STYLES)[torch.randint(len(_STYLES), (batch, people), generator=generator)]
    styles = dict(zip(_STYLE_FIELDS, style.unbind(-1), strict=True))
    styles["line"] = styles["line"] + uniform(-1.5, 1.5)
    styles["lean"] = styles["lean"] * (2 * chance(0.5) - 1)
    top = torch.randint(4, (batch, people), generator=generator)
    blush = torch.lerp(skin, torch.tensor((0.93, 0.42, 0.42)), uniform(0.15, 0.4)[..., None])
    return Looks(
        skin=skin,
        shade=skin * 0.87,
        blush=blush,
        lips=lips,
        hair=hair,
        brow=hair * 0.55,
        iris=pick(_EYES),
        frame=pick(_FRAMES, 0.02),
        cloth=pick(_CLOTHES, 0.04),
        trim=pick(_CLOTHES, 0.04),
        face_x=uniform(30.0, 33.0),
        jaw=uniform(24.0, 29.0),
        ear=uniform(4.5, 6.5),
        eye=uniform(5.2, 6.2),
        nose=uniform(2.4, 3.6),
        brow_size=uniform(1.1, 1.9),
        brow_tilt=uniform(-0.2, 0.06),
        smile=uniform(0.004, 0.018),
        glasses=chance(0.3),
        lens=uniform(4.0, 8.5),
        earring=torch.where(chance(0.2) > 0, 2.3, NONE),
        shoulder=uniform(38.0, 44.0),
        neckline=torch.where((top == 0) | (top == 3), uniform(8.0, 13.0), NONE),
        collar=torch.where(top == 1, 15.0, NONE),
        stripe=torch.where(top == 3, uniform(3.0, 5.0), NONE),
        lapel=torch.where(top == 2, 1.0, NONE),
        **styles,
    )
