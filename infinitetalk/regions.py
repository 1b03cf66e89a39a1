"""Where the speakers are: boxes and masks of the picture -> which tokens of the video belong to whom.

Masks are 0/1 [.., H, W]; sizes are (height, width). Works on any number of speakers; the background is what no
speaker's region covers. Must not know audio, the model or the host.
Source of the two default regions and of every step from the picture to the token grid: the public InfiniteTalk
implementation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from .buckets import resize_crop_mask
from .config import SIZE_STEP, VAE_SPACE
from .errors import InputError

MARGIN = 0.05  # of a default region's column and of the picture's height, on either side
MAX_OVERLAP = 0.25  # of the smaller of two regions
EXAMPLE = 'Use four numbers "x, y, width, height" in pixels of the picture, for example "40, 60, 300, 400".'


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the picture before it is resized; x to the right, y down."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self):
        numbers = (self.x, self.y, self.width, self.height)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"box: {self} holds a number that is not finite.", EXAMPLE)
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"box: {self} has a width or height that is not above 0.", EXAMPLE)

    def __str__(self):
        return f"{self.x:g}, {self.y:g}, {self.width:g}, {self.height:g}"


Region = Box | torch.Tensor  # a mask is float [B, H, W] as the host has them


def parse_box(text: str) -> Box | None:
    """The box of a text "x, y, width, height"; None for an empty text."""
    if not text.strip():
        return None
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise InputError(f"box: {text!r} is not four numbers.", EXAMPLE)
    return Box(*numbers)


def read_boxes(value: object, number: int = 1) -> Box:
    """One box of a host BOUNDING_BOX: a single box, the boxes of a picture, or those of every frame of a video.

    number: which box of the picture or the first frame, from 1.
    """
    boxes = [value] if isinstance(value, Mapping) else value
    if isinstance(boxes, Sequence) and boxes and isinstance(boxes[0], Sequence):
        boxes = boxes[0]
    if not isinstance(boxes, Sequence) or not all(isinstance(box, Mapping) for box in boxes):
        raise InputError(f"boxes: {type(value).__name__} holds no boxes.", "Connect a BOUNDING_BOX.")
    if not 1 <= number <= len(boxes):
        raise InputError(
            f"boxes: box {number} is wanted, {len(boxes)} were found on the picture.",
            "Set box_number to one of them, counted from 1, or give a mask or a box string instead.",
        )
    box = boxes[number - 1]
    try:
        numbers = [float(box[key]) for key in ("x", "y", "width", "height")]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"boxes: {dict(box)} is not a box.", "It needs the numbers x, y, width and height.") from error
    return Box(*numbers)


def reference_box(numbers: Sequence[float]) -> Box:
    """The box that four numbers of the public implementation's JSON files mean.

    They are called x_min, y_min, x_max, y_max, but the first and third select rows and the others columns.
    """
    if len(numbers) != 4 or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        raise InputError(
            f"bbox: {numbers!r} is not four numbers.", "Give first row, first column, last row, last column."
        )
    top, left, bottom, right = (int(number) for number in numbers)
    return Box(left, top, right - left, bottom - top)


def box_mask(box: Box, size: tuple[int, int]) -> torch.Tensor:
    """uint8 [H, W], 1 inside; edges are truncated to whole pixels and what lies outside is cut off."""
    mask = torch.zeros(size, dtype=torch.uint8)
    rows = slice(max(int(box.y), 0), max(int(box.y + box.height), 0))
    columns = slice(max(int(box.x), 0), max(int(box.x + box.width), 0))
    mask[rows, columns] = 1
    return mask


def default_masks(count: int, size: tuple[int, int]) -> torch.Tensor:
    """uint8 [N, H, W]: equal columns with margins from left to right; one speaker has the whole picture."""
    masks = torch.zeros(count, *size, dtype=torch.uint8)
    if count == 1:
        return masks + 1
    height, column = size[0], size[1] // count
    for n, mask in enumerate(masks):
        left, right = (int(column * part + column * n) for part in (MARGIN, 1 - MARGIN))
        mask[int(height * MARGIN) : int(height * (1 - MARGIN)), left:right] = 1
    return masks


def with_background(masks: torch.Tensor) -> torch.Tensor:
    """[N, H, W] -> [N+1, H, W]: the last is where nobody is."""
    return torch.cat((masks, (masks.sum(dim=0, keepdim=True) == 0).to(masks.dtype)))


def to_latent(masks: torch.Tensor) -> torch.Tensor:
    """Masks at the video's size, [C, H, W] -> uint8 [C, H/8, W/8], nearest pixel."""
    return _nearest(masks, VAE_SPACE)


