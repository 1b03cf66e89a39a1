"""How people and cameras move: analytic functions of time, so that any frame at any time can be drawn on its own.

Heads sway (a few slow sines), nod and lift the brows with the energy of the speech, and blink; cameras pan and zoom.
Lengths are in units: one unit is one pixel in a frame 128 px high. This file must not know looks or pixels.
Shapes: B scenes, P people, T times.
"""

import math
from dataclasses import dataclass

import torch

CAMERAS = ("still", "left", "right", "in", "out")  # what the camera does: it pans left, so the picture moves right
SWAY = (1.6, 1.1, math.radians(1.5))  # standard deviations: across, down (units), turn (radians)
SWAY_MOST = tuple(sd * math.sqrt(6) for sd in SWAY)  # three sines of equal size, all at their crest
NOD = 1.8  # units down at full energy
BROW = 3.0  # face units up at full energy
BLINK_SECONDS = 0.2
PAN_MOST, ZOOM_MOST = 20.0, math.log(1.25)  # the camera turns back there, so that nobody ever leaves the picture
_TURN = 0.98  # how sharply it turns back: 1 is a triangle wave, 0 a sine
_BLINKS = 64


@dataclass(frozen=True)
class Motion:
    """Motion of P people in B scenes."""

    size: torch.Tensor  # [B, P, 3, 3] of three sines for across, down, turn
    rate: torch.Tensor  # [B, P, 3, 3] radians a second
    phase: torch.Tensor  # [B, P, 3, 3] radians
    blinks: torch.Tensor  # [B, P, 64] seconds of the blinks' middles; after the last one they start over
    nod: torch.Tensor  # [B, P] in 0..1, how much this person nods
    lift: torch.Tensor  # [B, P] in 0..1, how much this person's brows move


@dataclass(frozen=True)
class Camera:
    """Camera of B scenes: neutral at time 0."""

    pan: torch.Tensor  # [B] units a second that the picture moves to the right at time 0
    zoom: torch.Tensor  # [B] growth of the picture a second at time 0 (0.05: 5 %)


@dataclass(frozen=True)
class Poses:
    """Poses of P people: all [B, P, T]."""

    x: torch.Tensor  # units to the right of the person's place
    y: torch.Tensor  # units below it
    turn: torch.Tensor  # radians, clockwise on the screen
    blink: torch.Tensor  # 0 open .. 1 shut
    brow: torch.Tensor  # face units up


def sample_motion(batch: int, people: int, generator: torch.Generator) -> Motion:
    """Random motion of `people` people in `batch` scenes."""

    def uniform(*shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(batch, people, *shape, generator=generator)

    size = uniform(3, 3, low=0.5, high=1.0)
    size = size / size.square().sum(-1, keepdim=True).sqrt() * math.sqrt(2) * torch.tensor(SWAY)[:, None]
    gaps = uniform(_BLINKS, low=2.0, high=5.0)
    first = uniform(1, low=0.3, high=1.0)  # the first blink comes anywhere in its gap
    return Motion(
        size=size,
        rate=2 * math.pi * uniform(3, 3, low=0.1, high=0.5),
        phase=2 * math.pi * uniform(3, 3),
        blinks=gaps.cumsum(-1) - gaps[..., :1] * first + BLINK_SECONDS,
        nod=uniform(low=0.4),
        lift=uniform(low=0.3),
    )


def sample_camera(camera: torch.Tensor, generator: torch.Generator) -> Camera:
    """Random speeds for `camera` int64 [B] of CAMERAS: pan 3-8 units a second, zoom 3-8 % a second."""
    speed = 3 + 5 * torch.rand(len(camera), generator=generator)
    camera = camera.to(speed.device)
    return Camera(
        pan=speed * ((camera == 1).float() - (camera == 2).float()),
        zoom=speed / 100 * ((camera == 3).float() - (camera == 4).float()),
    )


def poses_of(motion: Motion, times: torch.Tensor, energy: torch.Tensor | None = None) -> Poses:
    """Poses at `times` [B, T] seconds; `energy` [B, P, T] in 0..1 (smoothed loudness): nods and raised brows."""
    t = times[:, None, None, None]  # [B, 1, 1, 1, T]
    waves = torch.sin(motion.rate[..., None] * t + motion.phase[..., None])
    x, y, turn = (motion.size[..., None] * waves).sum(3).unbind(2)
    round_ = motion.blinks[..., -1:, None] + BLINK_SECONDS
    since = torch.remainder(times[:, None, None], round_) - motion.blinks[..., None]  # [B, P, 64, T]
    lid = (1 - (since / (BLINK_SECONDS / 2)).abs()).clamp(0, 1).amax(2)
    brow = torch.zeros_like(x)
    if energy is not None:
        y = y + NOD * motion.nod[..., None] * energy
        brow = BROW * motion.lift[..., None] * energy
    return Poses(x=x, y=y, turn=turn, blink=lid * lid * (3 - 2 * lid), brow=brow)


def camera_at(camera: Camera, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-> (zoom, pan), each [B, T], at `times` [B, T] seconds: how much larger, and how many units further right."""
    pan = _swing(camera.pan[:, None], times, PAN_MOST)
    zoom = _swing(camera.zoom[:, None], times, ZOOM_MOST)
    return torch.exp(zoom), pan


def _swing(speed, times, most):
    """Start at 0 with `speed`, keep it nearly constant, turn back before +-`most`, and so on for ever."""
    height = most / math.asin(_TURN)
    return height * torch.asin(_TURN * torch.sin(speed * times / (height * _TURN)))
