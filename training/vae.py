"""The Wan 2.1 VAE in the form it is trained in: two-dimensional convolutions, time only where it is halved or doubled.

The host's causal 3x3x3 convolutions are kept to their newest tap, and the four time convolutions to the frames of their
own group. So each latent frame stands for its own four frames (the first one for a single picture), nothing in the net
knows how late it is, and any length is as good as the length it was trained on. The attention of the middle is left
out (zero in the file), so any size is, too. Parameters bear the host's names; vae_export.py turns them into its shapes.

Shapes: B clips, T = 1 + 4 G frames, S single pictures, N groups of 4 frames, latents [.., 16, H/8, W/8]; pictures are
in -1..1. For speed, singles and groups go through the net as one batch: S pictures first, then 4 N frames.
Must not know data, losses or the host.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

LATENT, GROUP, CELL = 16, 4, 8  # channels of a latent, frames and pixels that one stands for
FACTORS = (1, 2, 4, 4)  # widths of the levels, in units of the model's width
TINY = 1e-12


class NormSilu(nn.Module):
    """Each pixel's channels brought to root mean square 1, times `gamma`; then SiLU. In float32 within."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + TINY) * self.gamma[:, None, None]
        return F.silu(wide).to(x.dtype)


class Residual(nn.Module):
    """x + conv(norm(conv(norm(x)))); begins as the identity, or as an orthogonal change of width."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        parts = {"0": NormSilu(into), "2": nn.Conv2d(into, out, 3, padding=1)}
        parts |= {"3": NormSilu(out), "6": nn.Conv2d(out, out, 3, padding=1)}
        self.residual = nn.ModuleDict(parts)
        nn.init.zeros_(parts["6"].weight)
        if into != out:
            self.shortcut = nn.Conv2d(into, out, 1)
            nn.init.orthogonal_(self.shortcut.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for part in self.residual.values():
            y = part(y)
        return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Down(nn.Module):
    """Half the height and width; with `time`, each two frames become one. Singles (the first S) stay single."""

    def __init__(self, width: int, time: bool, spread: int) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(width, width, 3, stride=2)})
        if time:
            self.time_conv = nn.Conv2d(2 * width, width, 1)  # of the older frame's channels, then the newer one's
            # Half of the channels begin as the newer frame's, half as the older one's: a net that begins with the
            # newer one alone is slow to learn that the other frame matters.
            newer = ((torch.arange(width) // spread) % 2 == 0).float()
            with torch.no_grad():
                self.time_conv.weight.copy_(torch.cat((torch.diag(1 - newer), torch.diag(newer)), 1)[:, :, None, None])
                self.time_conv.bias.zero_()

    def forward(self, x: torch.Tensor, singles: int) -> torch.Tensor:
        x = self.resample["1"](F.pad(x, (0, 1, 0, 1)))
        if hasattr(self, "time_conv"):
            older, newer = x[singles:].unflatten(0, (-1, 2)).unbind(1)
            x = torch.cat((x[:singles], self.time_conv(torch.cat((older, newer), 1))))
        return x


class Up(nn.Module):
    """Twice the height and width, half the channels; with `time`, each frame of a group becomes two."""

    def __init__(self, width: int, time: bool, spread: int) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(width, width // 2, 3, padding=1)})
        if time:
            self.time_conv = nn.Conv2d(width, 2 * width, 1)  # to the older frame's channels, then the newer one's
            # The counterpart of `Down`: the older frame reads the channels with their two halves swapped.
            same, swapped = torch.arange(width), torch.arange(width) ^ spread
            with torch.no_grad():
                self.time_conv.weight.copy_(torch.eye(width)[torch.cat((swapped, same))][:, :, None, None])
                self.time_conv.bias.zero_()

    def forward(self, x: torch.Tensor, singles: int) -> torch.Tensor:
        if hasattr(self, "time_conv"):
            pairs = self.time_conv(x[singles:]).unflatten(1, (2, -1)).flatten(0, 1)
            x = torch.cat((x[:singles], pairs))
        return self.resample["1"](F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Head(nn.ModuleDict):
    """Norm, SiLU, convolution: the end of the encoder and of the decoder."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__({"0": NormSilu(into), "2": nn.Conv2d(into, out, 3, padding=1)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Three channels are padded to eight: GPUs have no fast kernels for fewer.
        conv = self["2"]
        more = -conv.out_channels % 8
        weight, bias = F.pad(conv.weight, (0, 0, 0, 0, 0, 0, 0, more)), F.pad(conv.bias, (0, more))
        return F.conv2d(self["0"](x), weight, bias, padding=1)[:, : conv.out_channels]


