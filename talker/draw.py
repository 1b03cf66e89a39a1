"""Draw scenes: about thirty flat shapes with smooth edges, each a signed distance that covers what lies below it.

No loop over scenes, people or frames: a pixel belongs to one person's strip, so each column of pixels takes its
numbers from one person, and three people cost what one does. The dark of the mouth is painted last, and nothing else
dark comes near. Shapes: B scenes, P people, T times, H x W pixels; a number for each column of pixels is
[B, T or 1, 1, W], a colour [B, T or 1, 3, 1, W].
"""

from dataclasses import dataclass

import torch

from .looks import (
    COLOURS,
    EYE_X,
    EYE_Y,
    FACE_Y,
    LENGTHS,
    LIPS,
    MOUTH_DROP,
    MOUTH_NARROW,
    MOUTH_OPEN,
    MOUTH_SPREAD,
    MOUTH_Y,
    PUFF_Y,
    Looks,
)
from .motion import camera_at
from .scene import Scene, batch_times, pose_at

DARK = (0.16, 0.02, 0.04)  # inside of the mouth: luminance 0.06
LASHES = (0.16, 0.10, 0.10)
WHITE, GOLD = (0.99, 0.99, 0.99), (0.95, 0.76, 0.25)
_EDGE = 1.25  # pixels over which an edge fades
_LAG = 0.3  # share of the sway by which the head stays behind its face, as if it turned
_BODY = 0.25  # share of the sway that the shoulders follow


def draw(  # noqa: PLR0913
    scene: Scene,
    times: torch.Tensor,
    opening: torch.Tensor,
    width: torch.Tensor,
    energy: torch.Tensor | None = None,
    scale: int = 1,
) -> torch.Tensor:
    """Frames of the scenes at `times` ([T] or [B, T] seconds) -> float32 [B, T, 3, H, W] in 0..1.

    opening, width: [B, P, T] in 0..1, of each person's mouth. energy: [B, P, T] in 0..1, nods and brows, or None.
    scale: the same picture that many times as large. The caller chunks: one frame of 128 x 128 needs about 2 MB.
    """
    times = batch_times(scene, times)
    x, y, zoom = _world(scene, times, scale)
    looks, state = _columns(scene, times, x, opening, width, energy)
    at = _place(scene.unit, state, x, y)
    sharp = scale * zoom / _EDGE
    picture = _draw_background(scene.background, x, y, sharp, scene.size)
    sharp = sharp * state.face
    picture = _draw_body(picture, looks, at, sharp)
    picture = _draw_head(picture, looks, at, sharp)
    picture = _draw_face(picture, looks, state, at, sharp)
    return _draw_mouth(picture, looks, state, at, sharp)


def _world(scene, times, scale):
    """The place in the world that each pixel sees -> x [B, T, 1, W], y [B, T, H, 1], zoom [B, T, 1, 1], in pixels."""
    height, width = scene.size
    zoom, pan = (value[..., None, None] for value in camera_at(scene.camera, times))
    across = (torch.arange(round(width * scale), device=times.device) + 0.5) / scale - width / 2
    down = ((torch.arange(round(height * scale), device=times.device) + 0.5) / scale - height / 2)[:, None]
    return (across - pan * scene.unit) / zoom + width / 2, down / zoom + height / 2, zoom


def _columns(scene, times, x, opening, width, energy):
    """Looks and state of the person to whom each column of pixels belongs, a number per column -> (Looks, _State)."""
    pose, looks = pose_at(scene, times, energy), scene.looks
    still = torch.cat(
        [torch.stack([scene.x, scene.y, scene.face, *(getattr(looks, name) for name in LENGTHS)], 1)]
        + [getattr(looks, name).transpose(1, 2) for name in COLOURS],
        1,
    )[:, None]  # [B, 1, K, P]
    moving = torch.stack((pose.x, pose.y, pose.turn, pose.blink, pose.brow, opening.to(x), width.to(x)), 1)
    moving = moving.permute(0, 3, 1, 2)  # [B, T, K, P]
    if scene.people > 1:
        strip = scene.size[1] / scene.people
        index = (x / strip).long().clamp(0, scene.people - 1)  # [B, T, 1, W]
        still = still.expand(-1, x.shape[1], -1, -1).gather(3, index.expand(-1, -1, still.shape[2], -1))
        moving = moving.gather(3, index.expand(-1, -1, moving.shape[2], -1))
    first = 3 + len(LENGTHS)
    lengths = {name: still[:, :, 3 + i, None] for i, name in enumerate(LENGTHS)}
    colours = {name: still[:, :, first + 3 * i : first + 3 * i + 3, None] for i, name in enumerate(COLOURS)}
    state = _State(*(still[:, :, i, None] for i in range(3)), *(moving[:, :, i, None] for i in range(7)))
    return Looks(**colours, **lengths), state


