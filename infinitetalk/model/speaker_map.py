"""Which speaker every picture token belongs to, and the rotary positions that bind it to that speaker's audio.

A token belongs to the class (speaker 1..N or background) whose region of the first latent frame it attends to
most. It gets a position from that class's range, the audio of speaker n the centre of range n, so that the
rotated audio attention hears near voices and hardly distant ones. Must not know pixels, audio or the host: the
attention kernel comes in.

Shapes: B batch, L tokens of all latent frames, S tokens of one latent frame, H heads, C classes (N speakers, then
the background), M audio tokens per speaker.
Source: get_attn_map_with_target and SingleStreamMutiAttention of the public InfiniteTalk implementation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

RANGE = 4.0  # width of a speaker's range of positions
SPACING = 20.0  # from one speaker's range to the next one's: the two trained ranges are 0..4 and 20..24
BACKGROUND = 12.0
BASE = 10_000.0
EPSILON = 1e-8  # of the scaling into a range


class Positions(NamedTuple):
    """Rotary positions of the audio attention: queries [B, L], one per picture token; keys [N * M]."""

    queries: torch.Tensor
    keys: torch.Tensor


def speaker_map(q: torch.Tensor, k: torch.Tensor, masks: torch.Tensor, attention) -> torch.Tensor:
    """How much of its attention each token gives to each region, per token of the region: float32 [B, C, L].

    q, k: the self-attention's, normed and rotated, [B, L, H, d]; masks: 0/1 [B, C, S]. The values of the
    attention call are the masks, so no query-key matrix exists; they are divided by the regions' sizes
    afterwards, in float32, because 0 and 1 are exact in every type. An odd last head is left out, as in the
    source. An empty region gets 0.
    """
    heads, width = max(q.shape[2] // 2 * 2, 1), q.shape[3]
    classes, tokens = masks.shape[1:]
    values = torch.nn.functional.pad(masks.to(q.dtype).transpose(1, 2), (0, width - classes))  # kernels want k's width
    values = values[:, :, None].expand(-1, -1, heads, -1).flatten(2)
    share = attention(q[:, :, :heads].flatten(2), k[:, :tokens, :heads].flatten(2), values, heads=heads)
    share = share.unflatten(2, (heads, width))[..., :classes].float().mean(dim=2)
    return (share / masks.sum(dim=2).float().clamp(min=1.0)[:, None]).transpose(1, 2)


def query_positions(shares: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Position of every picture token, float32 [B, L].

    shares: [B, C, L] of `speaker_map`; present: bool [B, C], the regions that are not empty (an empty one can
    win no token). Within speaker n's range the position is the speaker's share scaled by its own minimum and
    maximum over all tokens of the call; the background has one position.
    """
    low, high = shares.amin(dim=2, keepdim=True), shares.amax(dim=2, keepdim=True)
    positions = (shares - low) / (high - low + EPSILON) * RANGE
    positions = positions + SPACING * torch.arange(shares.shape[1], device=shares.device)[:, None]
    positions[:, -1] = BACKGROUND
    winner = shares.masked_fill(~present[:, :, None], -1.0).argmax(dim=1, keepdim=True)
    return positions.gather(1, winner)[:, 0]


def key_positions(voices: int, tokens: int, device=None) -> torch.Tensor:
    """Position of every audio token of a latent frame, float32 [N * M]: the centre of its speaker's range."""
    centres = SPACING * torch.arange(voices, device=device) + RANGE / 2
    return centres.repeat_interleave(tokens)


def rotate(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotary embedding over the whole head width, neighbouring channels paired.

    x: [.., tokens, H, d]; positions: [.., tokens]. Angles, sines and products in float32, the result as x came.
    """
    width = x.shape[-1]
    frequencies = BASE ** (-torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width)
    angles = (positions.float()[..., None] * frequencies)[..., None, :]
    cos, sin = angles.cos(), angles.sin()
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * cos - odd * sin).to(x.dtype), (even * sin + odd * cos).to(x.dtype)
    return torch.stack(turned, dim=-1).flatten(-2)
