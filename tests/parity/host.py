"""The host's own DiT and VAE holding a golden file's weights, with the adapter attached the way the nodes do it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.inprocess import use_host

use_host()

import comfy.latent_formats  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.sd  # noqa: E402

from infinitetalk.host.attach import attach  # noqa: E402
from infinitetalk.host.denoise import Denoiser, Inputs  # noqa: E402
from infinitetalk.host.loading import load_adapter_file  # noqa: E402
from infinitetalk.host.stages import Anchor, make_stages  # noqa: E402
from infinitetalk.host.vae import WanVae  # noqa: E402
from infinitetalk.host.video_reference import References, VideoReference  # noqa: E402

LATENT_FORMAT = comfy.latent_formats.Wan21()


def padded_text(text: torch.Tensor, length: int = 512) -> torch.Tensor:
    """[tokens, width] -> [1, 512, width], zeros behind, as the reference gives text to the model."""
    return torch.nn.functional.pad(text, (0, 0, 0, length - len(text)))[None]


def make_vae(weights: dict[str, torch.Tensor]):
    """A host VAE."""
    return comfy.sd.VAE(sd=dict(weights))


class Machine:
    """A host MODEL with the adapter attached, split off the reference's joint state dict."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        adapter = {key: value for key, value in weights.items() if "audio" in key or ".norm_x." in key}
        base = {key: value for key, value in weights.items() if key not in adapter}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "adapter.safetensors"
            save_file(adapter, path)
            self.patch = load_adapter_file(str(path))
        self.plain = comfy.sd.load_diffusion_model_state_dict(base)
        self.model = attach(self.plain, self.patch)

    def velocity(self, latent: torch.Tensor, sigma: torch.Tensor, inputs: dict) -> torch.Tensor:
        """The model's velocity for a normalised latent [1, 16, T, h, w]."""
        comfy.model_management.load_models_gpu([self.model, self.patch])
        self.model.pre_run()
        options = {**self.model.model_options["transformer_options"], "wrappers": self.model.wrappers}
        denoised = self.model.model.apply_model(latent, sigma, transformer_options=options, **inputs)
        return (latent - denoised) / sigma

    @contextlib.contextmanager
    def watched(self) -> Iterator[dict[str, torch.Tensor]]:
        """Outputs of the model's parts by name, blocks as block0, block1, ..."""
        seen: dict[str, torch.Tensor] = {}
        dit = self.model.model.diffusion_model
        names = ("patch_embedding", "text_embedding", "img_emb", "time_embedding", "time_projection")
        modules = {name: getattr(dit, name) for name in names}
        modules |= {f"block{n}": block for n, block in enumerate(dit.blocks)}

        def keep(name):
            return lambda module, args, output: seen.__setitem__(name, output)

        hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


__all__ = [
    "LATENT_FORMAT",
    "Denoiser",
    "Inputs",
    "Machine",
    "References",
    "VideoReference",
    "WanVae",
    "Anchor",
    "make_stages",
    "make_vae",
    "padded_text",
]


def recording_euler(steps: list[torch.Tensor], guided: list[torch.Tensor]):
    """A host SAMPLER: plain Euler that keeps every latent (and the final one) and every guided velocity.

    The held frames are written in before every step, as they are in the recordings, so that the
    velocities are those of the latent the model saw.
    """
    import comfy.samplers

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        held = model.inner_model.conds["positive"][0]["model_conds"]["infinitetalk_motion"].cond
        count = held.shape[2]
        latents, velocities = [], []
        for step, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
            x[:, :, :count] = LATENT_FORMAT.process_in(held)
            latents.append(x[0].clone())
            denoised = model(x, sigma * x.new_ones(1), **extra_args)
            velocity = (x - denoised) / sigma
            velocities.append(velocity[0].clone())
            x = x + velocity * (following - sigma)
            callback({"x": x, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        latents.append(x[0].clone())
        steps.append(torch.stack(latents))
        guided.append(torch.stack(velocities))
        return x

    return comfy.samplers.KSAMPLER(sample)