def to_tokens(masks: torch.Tensor) -> torch.Tensor:
    """Masks at the video's size, [C, H, W] -> uint8 [C, H/16, W/16], by way of the latent grid."""
    return _nearest(to_latent(masks), SIZE_STEP // VAE_SPACE)


def _nearest(masks: torch.Tensor, step: int) -> torch.Tensor:
    size = (masks.shape[1] // step, masks.shape[2] // step)
    return (torch.nn.functional.interpolate(masks[None].float(), size=size, mode="nearest")[0] > 0).to(torch.uint8)


@dataclass(frozen=True)
class Canvas:
    """The two sizes a region may be drawn at: of the picture as it came, and of the video."""

    source: tuple[int, int]
    video: tuple[int, int]

    @property
    def smallest(self) -> int:
        """Pixels of the picture that are sure to hold a token."""
        scale = max(want / have for want, have in zip(self.video, self.source, strict=True))
        return math.ceil(SIZE_STEP / scale)


def assign(
    regions: Sequence[Region | None], titles: Sequence[str], canvas: Canvas
) -> tuple[torch.Tensor | None, list[str]]:
    """The tokens of every speaker and of the background, uint8 [C, rows, columns], and notes for the user.

    regions: one per speaker, all given or all None (then equal columns). One speaker with a region gets a second
    class, everybody else; one without gets None, the whole picture. titles: names for messages. Raises InputError
    for regions that are empty, outside, too small or too much the same.
    """
    given = sum(region is not None for region in regions)
    if given not in (0, len(regions)):
        missing = next(name for name, region in zip(titles, regions, strict=True) if region is None)
        raise InputError(
            f"speakers: {given} of {len(regions)} speakers have a region; {missing} has none.",
            "Give every speaker a mask or box, or none of them; disconnect speakers that have no place in the picture.",
        )
    if len(regions) == 1 and not given:
        return None, []
    notes: list[str] = []
    if given:
        drawn = [_at_video_size(*entry, canvas, notes) for entry in zip(regions, titles, strict=True)]
        masks = torch.stack(drawn)
    else:
        masks = resize_crop_mask(default_masks(len(regions), canvas.source), *canvas.video)
    _check_overlap(masks, titles)
    tokens = to_tokens(with_background(masks))
    for mask, name in zip(tokens, titles, strict=False):
        if not mask.any():
            raise InputError(
                f"{name}: the region is too small or in the part that is cut off: it covers no token of the "
                f"{canvas.video[1]}x{canvas.video[0]} video.",
                f"Make it at least {canvas.smallest}x{canvas.smallest} pixels of the "
                f"{canvas.source[1]}x{canvas.source[0]} picture, where the video shows it.",
            )
    if len(regions) == 1:
        if not tokens[1].any():
            return None, [*notes, f"{titles[0]}: the region is the whole picture."]
        # Everybody else is a second, silent speaker; the background is empty and can win no token.
        tokens = torch.cat((tokens, torch.zeros_like(tokens[:1])))
    return tokens, notes


def _at_video_size(region: Region, name: str, canvas: Canvas, notes: list[str]) -> torch.Tensor:
    """uint8 [H, W] at the video's size."""
    if isinstance(region, Box):
        height, width = canvas.source
        mask = box_mask(region, canvas.source)
        if not mask.any():
            raise InputError(
                f"{name}: the box {region} lies outside the picture of {width}x{height} pixels, or holds no pixel.",
                EXAMPLE,
            )
        if region.x < 0 or region.y < 0 or region.x + region.width > width or region.y + region.height > height:
            notes.append(f"{name}: the part of the box outside the {width}x{height} picture is ignored.")
    else:
        mask = _binary(region, name, notes)
        if mask.shape == canvas.video != canvas.source:
            return mask  # drawn on the picture as the video shows it
        if mask.shape != canvas.source:
            sizes = [f"{size[1]}x{size[0]}" for size in (mask.shape, canvas.source)]
            notes.append(f"{name}: the mask of {sizes[0]} pixels was resized to the picture's {sizes[1]}.")
            mask = torch.nn.functional.interpolate(mask[None, None].float(), size=canvas.source, mode="nearest")[0, 0]
    return resize_crop_mask(mask[None].to(torch.uint8), *canvas.video)[0]


def _binary(mask: torch.Tensor, name: str, notes: list[str]) -> torch.Tensor:
    """uint8 [H, W]: where a mask is half or more."""
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3 or mask.numel() == 0:
        raise InputError(f"{name}: the mask has shape {list(mask.shape)}, no pixels.", "Connect a MASK of the picture.")
    if len(mask) > 1:
        notes.append(f"{name}: the first of {len(mask)} masks is used.")
    mask = mask[0].detach().cpu()
    if not torch.isfinite(mask.float()).all():
        raise InputError(f"{name}: the mask holds NaN or infinite values.", "Look at the node that made it.")
    if not (mask >= 0.5).any():
        raise InputError(
            f"{name}: the mask of {mask.shape[1]}x{mask.shape[0]} pixels is empty (nothing in it reaches 0.5).",
            "Paint the person in the mask editor (right click on the picture). Load Image gives an empty mask "
            "of 64x64 pixels when nothing was painted.",
        )
    return (mask >= 0.5).to(torch.uint8)


def _check_overlap(masks: torch.Tensor, titles: Sequence[str]) -> None:
    flat = masks.flatten(1).float()
    common, sizes = flat @ flat.T, flat.sum(dim=1)
    for n in range(len(masks)):
        for m in range(n):
            share = (common[n, m] / torch.minimum(sizes[n], sizes[m]).clamp(min=1)).item()
            if share > MAX_OVERLAP:
                raise InputError(
                    f"{titles[m]} and {titles[n]}: their regions share {share:.0%} of the smaller one.",
                    f"Draw them apart: at most {MAX_OVERLAP:.0%} may be shared.",
                )


def check_regions(features, reference) -> None:
    """Refuse features of several speakers whose regions were made for a video of another size."""
    if features.regions is None:
        return
    height, width = (SIZE_STEP * count for count in features.regions.shape[1:])
    if (height, width) != (reference.height, reference.width):
        raise InputError(
            f"features: the speakers' regions are for a video of {width}x{height} pixels, the reference has "
            f"{reference.width}x{reference.height}.",
            "Connect the same reference to InfiniteTalk Speakers and to the sampler.",
        )
