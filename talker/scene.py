"""A scene: who is where before which background, how all that moves, and the boxes in which things are to be found.

This file must not know how anything is drawn. Boxes are (x0, y0, x1, y1) in pixels of `scene.size`, y down, cut at the
frame. Shapes: B scenes, P people, T times; `times` is [T] or [B, T] in seconds.
"""

from dataclasses import dataclass, fields, replace

import torch

from .looks import (
    FACE_Y,
    LIPS,
    MOUTH_DROP,
    MOUTH_NARROW,
    MOUTH_OPEN,
    MOUTH_SPREAD,
    MOUTH_Y,
    REACH,
    Looks,
    sample_looks,
)
from .motion import NOD, SWAY_MOST, Camera, Motion, Poses, camera_at, poses_of, sample_camera, sample_motion

_SHAPES = 5
_PERSON_WIDTH = 96.0  # units a person needs
_WALLS = (
    (0.80, 0.90, 0.96), (0.98, 0.90, 0.76), (0.84, 0.93, 0.82), (0.95, 0.84, 0.84), (0.86, 0.84, 0.95),
    (0.92, 0.92, 0.90), (0.62, 0.80, 0.88), (0.95, 0.80, 0.62), (0.66, 0.82, 0.70), (0.74, 0.72, 0.88),
)  # fmt: skip


@dataclass(frozen=True)
class Background:
    """A gradient from `top` to `bottom` [B, 3] and N shapes with round corners before it, in pixels."""

    top: torch.Tensor
    bottom: torch.Tensor
    x: torch.Tensor  # [B, N] middles
    y: torch.Tensor
    half_width: torch.Tensor  # [B, N]; below zero draws nothing
    half_height: torch.Tensor
    radius: torch.Tensor  # [B, N] of the corners
    colour: torch.Tensor  # [B, N, 3]


@dataclass(frozen=True)
class Scene:
    """B scenes of one size with P people side by side, each in a strip of its own of equal width."""

    size: tuple[int, int]  # (H, W) of the frame in pixels
    looks: Looks
    motion: Motion
    camera: Camera
    background: Background
    x: torch.Tensor  # [B, P] middles of the faces at rest, in pixels
    y: torch.Tensor
    face: torch.Tensor  # [B, P] pixels per face unit

    @property
    def people(self):
        return self.x.shape[1]

    @property
    def unit(self):
        """Pixels per unit of motion: 1 in a frame 128 px high with room for its people."""
        return unit_of(self.size, self.people)

    def select(self, index):
        """The scenes of `index` (a slice, a list or an index tensor; one int keeps a batch of one)."""
        index = [index] if isinstance(index, int) else index
        return _each(self, lambda tensor: tensor[index])

    def to(self, device):
        """The same scenes on another device."""
        return _each(self, lambda tensor: tensor.to(device))


