"""Between the VAE in training form (vae.py) and the published Wan 2.1 VAE layout, both ways, tensors only.

To the host: 3x3 kernels become 3x3x3 ones with all but the newest tap zero, time convolutions get a zero oldest tap
(and, when they double, a zero middle one), the attention gets zero weights, and the two 1x1 convolutions at the latents
take in their statistics, so that what the host normalises with Wan's fixed constants has mean 0 and deviation 1.
Must not import the host.
"""

from __future__ import annotations

import torch

from .vae import LATENT, Vae

# Wan 2.1's constants: the host hands (latent - mean) / std to the DiT, whatever VAE is loaded.
WAN_MEAN = torch.tensor([-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
                         0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921])  # fmt: skip
WAN_STD = torch.tensor([2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160])  # fmt: skip

Tensors = dict[str, torch.Tensor]


def to_host(vae: Vae, dtype: torch.dtype = torch.float16) -> Tensors:
    """The file's tensors, keys and shapes as in Wan2.1_VAE."""
    own = {key: value.detach().float().cpu() for key, value in vae.state_dict().items()}
    mean, std = own.pop("latent_mean"), own.pop("latent_std")
    ratio, into, back = WAN_STD / std, "conv1", "conv2"
    rows = torch.cat((ratio, torch.ones(LATENT)))  # means are scaled, log variances stay
    shift = torch.cat((WAN_MEAN - mean * ratio, torch.zeros(LATENT)))
    own[f"{into}.weight"] = own[f"{into}.weight"] * rows[:, None, None, None]
    own[f"{into}.bias"] = own[f"{into}.bias"] * rows + shift
    matrix = own[f"{back}.weight"][:, :, 0, 0]
    own[f"{back}.bias"] = own[f"{back}.bias"] + matrix @ (mean - WAN_MEAN / ratio)
    own[f"{back}.weight"] = (matrix / ratio)[:, :, None, None]
    tensors = {key: _to_host(key, value) for key, value in own.items()}
    for part in ("encoder", "decoder"):
        name, width = f"{part}.middle.1", 4 * vae.width
        tensors[f"{name}.norm.gamma"] = torch.ones(width, 1, 1)
        for layer, out in (("to_qkv", 3 * width), ("proj", width)):
            tensors[f"{name}.{layer}.weight"] = torch.zeros(out, width, 1, 1)
            tensors[f"{name}.{layer}.bias"] = torch.zeros(out)
    return {key: tensors[key].to(dtype).contiguous() for key in sorted(tensors)}


def from_host(tensors: Tensors) -> Vae:
    """The training form of a file that `to_host` made; its latents are the host's normalised ones."""
    vae = Vae(len(tensors["decoder.head.0.gamma"]))
    own = {key: _from_host(key, value.float()) for key, value in tensors.items() if ".middle.1." not in key}
    vae.load_state_dict(own | {"latent_mean": WAN_MEAN, "latent_std": WAN_STD})
    return vae


def _to_host(key: str, value: torch.Tensor) -> torch.Tensor:
    if key.endswith(".gamma"):
        return value[:, None, None, None]
    if value.ndim == 1 or ".resample." in key:
        return value
    if ".time_conv." not in key:
        return newest(value[:, :, None], 1 if value.shape[-1] == 1 else 3)
    if key.startswith("decoder."):
        return newest(value[:, :, None], 3)
    return newest(value.unflatten(1, (2, -1)).transpose(1, 2), 3)  # of [out, older and newer, 1, 1]


def _from_host(key: str, value: torch.Tensor) -> torch.Tensor:
    if key.endswith(".gamma"):
        return value[:, 0, 0, 0]
    if value.ndim == 1 or ".resample." in key:
        return value
    if ".time_conv." in key and key.startswith("encoder."):
        return value[:, :, 1:].transpose(1, 2).flatten(1, 2)
    return value[:, :, -1]


def newest(kernel: torch.Tensor, taps: int) -> torch.Tensor:
    """A kernel [out, in, t, h, w] put behind zeros, so that it has `taps` taps in time."""
    before = kernel.new_zeros(*kernel.shape[:2], taps - kernel.shape[2], *kernel.shape[3:])
    return torch.cat((before, kernel), 2)
