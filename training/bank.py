"""Drawn clips as latents in GPU memory, for the training of the DiT, and the features of the speech they show.

A clip is what one window of a run sees: 81 frames that continue others or begin with the reference. Its motion latents
went through the VAE as a run's do: decoded with the frames before them, cut out, encoded. Must not know the DiT.

Shapes: n clips, P people, L encoder layers, C channels, h, w latent cells (8 pixels), S tokens (16 pixels).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from talker.draw import draw
from talker.motion import CAMERAS
from talker.scene import mouth_boxes, person_boxes, sample_scenes
from talker.truth import energy_of

from .vae import NormSilu, Vae
from .vae_clips import eye_boxes

FPS = 25
FRAMES, LATENT_FRAMES = 81, 21
BEFORE = 8  # frames before the clip's first, encoded with it to make its motion latents
MOTION, MOTION_LATENTS = 9, 3
CELL, TOKEN = 8, 16  # pixels
CHUNK = 16  # clips drawn at a time


@dataclass
class Speech:
    """Features [pieces, F, L, C] (float16), truth [pieces, F] each, and which pieces are silent throughout."""

    features: torch.Tensor
    opening: torch.Tensor
    width: torch.Tensor
    silent: torch.Tensor


@dataclass
class Bank:
    """Clips of one picture size; see `make_bank`. All tensors begin with n, but `grey` [1, 16, 1, h, w]."""

    latents: torch.Tensor  # [n, 16, 21, h, w]
    motion: torch.Tensor  # [n, 16, 3, h, w]: the first latents as a run would have them
    own: torch.Tensor  # [n, 16, 3, h, w]: the clip's first frame, then grey
    other: torch.Tensor  # [n, 16, 3, h, w]: another frame of the same people, then grey
    grey: torch.Tensor
    mouth: torch.Tensor  # bool [n, 21, h, w]: cells that a mouth touches
    eyes: torch.Tensor  # the same of eyes and brows
    piece: torch.Tensor  # int64 [n, P]
    start: torch.Tensor  # int64 [n, P]: the clip's first frame within the piece
    prompts: torch.Tensor  # int64 [n]
    masks: torch.Tensor  # bool [n, P + 1, S]

    def take(self, index: torch.Tensor) -> Bank:
        """The clips of `index` int64 [B]: a Bank of B."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        return Bank(**{name: value if name == "grey" else value[index] for name, value in chosen.items()})


class Quick:
    """A VAE's encode and decode for much at once: bfloat16 within on a GPU, float32 in and out, no gradients."""

    def __init__(self, vae: Vae):
        self.vae = vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        for module in vae.modules():
            if isinstance(module, NormSilu) and module.gamma.is_cuda:
                module.compile(dynamic=True)  # else its passes over memory take most of the time

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, 3, H, W] in -1..1 -> normalised latents [B, 16, 1 + (T-1)/4, H/8, W/8]."""
        return self._run(self.vae.encode, x)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """The way back."""
        return self._run(self.vae.decode, z)

    @torch.no_grad()
    def _run(self, way, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            return way(x).float()


def features_of(speech: Speech, piece: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What each latent frame of a clip hears: [..] indices -> first [.., 5, L, C], latter [.., 20, 8, L, C].

    The taps are those of infinitetalk/features.py: frames -2..2 around the first frame; for each later group of four
    the frames from two before its first to two after its last. Held at the ends of the piece.
    """
    last = speech.features.shape[1] - 1
    device = start.device
    first = start[..., None] + torch.arange(-2, 3, device=device)
    latter = start[..., None, None] + 1 + 4 * torch.arange(LATENT_FRAMES - 1, device=device)[:, None]
    latter = latter + torch.arange(-2, 6, device=device)
    one = speech.features[piece[..., None], first.clamp(0, last)]
    return one, speech.features[piece[..., None, None], latter.clamp(0, last)]


