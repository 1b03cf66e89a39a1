"""The InfiniteTalk adapter as a module: audio projection plus one audio block per DiT block.

Built from the shapes in its file, so any width and depth loads. Must not know the host: the layer
classes come in as `operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from .audio_attention import AudioBlock
from .audio_projection import TAPS_FIRST, AudioProjection


@dataclass(frozen=True)
class AdapterShape:
    """Sizes of an adapter.

    dim: DiT width; layers: DiT blocks; features: encoder layers times channels of one feature frame
    (12 * 768 for the published files); hidden, tokens, token_width: of the audio projection.
    """

    dim: int
    layers: int
    features: int
    hidden: int
    tokens: int
    token_width: int


def adapter_shape(shapes: Mapping[str, tuple[int, ...]]) -> AdapterShape:
    """Read the sizes off the tensors' shapes (keys as published)."""
    hidden, taps = shapes["audio_proj.proj1.weight"]
    token_width = shapes["audio_proj.norm.weight"][0]
    return AdapterShape(
        dim=shapes["blocks.0.audio_cross_attn.q_linear.weight"][0],
        layers=1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("blocks.")),
        features=taps // TAPS_FIRST,
        hidden=hidden,
        tokens=shapes["audio_proj.proj3.weight"][0] // token_width,
        token_width=token_width,
    )


class InfiniteTalkAdapter(nn.Module):
    """State dict keys: `audio_proj.*` and `blocks.N.{norm_x,audio_cross_attn}.*`, as in the published files."""

    def __init__(self, shape: AdapterShape, *, operations, device=None, dtype=None):
        super().__init__()
        at = {"operations": operations, "device": device, "dtype": dtype}
        self.audio_proj = AudioProjection(shape.features, shape.hidden, shape.tokens, shape.token_width, **at)
        self.blocks = nn.ModuleList(AudioBlock(shape.dim, shape.token_width, **at) for _ in range(shape.layers))
