"""The exported VAE on the host's class: same latents, same pictures, for any length and size."""

from __future__ import annotations

import pytest
import torch

from training.vae import Vae
from training.vae_export import from_host, to_host


@pytest.fixture(scope="module")
def trained() -> Vae:
    """A VAE with all weights moved off their starting values, as a trained one's are, and odd latent statistics."""
    torch.manual_seed(1)
    vae = Vae(8).eval()
    with torch.no_grad():
        for value in vae.parameters():
            scale = 0.5 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.1
            value += scale * torch.randn_like(value)
    vae.latent_mean.copy_(torch.randn(16))
    vae.latent_std.copy_(0.5 + torch.rand(16))
    return vae


@pytest.fixture(scope="module")
def theirs(host, trained):
    """The host's VAE class with the exported weights, and its latent format."""
    from comfy.latent_formats import Wan21
    from comfy.ldm.wan.vae import WanVAE

    vae = WanVAE(dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True])
    vae.load_state_dict(to_host(trained, torch.float32), strict=True)
    return vae.eval(), Wan21()


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (5, 32, 48), (21, 40, 32)])
@torch.no_grad()
def test_encode_and_decode_equal_the_hosts(trained, theirs, frames, height, width):
    vae, latent_format = theirs
    x = torch.rand(1, frames, 3, height, width, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    ours = trained.encode(x)
    host_latents = latent_format.process_in(vae.encode(x.transpose(1, 2)))
    assert ours.shape == (1, 16, 1 + (frames - 1) // 4, height // 8, width // 8)
    assert (ours - host_latents).abs().max() < 1e-4
    pictures = vae.decode(latent_format.process_out(ours)).transpose(1, 2)
    assert (trained.decode(ours) - pictures).abs().max() < 1e-4


def test_the_host_detects_and_loads_the_file(host, trained):
    import comfy.sd

    loaded = comfy.sd.VAE(sd=to_host(trained, torch.float16))
    assert loaded.latent_channels == 16
    loaded.throw_exception_if_invalid()


@torch.no_grad()
def test_a_read_file_is_the_same_vae(trained):
    x = torch.rand(2, 5, 3, 32, 32) * 2 - 1
    again = from_host(to_host(trained, torch.float32))
    z = trained.encode(x)
    assert (again.encode(x) - z).abs().max() < 1e-4
    assert (again.decode(z) - trained.decode(z)).abs().max() < 1e-4
