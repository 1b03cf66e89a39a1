"""How well a DiT in training talks: clips of unheard voices and unseen faces, sampled and measured in the pixels.

A quick look during a training; `bench quality` measures the exported files through the host. Must not know losses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from talker.draw import draw
from talker.lasting import identity
from talker.measure import mouth
from talker.scene import person_boxes, sample_scenes, search_boxes
from talker.sync import score

from .bank import BEFORE, FRAMES, MOTION, Speech, choose_speech, conditioned, features_of, regions
from .dit import Talker

SEED, CLIPS = 990_001, 12
STEPS, SHIFT = 8, 3.0
WINDOWS = 6  # that follow each other in `chain`: as many as a piece of speech is long
LOOKS = (((128, 128), 1, 0.0), ((128, 192), 2, 0.4), ((128, 256), 3, 0.3))  # size, people, share of idle people


def sample(talker: Talker, held, condition, audio, prompts, masks, generator) -> torch.Tensor:  # noqa: PLR0913
    """Euler's method over a shifted schedule; the first latents stay as held [B, 16, n, h, w]."""
    times = torch.linspace(1, 0, STEPS + 1)
    sigmas = (SHIFT * times / (1 + (SHIFT - 1) * times)).tolist()
    x = torch.randn(condition[:, :16].shape, generator=generator, device=condition.device)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = torch.cat((held, x[:, :, held.shape[2] :]), dim=2)
        now = torch.full((len(x),), 1000 * sigma, device=x.device)
        x = x + (following - sigma) * talker(x, condition, now, prompts, audio, masks, rare=True)
    return torch.cat((held, x[:, :, held.shape[2] :]), dim=2)


@torch.no_grad()
def evaluate(talker: Talker, vae, speech: Speech, whole: bool = False, clips: int = CLIPS) -> str:
    """A line for each kind of picture (only the first unless `whole`): correlations, closed share, idle people."""
    lines = []
    for size, people, idle in LOOKS if whole else LOOKS[:1]:
        scene, piece, start, generator = _cast(speech, size, people, idle, clips)
        reference, grey = _reference(vae, scene, size)
        masks = regions(person_boxes(scene), size)
        voices = _voices(talker, speech, piece, start)
        latents = _window(talker, reference[:, :, :1], conditioned(reference, grey), voices, masks, generator)
        video = _pixels(vae.decode(latents))
        lines.append(_measured(video, scene, speech, piece, start))
    return "\n".join(lines)


@torch.no_grad()
def chain(talker: Talker, vae, speech: Speech, path: Path, clips: int = CLIPS, windows: int = WINDOWS) -> str:  # noqa: PLR0913
    """Windows one after the other, as in a run but without its colour correction: how lips and faces last.

    Draws the first six people to a PNG: the picture given, and the last frame of every window.
    """
    scene, piece, start, generator = _cast(speech, *LOOKS[0], clips)
    start = torch.full_like(start, BEFORE)
    reference, grey = _reference(vae, scene, LOOKS[0][0])
    condition, held, parts = conditioned(reference, grey), reference[:, :, :1], []
    for window in range(windows):
        voices = _voices(talker, speech, piece, start + window * (FRAMES - MOTION))
        frames = vae.decode(_window(talker, held, condition, voices, None, generator)).clamp(-1, 1)
        held = vae.encode(frames[:, -MOTION:])
        parts.append(_pixels(frames[:, MOTION if window else 0 :]))
    video = np.concatenate(parts, axis=1)
    ends = [0, *(FRAMES - 1 + n * (FRAMES - MOTION) for n in range(windows))]
    Image.fromarray(np.concatenate([np.concatenate(list(clip[ends]), axis=1) for clip in video[:6]])).save(path)
    mouths, people = (boxes[:, 0].cpu().numpy() for boxes in (search_boxes(scene), person_boxes(scene)))
    faces = [identity(*one) for one in zip(video, mouths, people, strict=True)]
    colour, shape = (np.array([getattr(face, name) for face in faces]) for name in ("colour", "shape"))
    shape = np.minimum(shape, 100)  # of lost ones
    told = f"colour {colour[:, 1:5].mean():.2f} to {colour[:, -4:].mean():.2f} dE (worst {colour[:, -4:].max():.2f})"
    told += f", shape {shape[:, 1:5].mean():.2f} to {shape[:, -4:].mean():.2f} % (worst {shape[:, -4:].max():.2f})"
    return f"{windows} windows, {told}; {_measured(video, scene, speech, piece, start)}"