class Encoder(nn.Module):
    """Pictures [S + 4 N, 3, H, W] -> mean and log variance [S + N, 32, H/8, W/8], before the last 1x1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        layers, into = [], width
        for level, factor in enumerate(FACTORS):
            out = width * factor
            layers += [Residual(into, out), Residual(out, out)]
            if level < 3:
                layers.append(Down(out, time=level > 0, spread=level if level else 1))
            into = out
        self.downsamples = nn.ModuleList(layers)
        self.middle = nn.ModuleDict({"0": Residual(into, into), "2": Residual(into, into)})
        self.head = Head(into, 2 * LATENT)

    def forward(self, x: torch.Tensor, singles: int) -> torch.Tensor:
        more = (0, 0, 0, 0, 0, 5)  # three channels to eight, as in `Head`
        x = F.conv2d(F.pad(x, more), F.pad(self.conv1.weight, more), self.conv1.bias, padding=1)
        for layer in self.downsamples:
            x = layer(x, singles) if isinstance(layer, Down) else layer(x)
        for layer in self.middle.values():
            x = layer(x)
        return self.head(x)


class Decoder(nn.Module):
    """Latents [S + N, 16, h, w], after the first 1x1 convolution -> pictures [S + 4 N, 3, 8 h, 8 w]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        into = width * FACTORS[-1]
        self.conv1 = nn.Conv2d(LATENT, into, 3, padding=1)
        self.middle = nn.ModuleDict({"0": Residual(into, into), "2": Residual(into, into)})
        layers = []
        for level, factor in enumerate(FACTORS[::-1]):
            out = width * factor
            layers += [Residual(into, out), Residual(out, out), Residual(out, out)]
            if level < 3:
                layers.append(Up(out, time=level < 2, spread=2 - level if level < 2 else 1))
            into = out // 2
        self.upsamples = nn.ModuleList(layers)
        self.head = Head(width, 3)

    def forward(self, z: torch.Tensor, singles: int) -> torch.Tensor:
        x = self.conv1(z)
        for layer in self.middle.values():
            x = layer(x)
        for layer in self.upsamples:
            x = layer(x, singles) if isinstance(layer, Up) else layer(x)
        return self.head(x)


class Vae(nn.Module):
    """The whole autoencoder. `latent_mean` and `latent_std` [16] bring latents to mean 0 and deviation 1 per channel;
    they are 0 and 1 until the training is over."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.encoder, self.decoder = Encoder(width), Decoder(width)
        self.conv1 = nn.Conv2d(2 * LATENT, 2 * LATENT, 1)
        self.conv2 = nn.Conv2d(LATENT, LATENT, 1)
        self.register_buffer("latent_mean", torch.zeros(LATENT))
        self.register_buffer("latent_std", torch.ones(LATENT))
        with torch.no_grad():
            for conv in (self.conv1, self.conv2):
                conv.weight.copy_(torch.eye(conv.out_channels)[:, :, None, None])
                conv.bias.zero_()
            last = self.encoder.head["2"]
            last.weight[LATENT:] = 0
            last.bias[LATENT:] = -4.0  # little noise on the latents at first

    def to_latents(self, pictures: torch.Tensor, singles: int) -> tuple[torch.Tensor, torch.Tensor]:
        """[S + 4 N, 3, H, W] -> mean and log variance of the latents, each [S + N, 16, h, w]; the mean normalised."""
        mean, log_variance = self.conv1(self.encoder(pictures, singles)).chunk(2, 1)
        return (mean - self.latent_mean[:, None, None]) / self.latent_std[:, None, None], log_variance

    def to_pictures(self, latents: torch.Tensor, singles: int) -> torch.Tensor:
        """Normalised latents [S + N, 16, h, w] -> [S + 4 N, 3, H, W]."""
        z = latents * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        return self.decoder(self.conv2(z), singles)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Clips [B, T, 3, H, W] in -1..1 -> normalised latents [B, 16, 1 + (T-1)/4, H/8, W/8], without noise."""
        clips, frames = x.shape[:2]
        if (frames - 1) % GROUP:
            raise ValueError(f"{frames} frames are no 4 n + 1.")
        flat = torch.cat((x[:, 0], x[:, 1:].flatten(0, 1)))
        z, _ = self.to_latents(flat, clips)
        return torch.cat((z[:clips, None], z[clips:].unflatten(0, (clips, -1))), 1).transpose(1, 2)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Normalised latents [B, 16, 1 + G, h, w] -> clips [B, 1 + 4 G, 3, 8 h, 8 w], about -1..1, not clamped."""
        clips = len(z)
        z = z.transpose(1, 2)
        flat = self.to_pictures(torch.cat((z[:, 0], z[:, 1:].flatten(0, 1))), clips)
        return torch.cat((flat[:clips, None], flat[clips:].unflatten(0, (clips, -1))), 1)