@dataclass(frozen=True)
class _State:
    """Where a person is, and the pose: a number for each column of pixels."""

    x: torch.Tensor
    y: torch.Tensor
    face: torch.Tensor
    sway_x: torch.Tensor
    sway_y: torch.Tensor
    turn: torch.Tensor
    blink: torch.Tensor
    brow: torch.Tensor
    opening: torch.Tensor
    width: torch.Tensor


@dataclass(frozen=True)
class _Place:
    """Where each pixel lies on its person, in face units [B, T, H, W] (or what broadcasts to it)."""

    face_x: torch.Tensor
    face_y: torch.Tensor
    head_x: torch.Tensor
    head_y: torch.Tensor
    neck_x: torch.Tensor
    body_x: torch.Tensor
    body_y: torch.Tensor


def _place(unit, state, x, y):
    away_x, away_y = (x - state.x) / state.face, (y - state.y) / state.face
    sway_x, sway_y = state.sway_x * unit / state.face, state.sway_y * unit / state.face
    cos, sin = torch.cos(state.turn), torch.sin(state.turn)
    dx, dy = away_x - sway_x, away_y - sway_y
    face_x, face_y = cos * dx + sin * dy, cos * dy - sin * dx
    return _Place(
        face_x=face_x,
        face_y=face_y,
        head_x=face_x + _LAG * sway_x,
        head_y=face_y + _LAG * sway_y,
        neck_x=away_x - 0.6 * sway_x,
        body_x=away_x - _BODY * sway_x,
        body_y=away_y,
    )


def _draw_background(b, x, y, sharp, size):
    top, bottom = b.top[:, None, :, None, None], b.bottom[:, None, :, None, None]
    slope = ((y + 0 * x) / size[0]).clamp(0, 1)[:, :, None]
    picture = torch.lerp(top, bottom, slope)
    for i in range(b.x.shape[1]):
        part = (value[:, i, None, None, None] for value in (b.x, b.y, b.half_width, b.half_height, b.radius))
        middle_x, middle_y, half_x, half_y, radius = part
        distance = _box(x - middle_x, y - middle_y, half_x, half_y, radius)
        picture = _paint(picture, distance, sharp * 0.5, b.colour[:, i, None, :, None, None])
    return picture


def _draw_body(picture, p, at, sharp):
    top = FACE_Y + 5
    behind = at.head_y.clamp(max=0) + (at.head_y - p.locks + 14).clamp(min=0)
    locks = torch.where(p.locks > 0, _box(at.head_x.abs() - 31, behind, 7, 14, 7), 99.0)
    shoulders = _box(at.body_x, at.body_y - top - 400, p.shoulder, 400, 20)
    stripe = torch.maximum(shoulders, (at.body_y - top - 19).abs() - p.stripe)
    lapel = torch.maximum(shoulders, (at.body_x.abs() - 12 + 0.55 * (at.body_y - top)) * 0.85)
    lapel = torch.where(p.lapel > 0, lapel, 99.0)
    picture = _paint(picture, _ellipse(at.head_x.abs() - p.bun_x, at.head_y - p.bun_y, p.bun, p.bun), sharp, p.hair)
    wave = p.curl * torch.cos(13 * torch.atan2(at.head_x, PUFF_Y - at.head_y))
    puff = torch.sqrt(at.head_x.square() + (at.head_y - PUFF_Y).square() + 1e-4) - p.puff - wave
    picture = _paint(picture, puff, sharp, p.hair)
    picture = _paint(picture, shoulders, sharp, p.cloth)
    picture = _paint(picture, stripe, sharp, p.trim)
    picture = _paint(picture, lapel, sharp, p.trim)
    neckline = _ellipse(at.body_x, at.body_y - top, p.neckline, p.neckline * 0.8)
    picture = _paint(picture, neckline - 3, sharp, p.cloth * 0.85)
    picture = _paint(picture, neckline, sharp, p.skin)
    picture = _paint(picture, _box(at.neck_x, at.body_y - 34, 11, 18, 8), sharp, p.shade)
    picture = _paint(picture, _box(at.neck_x, at.body_y - top - 1, p.collar, 7, 5), sharp, p.cloth * 0.85)
    return _paint(picture, locks, sharp, p.hair)


def _draw_head(picture, p, at, sharp):
    side = at.head_x.abs()
    ear = _ellipse(side - p.face_x, at.head_y - 2, p.ear, p.ear * 1.3)
    picture = _paint(picture, ear, sharp, p.skin)
    picture = _paint(picture, ear + 2.4, sharp, p.shade)
    ring = _ellipse(side - p.face_x - 1, at.head_y - 12, p.earring, p.earring)
    picture = _paint(picture, ring, sharp, _colour(p, GOLD))
    head = _box(at.head_x, at.head_y, p.face_x, FACE_Y, torch.where(at.head_y < 0, p.face_x - 1, p.jaw))
    picture = _paint(picture, head, sharp, p.skin)
    opening = _ellipse(at.head_x - 12 * p.lean, at.head_y - 8 + p.lean * at.head_x, p.face_x - 2.5, 8 - p.line)
    hair = torch.maximum(torch.maximum(head - p.cap, -opening), at.head_y + 3)
    return _paint(picture, hair, sharp, p.hair)