def _cast(speech: Speech, size: tuple[int, int], people: int, idle: float, clips: int):
    """(scene, pieces and starts of what they say [clips, P], generator): the same at every look."""
    device = speech.features.device
    generator = torch.Generator(device).manual_seed(SEED)
    scene = sample_scenes(clips, people=people, size=size, seed=SEED, device=device)
    return scene, *choose_speech(speech, (clips, people), idle, generator), generator


def _reference(vae, scene, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the scenes' pictures with shut mouths, [clips, 16, 3, h, w], and of grey, [1, 16, 1, h, w]."""
    shut = torch.zeros_like(scene.x)[..., None]
    picture = draw(scene, torch.zeros(1), shut, shut + 0.5, shut) * 2 - 1
    padded = torch.cat((picture, picture.new_zeros(len(picture), MOTION - 1, *picture.shape[2:])), dim=1)
    grey = vae.encode(padded.new_zeros(1, 2 * MOTION - 1, *picture.shape[2:]))[:, :, -1:]
    return vae.encode(padded).float(), grey


def _voices(talker: Talker, speech: Speech, piece: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Audio tokens of a window, those of all people behind each other."""
    with _quick(start.device):
        first, latter = (part.float() for part in features_of(speech, piece, start))
        return torch.cat([talker.audio_tokens(first[:, n], latter[:, n]) for n in range(piece.shape[1])], dim=2)


def _window(talker: Talker, held, condition, voices, masks, generator) -> torch.Tensor:  # noqa: PLR0913
    """Latents of a window for the prompt of a still camera; masks matter where there are two people and more."""
    prompts = torch.ones(len(held), dtype=torch.int64, device=held.device)
    several = masks is not None and masks.shape[1] > 2
    with _quick(held.device):
        return sample(
            talker, held, condition, voices, prompts, masks.to(voices.dtype) if several else None, generator
        ).float()


def _quick(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _pixels(frames: torch.Tensor) -> np.ndarray:
    """[B, T, 3, H, W] in -1..1 -> uint8 [B, T, H, W, 3]."""
    return ((frames.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 1, 3, 4, 2).cpu().numpy()


def _measured(video: np.ndarray, scene, speech: Speech, piece: torch.Tensor, start: torch.Tensor) -> str:
    frames = start[..., None] + torch.arange(video.shape[1], device=start.device)
    opening = speech.opening[piece[..., None], frames].cpu().numpy()
    width = speech.width[piece[..., None], frames].cpu().numpy()
    boxes = search_boxes(scene).cpu().numpy()
    scores, others = [], []
    for clip in range(len(video)):
        for person in range(scene.people):
            seen = mouth(video[clip], tuple(boxes[clip, person]))
            scores.append(score(seen, opening[clip, person], width[clip, person], scene.unit))
            stranger = score(seen, opening[clip - 1, person - 1], width[clip - 1, person - 1], scene.unit)
            others.append(stranger.opening)
    table = {name: np.array([one.as_dict()[name] for one in scores]) for name in scores[0].as_dict()}
    means = ", ".join(f"{name} {np.nanmean(values):.3f}" for name, values in table.items())
    return f"{scene.people} people: {means}, worst {np.nanmin(table['opening']):.3f}, other {np.nanmean(others):.3f}"
