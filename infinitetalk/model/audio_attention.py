"""Audio cross-attention of one DiT block: every latent frame's tokens attend to that frame's audio tokens.

With several speakers their audio tokens stand behind each other, and queries and keys are rotated by the
positions that `speaker_map.py` gives. Works on any block module with the published names (`norm_x`,
`audio_cross_attn.{q_linear,kv_linear,proj}`). Must not know which block it is, the guidance branch, or the host:
the attention kernel comes in.

Shapes: B batch, T latent frames, S tokens per latent frame, M audio tokens per latent frame (of all speakers),
D model width.
Source: SingleStreamAttention and SingleStreamMutiAttention of the public InfiniteTalk implementation (one speaker:
no rotation; never a q/k norm).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .speaker_map import Positions, rotate

HEAD_WIDTH = 128  # of every Wan model

Attention = Callable[..., torch.Tensor]  # (q [B,N,D], k, v, heads=int) -> [B,N,D]


class AudioCrossAttention(nn.Module):
    """Query from the picture, key and value from the audio in one linear layer."""

    def __init__(self, dim: int, token_width: int, *, operations, device=None, dtype=None):
        super().__init__()
        at = {"device": device, "dtype": dtype}
        self.q_linear = operations.Linear(dim, dim, **at)
        self.kv_linear = operations.Linear(token_width, 2 * dim, **at)
        self.proj = operations.Linear(dim, dim, **at)


class AudioBlock(nn.Module):
    """What the adapter adds to one DiT block."""

    def __init__(self, dim: int, token_width: int, *, operations, device=None, dtype=None):
        super().__init__()
        self.norm_x = operations.LayerNorm(dim, eps=1e-6, device=device, dtype=dtype)
        self.audio_cross_attn = AudioCrossAttention(dim, token_width, operations=operations, device=device, dtype=dtype)


def cross_attend(
    layers: nn.Module, x: torch.Tensor, audio: torch.Tensor, attention: Attention, positions: Positions | None = None
) -> torch.Tensor:
    """x: normed tokens [B, T*S, D], audio: [B, T, M, W] -> [B, T*S, D]. positions: with several speakers."""
    batch, count, dim = x.shape
    frames, heads = audio.shape[1], dim // HEAD_WIDTH
    q = layers.q_linear(x)
    k, v = layers.kv_linear(audio.flatten(0, 1)).chunk(2, dim=-1)
    if positions is not None:
        q = rotate(q.unflatten(-1, (heads, HEAD_WIDTH)), positions.queries).flatten(-2)
        k = rotate(k.unflatten(-1, (heads, HEAD_WIDTH)), positions.keys).flatten(-2)
    out = attention(q.view(batch * frames, count // frames, dim), k, v, heads=heads)
    return layers.proj(out.reshape(batch, count, dim))


def add_audio(
    block: nn.Module,
    x: torch.Tensor,
    audio: torch.Tensor,
    grid,
    attention: Attention,
    positions: Positions | None = None,
) -> torch.Tensor:
    """The residual stream after one block's audio cross-attention.

    x: [B, N, D] with the T*H*W tokens of `grid` first (tokens appended behind them are left alone);
    audio: [B, T, M, W]; positions: of those T*H*W tokens, with several speakers.
    """
    count = grid[0] * grid[1] * grid[2]
    frames = x[:, :count]
    heard = frames + cross_attend(block.audio_cross_attn, block.norm_x(frames), audio, attention, positions)
    return heard if count == x.shape[1] else torch.cat((heard, x[:, count:]), dim=1)