def conditioned(reference: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Mask and latents of a reference followed by grey: [B, 16, 3, h, w], [1, 16, 1, h, w] -> [B, 20, 21, h, w]."""
    tail = grey.float().expand(len(reference), -1, LATENT_FRAMES - reference.shape[2], -1, -1)
    latents = torch.cat((reference.float(), tail), dim=2)
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, :1] = 1
    return torch.cat((mask, latents), dim=1)


def choose_speech(speech: Speech, shape: tuple[int, int], idle: float, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces and starts, both int64 of a shape (n, P); in a share `idle` one is silent, but never all of several."""
    device = speech.features.device
    loud, quiet = (torch.nonzero(flag)[:, 0] for flag in (~speech.silent, speech.silent))

    def pick(choices: torch.Tensor) -> torch.Tensor:
        return choices[torch.randint(len(choices), shape, generator=generator, device=device)]

    rests = torch.rand(shape, generator=generator, device=device) < idle
    if shape[1] > 1:
        rests &= ~rests.all(dim=1, keepdim=True)
    piece = torch.where(rests, pick(quiet), pick(loud))
    last = speech.features.shape[1] - FRAMES - BEFORE
    start = BEFORE + torch.randint(last, shape, generator=generator, device=device)
    return piece, start


def cells(boxes: torch.Tensor, size: tuple[int, int], cell: int) -> torch.Tensor:
    """Which cells boxes [.., 4] (x0, y0, x1, y1 in pixels) touch: bool [.., H/cell, W/cell]."""
    rows, columns = (torch.arange(side // cell, device=boxes.device) * cell for side in size)
    x0, y0, x1, y1 = (boxes[..., i, None] for i in range(4))
    across, down = (x0 < columns + cell) & (x1 > columns), (y0 < rows + cell) & (y1 > rows)
    return down[..., :, None] & across[..., None, :]


def regions(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Token masks of people [n, P, 4] and the background: bool [n, P + 1, S]; a token counts by its centre."""
    half = TOKEN / 2
    centres = boxes + torch.tensor([half, half, -half, -half], device=boxes.device)  # touched == centre inside
    people = cells(centres, size, TOKEN).flatten(2)
    return torch.cat((people, ~people.any(dim=1, keepdim=True)), dim=1)


def make_bank(vae, speech: Speech, count: int, people: int, size: tuple[int, int], seed: int) -> Bank:  # noqa: PLR0913
    """Draw and encode n = `count` clips of `people` at (H, W) = `size`, see Bank for the shapes.

    vae: encode and decode of [B, T, 3, H, W] in -1..1 <-> normalised latents.
    """
    device = speech.features.device
    generator = torch.Generator(device).manual_seed(seed)
    parts = []
    for begin in range(0, count, CHUNK):
        parts.append(_clips(vae, speech, min(CHUNK, count - begin), people, size, seed * 100_003 + begin, generator))
    joined = {
        f.name: parts[0].grey if f.name == "grey" else torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(Bank)
    }
    return Bank(**joined)


@torch.no_grad()
def _clips(vae, speech, count, people, size, seed, generator) -> Bank:  # noqa: PLR0913
    device = speech.features.device

    def rand(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    camera = torch.where(rand(count) < 0.7, 0, (rand(count) * (len(CAMERAS) - 1)).long() + 1)
    scene = sample_scenes(count, people=people, size=size, seed=seed, camera=camera, device=device)
    piece, start = choose_speech(speech, (count, people), 0.3 if people > 1 else 0.08, generator)
    frames = start[..., None] + torch.arange(-BEFORE, FRAMES, device=device)
    opening, width = speech.opening[piece[..., None], frames], speech.width[piece[..., None], frames]
    moving = camera > 0
    origin = torch.where(moving, rand(count) * 2.0 - 2.0, rand(count) * 100)
    times = origin[:, None] + torch.arange(-BEFORE, FRAMES, device=device) / FPS
    video = draw(scene, times, opening, width, energy_of(opening)) * 2 - 1

    # another frame: near in time (a source video's, any mouth) or far (a picture's), mostly with the mouth shut
    apart = torch.where(rand(count) < 0.4, rand(count) * 0.4, torch.where(moving, rand(count) * 3.2, rand(count) * 40))
    at = origin[:, None] + apart[:, None]
    shut = rand(count, people, 1) < 0.6
    other_opening = torch.where(shut, torch.zeros_like(opening[..., :1]), rand(count, people, 1))
    other = draw(scene, at, other_opening, rand(count, people, 1), torch.zeros_like(other_opening)) * 2 - 1

    clip = video[:, BEFORE:]
    latents = vae.encode(clip)
    before = vae.decode(vae.encode(video[:, : BEFORE + MOTION]))[:, BEFORE:].clamp(-1, 1)  # as a run's last frames
    padded = clip.new_zeros(2 * count, MOTION, *clip.shape[2:])
    padded[:count, 0], padded[count:, 0] = clip[:, 0], other[:, 0]
    own, far = vae.encode(padded).chunk(2)
    boxes = mouth_boxes(scene, times[:, BEFORE:])
    mouth, eyes = (_touched(part, size) for part in (boxes, eye_boxes(boxes)))
    grey = vae.encode(clip.new_zeros(1, 2 * MOTION - 1, *clip.shape[2:]))[:, :, -1:]
    small = torch.bfloat16
    return Bank(
        latents.to(small), vae.encode(before).to(small), own.to(small), far.to(small), grey.to(small),
        mouth, eyes, piece, start, camera + 1, regions(person_boxes(scene), size),
    )  # fmt: skip


def _touched(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cells that boxes [n, P, 81, 4] touch in any frame of a latent one: bool [n, 21, h, w]."""
    touched = cells(boxes, size, CELL).any(dim=1)
    groups = touched[:, 1:].unflatten(1, (-1, 4)).any(dim=2)
    return torch.cat((touched[:, :1], groups), dim=1)
