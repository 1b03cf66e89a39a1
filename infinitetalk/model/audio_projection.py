"""Audio features of one window -> the audio tokens that every DiT block attends to.

Works on any module that carries the adapter's layers under their published names, ours or the one
ComfyUI builds for a MODEL_PATCH. Must not know the host, the window plan or the guidance branches.

Shapes: T latent frames, L encoder layers, C encoder channels, M tokens per latent frame, D token width.
Source: AudioProjModel of the public InfiniteTalk implementation.
"""

from __future__ import annotations

import torch
from torch import nn

TAPS_FIRST = 5  # feature frames seen by the first latent frame
TAPS_LATTER = 8  # feature frames seen by every later latent frame


class AudioProjection(nn.Module):
    """The layers of the projection; `project` runs them.

    width: layers times channels of a feature frame; at: device and dtype of the layers.
    """

    def __init__(self, width: int, hidden: int, tokens: int, token_width: int, operations, **at):
        super().__init__()
        self.proj1 = operations.Linear(TAPS_FIRST * width, hidden, **at)
        self.proj1_vf = operations.Linear(TAPS_LATTER * width, hidden, **at)
        self.proj2 = operations.Linear(hidden, hidden, **at)
        self.proj3 = operations.Linear(hidden, tokens * token_width, **at)
        self.norm = operations.LayerNorm(token_width, **at)


def project(layers: nn.Module, first: torch.Tensor, latter: torch.Tensor) -> torch.Tensor:
    """Project one speaker's window.

    first: [1, 5, L, C], latter: [T-1, 8, L, C] as `features.split_taps` gives them.
    Returns [1, T, M, D], time on dim 1 so that ComfyUI's context windows slice it.
    """
    hidden = torch.cat((torch.relu(layers.proj1(first.flatten(1))), torch.relu(layers.proj1_vf(latter.flatten(1)))))
    tokens = layers.proj3(torch.relu(layers.proj2(hidden)))
    width = layers.norm.weight.shape[0]
    return layers.norm(tokens.view(1, hidden.shape[0], -1, width))


def project_silence(layers: nn.Module, latent_frames: int, like: torch.Tensor) -> torch.Tensor:
    """Tokens of all-zero features: the audio of the branch without audio, [1, T, M, D].

    Zero features do not give zero tokens, but all latent frames after the first are alike, so two
    frames are computed and the second is repeated. `like` gives width, device and dtype: [.., L, C].
    """
    layer_count, channels = like.shape[-2:]
    first = like.new_zeros(1, TAPS_FIRST, layer_count, channels)
    latter = like.new_zeros(1, TAPS_LATTER, layer_count, channels)
    tokens = project(layers, first, latter)
    return torch.cat((tokens[:, :1], tokens[:, 1:].expand(-1, latent_frames - 1, -1, -1)), dim=1)