def sample_scenes(  # noqa: PLR0913
    batch: int,
    people: int = 1,
    size: tuple[int, int] = (128, 128),
    seed: int | torch.Generator = 0,
    camera: torch.Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Scene:
    """`batch` random scenes; `seed`: an int or a CPU generator; `camera`: int64 [batch] of CAMERAS, or None: still.

    The numbers are drawn on the CPU, so that a seed means the same scenes on every device.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    camera = torch.zeros(batch, dtype=torch.int64) if camera is None else torch.as_tensor(camera).cpu()

    def uniform(low, high):
        return low + (high - low) * torch.rand(batch, people, generator=generator)

    height, width = size
    unit, strip = unit_of(size, people), width / people
    looks = sample_looks(batch, people, generator)
    face = unit * uniform(0.8, 1.1)
    room = strip / 2 - (REACH + 1) * face - SWAY_MOST[0] * unit  # what is left beside the hair
    aside = 0.8 * room.clamp(min=0) * uniform(-1, 1)
    middles = strip * (torch.arange(people) + 0.5)
    y = height * 0.5 + unit * uniform(-8, -2)
    widest = (strip / 2 - aside.abs() + 2 * unit) / face
    scene = Scene(
        size=(height, width),
        looks=replace(looks, shoulder=torch.minimum(looks.shoulder, widest)),
        motion=sample_motion(batch, people, generator),
        camera=sample_camera(camera, generator),
        background=_sample_background(batch, size, generator),
        x=middles + aside,
        y=y,
        face=face,
    )
    return scene.to(device)


def pose_at(scene: Scene, times: torch.Tensor, energy: torch.Tensor | None = None) -> Poses:
    """Poses [B, P, T] at `times`; `energy` [B, P, T] in 0..1 is the smoothed loudness of each person's speech."""
    return poses_of(scene.motion, batch_times(scene, times), energy)


def mouth_boxes(scene: Scene, times: torch.Tensor, energy: torch.Tensor | None = None) -> torch.Tensor:
    """The box around the widest open mouth, lips included, where the mouth is at `times` -> [B, P, T, 4]."""
    pose = pose_at(scene, times, energy)
    face = scene.face[..., None]
    down = (MOUTH_Y + MOUTH_DROP / 2) * face
    x = scene.x[..., None] + scene.unit * pose.x - down * torch.sin(pose.turn)
    y = scene.y[..., None] + scene.unit * pose.y + down * torch.cos(pose.turn)
    half_x = (MOUTH_NARROW + MOUTH_SPREAD + LIPS) * face + 1
    half_y = (MOUTH_OPEN + LIPS + MOUTH_DROP / 2) * face + 1
    return _seen(scene, torch.stack((x - half_x, y - half_y, x + half_x, y + half_y), -1), times)


def search_boxes(scene: Scene, times: torch.Tensor | None = None) -> torch.Tensor:
    """The box that a person's mouth interior never leaves and in which nothing else is dark -> [B, P, 4].

    It holds for a camera at rest; with `times` it moves with the camera -> [B, P, T, 4].
    """
    face, unit = scene.face, scene.unit
    turn = SWAY_MOST[2]
    half_x = (MOUTH_NARROW + MOUTH_SPREAD) * face + unit * SWAY_MOST[0] + MOUTH_Y * face * turn + 1
    top = (MOUTH_Y + MOUTH_DROP - MOUTH_OPEN) * face - unit * SWAY_MOST[1] - 1
    bottom = (MOUTH_Y + MOUTH_DROP + MOUTH_OPEN) * face + unit * (SWAY_MOST[1] + NOD) + 1
    box = torch.stack((scene.x - half_x, scene.y + top, scene.x + half_x, scene.y + bottom), -1)
    return _static(scene, box, times)


def person_boxes(scene: Scene, times: torch.Tensor | None = None) -> torch.Tensor:
    """Each person's region, hair to the lower edge, sway included; people do not overlap -> [B, P, 4], or as above."""
    strip = scene.size[1] / scene.people
    left = strip * torch.arange(scene.people, device=scene.x.device)
    half = torch.maximum(scene.looks.shoulder, torch.full_like(scene.x, REACH)) * scene.face + SWAY_MOST[0] * scene.unit
    crown = torch.maximum(scene.looks.crown() + 1, torch.full_like(scene.x, FACE_Y + 6))
    top = scene.y - crown * scene.face - SWAY_MOST[1] * scene.unit
    bottom = torch.full_like(top, 2.0 * scene.size[0])  # the body goes on below the frame
    left, right = torch.maximum(scene.x - half, left), torch.minimum(scene.x + half, left + strip)
    return _static(scene, torch.stack((left, top, right, bottom), -1), times)


def unit_of(size: tuple[int, int], people: int) -> float:
    """Pixels per unit in a frame of `size` (H, W) with `people` people side by side."""
    return min(size[0] / 128, size[1] / people / _PERSON_WIDTH)


def batch_times(scene: Scene, times: torch.Tensor) -> torch.Tensor:
    """`times` [T] or [B, T] -> [B, T], on the scene's device."""
    times = torch.as_tensor(times, dtype=torch.float32, device=scene.x.device)
    return times.expand(scene.x.shape[0], -1) if times.ndim == 1 else times


def _static(scene, box, times):
    if times is None:
        return _cut(scene, box)
    times = batch_times(scene, times)
    return _seen(scene, box[:, :, None].expand(-1, -1, times.shape[1], -1), times)


def _seen(scene, boxes, times):
    """Boxes [B, P, T, 4] in the world -> in the frames that the camera sees at `times`."""
    zoom, pan = camera_at(scene.camera, batch_times(scene, times))
    height, width = scene.size
    middle = boxes.new_tensor((width / 2, height / 2) * 2)
    shift = torch.stack((pan, torch.zeros_like(pan)) * 2, -1)[:, None] * scene.unit
    return _cut(scene, (boxes - middle) * zoom[:, None, :, None] + middle + shift)


def _cut(scene, boxes):
    height, width = scene.size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor((width, height, width, height)))


def _sample_background(batch, size, generator):
    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    height, width = size
    walls = torch.tensor(_WALLS)
    top = walls[torch.randint(len(walls), (batch,), generator=generator)]
    bottom = torch.lerp(top, walls[torch.randint(len(walls), (batch,), generator=generator)], 0.7) * 0.94
    colour = walls[torch.randint(len(walls), (batch, _SHAPES), generator=generator)]
    colour = torch.where(uniform(0, 1, _SHAPES, 1) < 0.5, colour, torch.lerp(top[:, None], colour, 0.5) * 0.88)
    half_height = height * uniform(0.08, 0.3, _SHAPES)
    half_width = half_height * uniform(0.7, 1.5, _SHAPES)
    # Steps of the golden section spread few shapes as well as many: some always show beside the people.
    across = (uniform(0, 1, 1) + 0.618 * torch.arange(_SHAPES)) % 1
    shown = torch.arange(_SHAPES) < torch.randint(2, _SHAPES + 1, (batch, 1), generator=generator)
    return Background(
        top=top,
        bottom=bottom,
        x=width * (1.1 * across - 0.05),
        y=height * uniform(0, 0.9, _SHAPES),
        half_width=torch.where(shown, half_width, -1e4),
        half_height=half_height,
        radius=torch.minimum(half_width, half_height) * uniform(0.3, 1.0, _SHAPES),
        colour=colour,
    )


def _each(record, change):
    """The same record with `change` applied to each tensor in it and in the records within."""
    values = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, torch.Tensor):
            value = change(value)
        elif hasattr(value, "__dataclass_fields__"):
            value = _each(value, change)
        values[field.name] = value
    return type(record)(**values)
