"""The small model, a short speech and a small reference in this process, for tests of the host layer.

Import after the `host` fixture has put ComfyUI on the path.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.utils
import folder_paths
import torch
from safetensors.torch import load_file

from demo.small_model import ADAPTER, DIT, EMBEDS, VAE
from infinitetalk.config import StreamConfig, WindowConfig
from infinitetalk.features import AudioFeatures
from infinitetalk.host.attach import attach
from infinitetalk.host.conditioning import window_conditioning, window_tokens
from infinitetalk.host.denoise import Inputs
from infinitetalk.host.guider import make_guider
from infinitetalk.host.loading import load_adapter_file
from infinitetalk.host.vae import WanVae
from infinitetalk.reference import Reference, latent_shape, padded_video
from infinitetalk.schedule import flow_sigmas
from infinitetalk.settings import GuidanceConfig
from infinitetalk.sound import MemorySound
from infinitetalk.timeline import Window

SIZE = 48  # pixels a side
WINDOW = WindowConfig(frames=9, motion=5)
EULER = "euler"


@dataclass
class Machine:
    """Everything loaded once; nothing of it may change in a run."""

    models: Path
    size: int = SIZE
    frames: WindowConfig = WINDOW

    @cached_property
    def plain(self) -> Any:
        return comfy.sd.load_diffusion_model(str(self.models / DIT))

    @cached_property
    def patch(self) -> Any:
        return load_adapter_file(str(self.models / ADAPTER))

    @cached_property
    def model(self) -> Any:
        return attach(self.plain, self.patch)

    @cached_property
    def vae(self) -> Any:
        return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(self.models / VAE)))

    @cached_property
    def texts(self) -> list:
        tensors = load_file(self.models / EMBEDS)
        return [[[tensors[name].float(), {}]] for name in ("positive", "negative")]

    @cached_property
    def reference(self) -> Reference:
        generator = torch.Generator().manual_seed(3)
        picture = torch.rand(self.size, self.size, 3, generator=generator)
        clip = SimpleNamespace(penultimate_hidden_states=load_file(self.models / EMBEDS)["clip_vision"].float())
        return Reference(picture, WanVae(self.vae).encode(padded_video(picture, self.frames.frames)), clip)

    def features(self, frames: int = 9, rate: int = 16_000) -> AudioFeatures:
        generator = torch.Generator().manual_seed(4)
        width = self.patch.model.audio_proj.proj1.weight.shape[1] // 5 // 12
        speech, silence = torch.randn(2, max(frames, 20), 12, width, generator=generator)
        sound = torch.rand(1, 1, int(frames / 25 * rate), generator=generator) * 0.2 - 0.1
        return AudioFeatures(speech[:frames], silence[:20], MemorySound(sound, rate), f"{frames} frames, {rate} Hz")

    def inputs(self, frames: int = 9, steps: int = 2, model: Any = None) -> Inputs:
        sampler = comfy.samplers.sampler_object(EULER)
        sigmas = flow_sigmas(steps, 5.0)
        return Inputs(
            model or self.model, self.vae, *self.texts, self.features(frames), self.reference, sampler, sigmas
        )

    def window(self, model: Any = None) -> tuple[list, list]:
        """(positive, negative) of the first window."""
        window = Window(0, 0, WINDOW.frames, 0, WINDOW.frames, 0)
        tokens = window_tokens(model or self.model, self.features(), window, "silence")
        return window_conditioning(*self.texts, self.reference, self.reference.first, tokens)

    def sample(self, model: Any = None, guidance: GuidanceConfig | None = None, seed: int = 7, steps: int = 2):
        """The latent of the first window through our guider."""
        model = model or self.model
        guider = make_guider(model, *self.window(model), guidance or GuidanceConfig())
        return guider.sample(
            self.noise(seed), self.empty(), comfy.samplers.sampler_object(EULER), flow_sigmas(steps, 5.0), seed=seed
        )

    def empty(self) -> torch.Tensor:
        return torch.zeros(latent_shape(self.reference, WINDOW.frames))

    def noise(self, seed: int = 7) -> torch.Tensor:
        return torch.randn(self.empty().shape, generator=torch.Generator().manual_seed(seed))


CONFIG = StreamConfig(window=WINDOW, guidance=GuidanceConfig(2.0, 3.0), seed=5)


@contextlib.contextmanager
def folders(path: Path):
    """The host's output and temp folders below `path`, and back."""
    before = folder_paths.get_output_directory(), folder_paths.get_temp_directory()
    for name in ("output", "temp"):
        (path / name).mkdir(exist_ok=True)
    folder_paths.set_output_directory(str(path / "output"))
    folder_paths.set_temp_directory(str(path / "temp"))
    try:
        yield path
    finally:
        folder_paths.set_output_directory(before[0])
        folder_paths.set_temp_directory(before[1])
