"""The convolutions of a wav2vec2 over a recording of any length, in pieces that give what one pass gives.

A frame hears 400 samples, so pieces that overlap by as much are exact. Only the first convolution of the base
layout looks further: its group norm takes mean and variance of each channel over the whole recording. They are
collected in a pass of their own and applied in the next. The layer norms of the large layout need none.

Calls the parts of the model, ours or the host's, and changes none of them. Knows no transformer and no frame rate.

Shapes: N samples at 16 kHz, C convolution channels, T frames at 50 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

Read = Callable[[int, int], torch.Tensor]  # (start, count) -> the encoder's wave [1, count] on its device

PIECE = 400  # frames at once: 8 s, 155 MB of working memory in a base model (1.2 kB for each sample)


@dataclass(frozen=True)
class Norm:
    """Mean and variance of the first convolution's channels over a whole recording, float64 [C, 1] on the CPU."""

    mean: torch.Tensor
    variance: torch.Tensor


class ConvStack:
    """layers: each with its `conv`, called with [1, channels, time]; the first may have a group `layer_norm`."""

    def __init__(self, layers: Sequence[nn.Module]):
        self._layers = list(layers)
        self.kernel, self.stride = 1, 1  # of the whole stack, in samples
        for layer in self._layers:
            self.kernel += (layer.conv.kernel_size[0] - 1) * self.stride
            self.stride *= layer.conv.stride[0]

    def frames(self, samples: int) -> int:
        """T of a recording of N samples."""
        return (samples - self.kernel) // self.stride + 1

    def whole(self, wave: torch.Tensor) -> torch.Tensor:
        """wave [1, N] -> [1, C, T] in one pass."""
        x = wave[:, None]
        for layer in self._layers:
            x = layer(x)
        return x

    def norm(self, read: Read, samples: int, pause: Callable[[], None]) -> Norm | None:
        """What `span` needs of the whole recording; None where no layer looks at it. pause: called between pieces."""
        first = self._layers[0]
        if not isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            return None
        kernel, stride = first.conv.kernel_size[0], first.conv.stride[0]
        total, at_once = (samples - kernel) // stride + 1, PIECE * self.stride // stride
        mean, squares, seen = 0.0, 0.0, 0
        for start in range(0, total, at_once):
            pause()
            count = min(at_once, total - start)
            x = first.conv(read(start * stride, (count - 1) * stride + kernel)[:, None])[0]
            variance, own = (value.cpu().double() for value in torch.var_mean(x, dim=1, correction=0))
            # Two groups joined: the spread around each mean, and what the means lie apart.
            apart, seen = own - mean, seen + count
            squares = squares + variance * count + apart.square() * count * (seen - count) / seen
            mean = mean + apart * count / seen
        return Norm(mean[:, None], (squares / seen)[:, None])

    def span(self, read: Read, first: int, last: int, norm: Norm | None) -> torch.Tensor:
        """Frames first..last of the recording, [1, C, last - first], with its `norm`."""
        x = read(first * self.stride, (last - first - 1) * self.stride + self.kernel)[:, None]
        for n, layer in enumerate(self._layers):
            x = layer(x) if n or norm is None else _normalised(layer, x, norm)
        return x


def _normalised(layer: nn.Module, x: torch.Tensor, norm: Norm) -> torch.Tensor:
    """The first layer with another recording's statistics than those of x."""
    x = layer.conv(x)
    scale = (norm.variance + layer.layer_norm.eps).rsqrt()
    scale, shift = (value.float().to(x) for value in (scale, -norm.mean * scale))
    weight, bias = (value.to(x)[:, None] for value in (layer.layer_norm.weight, layer.layer_norm.bias))
    activation = getattr(layer, "activation", nn.functional.gelu)
    return activation(x.mul_(scale * weight).add_(shift * weight + bias))


def positions(frames: int, of: int) -> torch.Tensor:
    """Where `frames` evenly spread frames lie among `of`, first on first and last on last: float64 [frames]."""
    return (torch.arange(frames, dtype=torch.float64) * ((of - 1) / max(frames - 1, 1))).clamp(max=of - 1)


def interpolate(conv: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """[1, C, T] at the places `where` (float64 [n], within 0..T-1), linearly: [1, n, C]."""
    left = where.floor().long().clamp(max=conv.shape[2] - 1)
    right = (left + 1).clamp(max=conv.shape[2] - 1)
    share = (where - left).to(conv)
    left, right = left.to(conv.device), right.to(conv.device)
    return torch.lerp(conv[:, :, left], conv[:, :, right], share).transpose(1, 2)
