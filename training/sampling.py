"""How well a DiT in training talks: clips of unheard voices and unseen faces, sampled and measured in the pixels.

A quick look during a training; `bench quality` measures the exported files through the host. Must not know losses.
"""

from __future__ import annotations

import numpy as np
import torch

from talker.draw import draw
from talker.measure import mouth
from talker.scene import person_boxes, sample_scenes, search_boxes
from talker.sync import score

from .bank import FRAMES, LATENT_FRAMES, MOTION, Speech, choose_speech, features_of, regions
from .dit import Talker

SEED, CLIPS = 990_001, 12
STEPS, SHIFT = 8, 3.0
LOOKS = (((128, 128), 1, 0.0), ((128, 192), 2, 0.4), ((128, 256), 3, 0.3))  # size, people, share of idle people


def conditioned(reference: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Mask and latents of a reference followed by grey: [B, 16, 3, h, w], [1, 16, 1, h, w] -> [B, 20, 21, h, w]."""
    tail = grey.float().expand(len(reference), -1, LATENT_FRAMES - reference.shape[2], -1, -1)
    latents = torch.cat((reference.float(), tail), dim=2)
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, :1] = 1
    return torch.cat((mask, latents), dim=1)


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
def evaluate(talker: Talker, vae, speech: Speech, whole: bool = False) -> str:
    """A line for each kind of picture (only the first unless `whole`): correlations, closed share, idle people."""
    device = speech.features.device
    lines = []
    for size, people, idle in LOOKS if whole else LOOKS[:1]:
        generator = torch.Generator(device).manual_seed(SEED)
        scene = sample_scenes(CLIPS, people=people, size=size, seed=SEED, device=device)
        piece, start = choose_speech(speech, (CLIPS, people), idle, generator)
        shut = torch.zeros(CLIPS, people, 1, device=device)
        picture = draw(scene, torch.zeros(CLIPS, 1, device=device), shut, shut + 0.5, shut) * 2 - 1
        padded = torch.cat((picture, picture.new_zeros(CLIPS, MOTION - 1, *picture.shape[2:])), dim=1)
        reference = vae.encode(padded).float()
        grey = vae.encode(padded.new_zeros(1, 2 * MOTION - 1, *picture.shape[2:]))[:, :, -1:]
        masks = regions(person_boxes(scene), size)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            first, latter = (part.float() for part in features_of(speech, piece, start))
            audio = torch.cat([talker.audio_tokens(first[:, n], latter[:, n]) for n in range(people)], dim=2)
            held = masks.to(audio.dtype) if people > 1 else None
            prompts = torch.ones(CLIPS, dtype=torch.int64, device=device)
            latents = sample(talker, reference[:, :, :1], conditioned(reference, grey), audio, prompts, held, generator)
        video = ((vae.decode(latents).clamp(-1, 1) + 1) * 127.5).byte().permute(0, 1, 3, 4, 2).cpu().numpy()
        lines.append(_measured(video, scene, speech, piece, start))
    return "\n".join(lines)


def _measured(video: np.ndarray, scene, speech: Speech, piece: torch.Tensor, start: torch.Tensor) -> str:
    frames = start[..., None] + torch.arange(FRAMES, device=start.device)
    opening = speech.opening[piece[..., None], frames].cpu().numpy()
    width = speech.width[piece[..., None], frames].cpu().numpy()
    boxes = search_boxes(scene).cpu().numpy()
    scores, others = [], []
    for clip in range(len(video)):
        for person in range(scene.people):
            seen = mouth(video[clip], tuple(boxes[clip, person]))
            scores.append(score(seen, opening[clip, person], width[clip, person], video.shape[2]))
            stranger = score(seen, opening[clip - 1, person - 1], width[clip - 1, person - 1], video.shape[2])
            others.append(stranger.opening)
    table = {name: np.array([one.as_dict()[name] for one in scores]) for name in scores[0].as_dict()}
    means = ", ".join(f"{name} {np.nanmean(values):.3f}" for name, values in table.items())
    return f"{scene.people} people: {means}, worst {np.nanmin(table['opening']):.3f}, other {np.nanmean(others):.3f}"