def _draw_face(picture, p, state, at, sharp):
    x, y = at.face_x, at.face_y
    side, eye_y = x.abs(), y - EYE_Y
    eye_x = side - EYE_X
    lid = 1 - state.blink
    picture = _paint(picture, _ellipse(side - 20, y - 8, 6.5, 4.5), sharp * 0.4, p.blush)
    picture = _paint(picture, _ellipse(x, y - 3.5, p.nose, 3.6), sharp, p.shade)
    brow = _bar(eye_x + 0.3, eye_y + 11.5 + state.brow + p.brow_tilt * eye_x, 5.0, p.brow_size)
    picture = _paint(picture, brow, sharp, p.brow)
    lashes = _ellipse(eye_x - 0.3, eye_y + 1.1 * lid - 1.5 * state.blink, p.eye + 1.1, (p.eye - 0.6) * lid + 1.0)
    white = _ellipse(eye_x, eye_y, p.eye, (p.eye - 0.8) * lid) + 9 * (lid < 0.1)
    picture = _paint(picture, lashes, sharp, _colour(p, LASHES))
    picture = _paint(picture, white, sharp, _colour(p, WHITE))
    ball = torch.sqrt(eye_x.square() + (eye_y + 0.3).square() + 1e-4)
    picture = _paint(picture, torch.maximum(white, ball - 4.0), sharp, p.iris)
    picture = _paint(picture, torch.maximum(white, ball - 2.3), sharp, _colour(p, LASHES))
    glint = _ellipse(side - EYE_X - 1.3 * torch.sign(x), eye_y + 1.8, 1.2, 1.2)
    picture = _paint(picture, torch.maximum(white, glint), sharp, _colour(p, WHITE))
    lens = _box(eye_x, eye_y, 9, 8.5, p.lens)
    bar = torch.maximum((eye_y + 1.5).abs() - 1, torch.maximum(-lens, side - p.face_x))
    return _paint(picture, torch.minimum(lens.abs() - 1, bar) + 99 * (1 - p.glasses), sharp, p.frame)


def _draw_mouth(picture, p, state, at, sharp):
    x = at.face_x
    y = at.face_y - MOUTH_Y - MOUTH_DROP * state.opening + p.smile * (x.square() - 30)
    half_x, half_y = MOUTH_NARROW + MOUTH_SPREAD * state.width, MOUTH_OPEN * state.opening
    upper = (0.5 - y).clamp(0, 1)[:, :, None]
    lips = torch.lerp(p.lips * 1.04, p.lips * 0.92, upper)
    picture = _paint(picture, _ellipse(x, y, half_x + LIPS, half_y + LIPS), sharp, lips)
    thin = half_y.clamp(min=0.5)  # a slit thinner than a pixel fades instead of vanishing
    cover = _cover(_ellipse(x, y, half_x, thin), sharp) * (half_y / thin)
    return torch.lerp(picture, _colour(p, DARK), cover[:, :, None])


def _ellipse(x, y, half_x, half_y):
    """Distance to an ellipse, right near its edge; one with a negative half axis draws nothing."""
    none = half_x.clamp(max=0) * -9 if isinstance(half_x, torch.Tensor) else 0
    half_x, half_y = (h.clamp(min=0.3) if isinstance(h, torch.Tensor) else h for h in (half_x, half_y))
    u, v = x / half_x, y / half_y
    length = torch.sqrt(u.square() + v.square() + 1e-6)
    slope = torch.sqrt((u / half_x).square() + (v / half_y).square() + 1e-6)
    return length * (length - 1) / slope + none


def _box(x, y, half_x, half_y, radius):
    """Distance to a box with round corners."""
    u, v = x.abs() - half_x + radius, y.abs() - half_y + radius
    outside = torch.sqrt(u.clamp(min=0).square() + v.clamp(min=0).square() + 1e-6)
    return outside + torch.maximum(u, v).clamp(max=0) - radius


def _bar(x, y, half, radius):
    """Distance to a horizontal bar with round ends."""
    return torch.sqrt((x.abs() - half).clamp(min=0).square() + y.square() + 1e-6) - radius


def _cover(distance, sharp):
    return (0.5 - distance * sharp).clamp(0, 1)


def _paint(picture, distance, sharp, colour):
    """Lay `colour` over the picture where `distance` [B, T, H, W] is below zero; `sharp`: edges per face unit."""
    return torch.lerp(picture, colour, _cover(distance, sharp)[:, :, None])


def _colour(p, rgb):
    return p.skin.new_tensor(rgb)[:, None, None]
