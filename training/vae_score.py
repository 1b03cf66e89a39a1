"""How good a VAE is: drawn clips it has not seen, there and back, the mouths measured in the pixels as bench does.

Must not know how it was trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from talker.draw import draw
from talker.measure import Mouth, mouth
from talker.scene import Scene, sample_scenes, search_boxes
from talker.sync import correlation, within_latents

from .vae import Vae
from .vae_clips import FLUTTERS, FPS, KINDS, SPEAKS, Kind, mouths

UNSEEN = 900_000_000_000  # seeds from here on are not trained on
FRAMES = 81


def psnr(error: torch.Tensor) -> float:
    """Signal to noise in dB of an error in -1..1 pictures."""
    return float(10 * torch.log10(4 / error.square().mean().clamp(min=1e-9)))


@torch.no_grad()
def there_and_back(vae: Vae, x: torch.Tensor) -> torch.Tensor:
    """Clips [B, T, 3, H, W] in -1..1 decoded from their latents, clamped; bfloat16 within on a GPU."""
    with _quick(x.device):
        return vae.decode(vae.encode(x)).float().clamp(-1, 1)


@torch.no_grad()
def unseen(
    kind: Kind, clips: int, seed: int, device: torch.device, way: float | None = None
) -> tuple[Scene, torch.Tensor]:
    """Scenes that are not trained on, and their first 81 frames [clips, 81, 3, H, W] in -1..1; still cameras."""
    generator = torch.Generator(device).manual_seed(UNSEEN + seed)
    scene = sample_scenes(clips, people=kind.people, size=kind.size, seed=UNSEEN + seed, device=device)
    opening, width = mouths(clips, kind.people, FRAMES, generator, way)
    times = torch.arange(FRAMES, device=device) / FPS
    return scene, (draw(scene, times, opening, width) * 255).round() / 127.5 - 1


@torch.no_grad()
def take_statistics(vae: Vae, groups: torch.Tensor) -> None:
    """Set the mean and deviation of each channel of the latents, from groups of frames uint8 [n, 4, 3, H, W]."""
    vae.latent_mean.zero_()
    vae.latent_std.fill_(1)
    with _quick(groups.device):
        chunks = [vae.to_latents(part.flatten(0, 1) / 127.5 - 1, 0)[0].float() for part in groups.split(64)]
    latents = torch.cat(chunks)
    vae.latent_mean.copy_(latents.mean((0, 2, 3)))
    vae.latent_std.copy_(latents.std((0, 2, 3)))


@torch.no_grad()
def score(vae: Vae, seed: int, device: torch.device, clips: int = 4, kind: Kind = KINDS[0]) -> dict[str, float]:
    """Compare clips with what comes back.

    r, worst: correlation of the mouths' measured openings per frame where people speak, mean and lowest; within: of the
    changes within the groups of four; flutter: where each frame's mouth is its own; width: of the lips' width.
    psnr, first, last: in dB, over all frames, of frame 0, of the last quarter.
    """
    rows, errors = {}, []
    for way in (SPEAKS, FLUTTERS):
        scene, truth = unseen(kind, clips, seed, device, way)
        found = torch.cat([there_and_back(vae, truth[clip : clip + 1]) for clip in range(clips)])
        boxes = search_boxes(scene).cpu().numpy()
        rows[way] = np.array([
            _compare(mouth(_frames(truth[clip]), box), mouth(_frames(found[clip]), box))
            for clip in range(clips) for box in boxes[clip]
        ])  # fmt: skip
        errors.append(found - truth)
    error = torch.cat(errors)
    speech = rows[SPEAKS]
    return {
        "r": speech[:, 0].mean(), "worst": speech[:, 0].min(), "within": speech[:, 1].mean(),
        "flutter": rows[FLUTTERS][:, 0].mean(), "width": speech[:, 2].mean(),
        "psnr": psnr(error), "first": psnr(error[:, 0]), "last": psnr(error[:, -FRAMES // 4 :]),
    }  # fmt: skip


@torch.no_grad()
def draw_strip(vae: Vae, path: Path, device: torch.device, frames: int = 9) -> None:
    """A PNG of two unseen clips with fluttering mouths, of one and of three people: truth above what comes back."""
    rows = []
    for kind in (KINDS[0], KINDS[-1]):
        _, x = unseen(kind, 1, 7, device, FLUTTERS)
        x = x[:, :frames]
        for pictures in (x[0], there_and_back(vae, x)[0]):
            rows.append(_frames(pictures[: frames * 128 // kind.size[1]]).transpose(1, 0, 2, 3).reshape(128, -1, 3))
    width = min(row.shape[1] for row in rows)
    Image.fromarray(np.concatenate([row[:, :width] for row in rows])).save(path)


@contextlib.contextmanager
def _quick(device: torch.device) -> Iterator[None]:
    """bfloat16 on a GPU; no trying of kernels, which takes longer than it saves for shapes seen once."""
    with (
        torch.backends.cudnn.flags(benchmark=False),
        torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"),
    ):
        yield


def _frames(pictures: torch.Tensor) -> np.ndarray:
    pixels = ((pictures + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def _compare(truth: Mouth, found: Mouth) -> tuple[float, float, float]:
    """Correlations of opening, of its changes within groups, of width."""
    return (
        correlation(found.opening, truth.opening),
        correlation(within_latents(found.opening), within_latents(truth.opening)),
        correlation(found.width, truth.width),
    )
