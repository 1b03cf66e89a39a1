"""The small Wan 2.1 image-to-video DiT with its InfiniteTalk adapter, in a form that trains fast.

Parameters carry the host's names (`dit.*` those of the diffusion model, `adapter.*` those of the adapter), and the
forward pass computes what the host computes with the adapter attached; dit_export.py writes both files. The CLIP
branch is left out: the files hold it with values of zero. Must not know data, losses or files.

Shapes: B batch, T latent frames, h, w latent cells, S = h/2 * w/2 tokens of a latent frame, N = T * S tokens,
D width, V voices, M audio tokens of a voice and latent frame, C regions (voices, then the background).
Source: Wan 2.1 (WanModel, image-to-video) and the public InfiniteTalk implementation.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from infinitetalk.model.adapter import AdapterShape, InfiniteTalkAdapter
from infinitetalk.model.audio_attention import HEAD_WIDTH, add_audio
from infinitetalk.model.speaker_map import Positions, key_positions, query_positions, speaker_map

LATENTS, CONDITION = 16, 20  # channels: of a latent; of the mask (4) and the reference's latent
FREQUENCIES = 256  # width of the sinusoidal time embedding
TEXT_WIDTH = 4096
PROMPT_TOKENS = 4
AXES = (44, 42, 42)  # of a head's 128 channels: time, rows, columns


@dataclass(frozen=True)
class DiTShape:
    """Sizes: blocks, width (heads of 128), ffn; features: encoder layers times channels; prompts: how many."""

    blocks: int = 6
    dim: int = 256
    ffn: int = 1024
    features: int = 256
    audio_hidden: int = 128
    audio_tokens: int = 32
    token_width: int = 64
    prompts: int = 6

    def as_dict(self) -> dict:
        return asdict(self)


def prompt_codes(count: int, seed: int = 20251122) -> torch.Tensor:
    """Fixed embeddings in place of a text encoder's: float32 [count, 4, 4096], standard normal, exact in fp16."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, PROMPT_TOKENS, TEXT_WIDTH, generator=generator).half().float()


def sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention over [B, N, heads * d], as the host's kernels take it."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@functools.cache
def rope_angles(grid: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """Rotary angles of the tokens of a grid (T, rows, columns): float32 [N, 64]."""
    parts = []
    for axis, (count, width) in enumerate(zip(grid, AXES, strict=True)):
        exponents = torch.arange(0, width, 2, device=device, dtype=torch.float64) / width
        angles = torch.arange(count, device=device, dtype=torch.float64)[:, None] * 10_000.0**-exponents
        view = [1, 1, 1, width // 2]
        view[axis] = count
        parts.append(angles.view(view).expand(*grid, width // 2))
    return torch.cat(parts, dim=-1).flatten(0, 2).float()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [B, N, H, 128] turned by [N, 64] angles, neighbouring channels paired."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


class Norm(nn.Module):
    """Root mean square norm with a gain."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, 1e-6).to(x.dtype)


class Attention(nn.Module):
    """The projections of a self- or a text attention."""

    def __init__(self, dim: int):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = Norm(dim), Norm(dim)


class Block(nn.Module):
    """One DiT block; its adapter block comes in with the call."""

    def __init__(self, dim: int, ffn: int):
        super().__init__()
        self.heads = dim // HEAD_WIDTH
        self.self_attn, self.cross_attn = Attention(dim), Attention(dim)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.GELU(approximate="tanh"), nn.Linear(ffn, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x, e, rope, text, audio, audio_block, grid, masks):  # noqa: PLR0913  # one call, compiled whole
        """x [B, N, D]; e [B, 6, D]; rope (cos, sin); text [B, 4, D]; audio [B, T, V*M, W]; masks [B, C, S] or None."""
        shift, scale, gate, shift2, scale2, gate2 = (self.modulation + e).to(x.dtype).chunk(6, dim=1)
        dim = x.shape[-1:]
        normed = F.layer_norm(x, dim, eps=1e-6) * (1 + scale) + shift
        own = self.self_attn
        q = rotate(own.norm_q(own.q(normed)).unflatten(2, (self.heads, HEAD_WIDTH)), *rope)
        k = rotate(own.norm_k(own.k(normed)).unflatten(2, (self.heads, HEAD_WIDTH)), *rope)
        x = x + own.o(sdpa(q.flatten(2), k.flatten(2), own.v(normed), self.heads)) * gate
        positions = None
        if masks is not None:
            with torch.no_grad():
                voices = masks.shape[1] - 1
                shares = speaker_map(q, k, masks, sdpa)
                keys = key_positions(voices, audio.shape[2] // voices, x.device)
                positions = Positions(query_positions(shares, masks.any(dim=2)), keys)
        told = self.cross_attn
        query = told.norm_q(told.q(self.norm3(x)))
        x = x + told.o(sdpa(query, told.norm_k(told.k(text)), told.v(text), self.heads))
        x = add_audio(audio_block, x, audio, grid, sdpa, positions)
        normed = F.layer_norm(x, dim, eps=1e-6) * (1 + scale2) + shift2
        return x + self.ffn(normed) * gate2


class Head(nn.Module):
    """The last norm and the layer that makes latents of tokens."""

    def __init__(self, dim: int):
        super().__init__()
        self.head = nn.Linear(dim, 4 * LATENTS)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """x [B, N, D], e [B, 1, D] -> float32 [B, N, 64]."""
        shift, scale = (self.modulation + e).chunk(2, dim=1)
        normed = F.layer_norm(x.float(), x.shape[-1:], eps=1e-6) * (1 + scale.float()) + shift.float()
        return F.linear(normed, self.head.weight, self.head.bias)


class WanDiT(nn.Module):
    """The diffusion model's live part, under the host's names."""

    def __init__(self, shape: DiTShape):
        super().__init__()
        dim = shape.dim
        self.patch_embedding = nn.Conv3d(LATENTS + CONDITION, dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Sequential(
            nn.Linear(TEXT_WIDTH, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, shape.ffn) for _ in range(shape.blocks))
        self.head = Head(dim)


class Talker(nn.Module):
    """Diffusion model and adapter together."""

    def __init__(self, shape: DiTShape):
        super().__init__()
        self.shape = shape
        self.dit = WanDiT(shape)
        sizes = (shape.dim, shape.blocks, shape.features, shape.audio_hidden, shape.audio_tokens, shape.token_width)
        self.adapter = InfiniteTalkAdapter(AdapterShape(*sizes), operations=nn)
        self.register_buffer("codes", prompt_codes(shape.prompts), persistent=False)
        self.compiled: list | None = None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.adapter.blocks:
            nn.init.zeros_(block.audio_cross_attn.proj.weight)
        nn.init.zeros_(self.dit.head.head.weight)

    def compile(self) -> None:
        """Run the blocks compiled from now on, where the call allows it; each new shape compiles anew."""
        self.compiled = [torch.compile(block, dynamic=False) for block in self.dit.blocks]

    def audio_tokens(self, first: torch.Tensor, latter: torch.Tensor) -> torch.Tensor:
        """One voice's features [B, 5, L, C] and [B, T-1, 8, L, C] -> tokens [B, T, M, W] (AudioProjModel)."""
        layers = self.adapter.audio_proj
        hidden = torch.cat((layers.proj1(first.flatten(1))[:, None], layers.proj1_vf(latter.flatten(2))), dim=1)
        tokens = layers.proj3(torch.relu(layers.proj2(torch.relu(hidden))))
        return layers.norm(tokens.unflatten(2, (self.shape.audio_tokens, self.shape.token_width)))

    def forward(self, x, condition, times, prompts, audio, masks=None, rare=False):  # noqa: PLR0913  # all it is told
        """The velocity, float32 [B, 16, T, h, w].

        x: noisy latents [B, 16, T, h, w], held ones in place; condition [B, 20, T, h, w]; times [B] in 0..1000;
        prompts: int64 [B], rows of `prompt_codes`; audio: tokens [B, T, V*M, W]; masks: 0/1 [B, C, S] with voices;
        rare: do not compile for this shape.
        """
        dit = self.dit
        batch, _, frames, height, width = x.shape
        grid = (frames, height // 2, width // 2)
        tokens = fold(torch.cat((x, condition.to(x.dtype)), dim=1))
        weight, bias = dit.patch_embedding.weight.flatten(1), dit.patch_embedding.bias
        with torch.autocast(x.device.type, enabled=False):
            tokens = F.linear(tokens.float(), weight, bias)
            e = dit.time_embedding(time_frequencies(times))
            e6 = dit.time_projection(e).unflatten(1, (6, -1))
        text = dit.text_embedding(self.codes)[prompts]
        if torch.is_autocast_enabled(x.device.type):
            tokens = tokens.to(torch.get_autocast_dtype(x.device.type))
        angles = rope_angles(grid, x.device)
        rope = angles.cos(), angles.sin()
        flat = (frames, grid[1] * grid[2], 1)  # the blocks know no rows: one compiled form serves 96x160 and 160x96
        blocks = dit.blocks if rare or self.compiled is None else self.compiled
        for block, audio_block in zip(blocks, self.adapter.blocks, strict=True):
            tokens = block(tokens, e6, rope, text, audio, audio_block, flat, masks)
        with torch.autocast(x.device.type, enabled=False):
            out = dit.head(tokens, e[:, None])
        return unfold(out, batch, grid)


def time_frequencies(times: torch.Tensor) -> torch.Tensor:
    """Sinusoidal embedding of times 0..1000: float32 [B, 256]."""
    half = FREQUENCIES // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=times.device, dtype=torch.float32) / half)
    angles = times.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=1)


def fold(x: torch.Tensor) -> torch.Tensor:
    """[B, c, T, h, w] -> tokens [B, N, 4c], in the order of the patch embedding's weights."""
    batch, channels, frames, height, width = x.shape
    x = x.view(batch, channels, frames, height // 2, 2, width // 2, 2)
    return x.permute(0, 2, 3, 5, 1, 4, 6).reshape(batch, frames * (height // 2) * (width // 2), 4 * channels)


def unfold(x: torch.Tensor, batch: int, grid: tuple[int, int, int]) -> torch.Tensor:
    """Tokens [B, N, 64] of the head -> [B, 16, T, h, w]; the head's channels are (row, column, latent channel)."""
    frames, rows, columns = grid
    x = x.view(batch, frames, rows, columns, 2, 2, LATENTS).permute(0, 6, 1, 2, 4, 3, 5)
    return x.reshape(batch, LATENTS, frames, 2 * rows, 2 * columns)
