"""What the small DiT learns: flow matching on windows that begin or continue a video, and what is dropped by chance.

Knows clips as latents and speech as features; must not know how they were made, optimizers or files.

Shapes as in dit.py and bank.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .bank import LATENT_FRAMES, MOTION_LATENTS, Bank, Speech, conditioned, features_of
from .dit import Talker
from .mistakes import Errors, noise

MOUTH, EYES = 5.0, 2.0  # extra weight of the loss where they are
# Shares of the clips without text and without audio, independent of each other. What guidance multiplies is the
# difference of the branches, so the one without audio has to read a mouth from a noisy picture as well as the other.
TEXT_DROP, AUDIO_DROP = 0.1, 0.25


@dataclass(frozen=True)
class Source:
    """Clips of one kind, what is said in them, and the net's latest errors at them."""

    bank: Bank
    speech: Speech
    errors: Errors


def draw_times(count: int, generator) -> torch.Tensor:
    """Flow times in 0..1: half uniform, half logit-normal, then bent by a shift of 1, 3 or 5."""
    device = generator.device
    uniform = torch.rand(count, generator=generator, device=device)
    normal = torch.sigmoid(torch.randn(count, generator=generator, device=device))
    times = torch.where(torch.arange(count, device=device) % 2 == 0, uniform, normal)
    shift = 1 + 2 * torch.randint(3, (count,), generator=generator, device=device)
    return shift * times / (1 + (shift - 1) * times)


def held_latents(clips: Bank, errors: Errors, generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(latents to hold [B, 16, 3, h, w], how many of them [B], references [B, 16, 3, h, w]) of a batch.

    Half of the clips begin a video: one latent, the reference's own. The others continue one: three motion latents,
    spoilt in most clips because a run's own are never exact, and another picture as the reference: what has
    gone wrong in a window is to be put right in the next.
    """
    count, device = len(clips.latents), clips.latents.device

    def rand(share: float) -> torch.Tensor:
        return torch.rand(count, 1, 1, 1, 1, generator=generator, device=device) < share

    continues, strange = rand(0.5), rand(0.1)
    motion = clips.motion.float()
    motion = motion + noise(motion.shape, generator) * rand(0.5) + errors.some(count, generator) * rand(0.6)
    held = torch.where(continues, motion, clips.latents[:, :, :MOTION_LATENTS].float())
    reference = torch.where(continues | strange, clips.other.float(), clips.own.float())
    return held, torch.where(continues.flatten(), MOTION_LATENTS, 1), reference


def loss_of(talker: Talker, source: Source, count: int, deaf: bool, generator) -> torch.Tensor:
    """The weighted flow matching loss of a random batch; deaf: several people without audio. Its errors are kept."""
    bank, device = source.bank, source.bank.latents.device
    clips = bank.take(torch.randint(len(bank.latents), (count,), generator=generator, device=device))
    clean = clips.latents.float()
    held, length, reference = held_latents(clips, source.errors, generator)
    times = draw_times(count, generator)
    sigma = times[:, None, None, None, None]
    grain = torch.randn(clean.shape, generator=generator, device=device)
    free = torch.arange(LATENT_FRAMES, device=device) >= length[:, None]  # [B, T]
    free = free[:, None, :, None, None]
    start = torch.cat((held, clean[:, :, MOTION_LATENTS:]), dim=2)
    x = torch.where(free, torch.lerp(clean, grain, sigma), start)

    people = clips.piece.shape[1]
    dropped = torch.rand(count, generator=generator, device=device) < AUDIO_DROP
    first, latter = features_of(source.speech, clips.piece, clips.start)  # [B, P, 5, L, C], [B, P, 20, 8, L, C]
    first, latter = first.float(), latter.float()
    if people == 1:
        first, latter = (part * ~dropped.view(-1, *[1] * (part.ndim - 1)) for part in (first, latter))
    if deaf:  # as in a run: the branches without audio have one voice and know no regions
        first, latter = torch.zeros_like(first[:, :1]), torch.zeros_like(latter[:, :1])
    prompts = clips.prompts * (torch.rand(count, generator=generator, device=device) >= TEXT_DROP)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        voices = [talker.audio_tokens(first[:, n], latter[:, n]) for n in range(first.shape[1])]
        masks = clips.masks.to(voices[0].dtype) if people > 1 and not deaf else None
        velocity = talker(
            x, conditioned(reference, clips.grey), 1000 * times, prompts, torch.cat(voices, dim=2), masks, rare=deaf
        )
    weight = (1 + MOUTH * clips.mouth + EYES * clips.eyes)[:, None] * free
    error = velocity - (grain - clean)
    source.errors.keep(-error, times)  # a clean latent is the noisy one less sigma times the velocity
    return (error.square() * weight).sum() / (weight.sum() * clean.shape[1])
