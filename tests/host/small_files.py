"""One small Wan model and adapter as float tensors, and one forward of the two, for tests of file layouts.

Import after the `host` fixture has put ComfyUI on the path.
"""

from __future__ import annotations

from functools import cache

import comfy.model_management
import folder_paths
import torch

from infinitetalk.host.attach import attach
from infinitetalk.host.loading import load_adapter_file, load_base_file
from infinitetalk.host.model_files import register_folders
from tests.host.layouts import adapter_tensors, base_tensors

DIM, LAYERS, TOKEN_WIDTH = 128, 2, 64
FEATURES = 12 * 64


@cache
def base() -> dict[str, torch.Tensor]:
    return base_tensors(DIM, LAYERS)


@cache
def adapter() -> dict[str, torch.Tensor]:
    return adapter_tensors(DIM, LAYERS, FEATURES, TOKEN_WIDTH)


def merged(prefix: str = "", audio: str = "") -> dict[str, torch.Tensor]:
    """The model with the adapter inside; prefix: of all keys; audio: more before audio_proj."""
    whole = {**base(), **adapter()}
    return {f"{prefix}{audio if key.startswith('audio_proj') else ''}{key}": value for key, value in whole.items()}


def forward(model, patch=None) -> torch.Tensor:
    """The velocity that a model with an adapter predicts for fixed noise, text, picture and speech."""
    generator = torch.Generator().manual_seed(1)

    def rand(*shape):
        return torch.randn(*shape, generator=generator).to(model.load_device)

    noise, picture, text, clip = rand(1, 16, 3, 4, 4), rand(1, 20, 3, 4, 4), rand(1, 8, 4096), rand(1, 257, 1280)
    features = rand(3, 5 * FEATURES), rand(3, 8 * FEATURES)
    audio = {}
    if patch is not None:
        model = attach(model, patch)
        comfy.model_management.load_models_gpu([patch])
        audio = {"audio_embed": _tokens(patch.model.audio_proj, *features)}
    comfy.model_management.load_models_gpu([model])
    model.pre_run()
    options = {**model.model_options["transformer_options"], "wrappers": model.wrappers}
    return model.model.apply_model(
        noise,
        torch.tensor([0.7], device=noise.device),
        c_concat=picture,
        c_crossattn=text,
        clip_fea=clip,
        transformer_options=options,
        **audio,
    )


def _tokens(projection, first: torch.Tensor, latter: torch.Tensor) -> torch.Tensor:
    """All layers of the projection in one, so that every weight of the file tells: [1, 3, tokens, width]."""
    dtype = projection.norm.weight.dtype
    hidden = torch.relu(projection.proj1(first.to(dtype))) + torch.relu(projection.proj1_vf(latter.to(dtype)))
    tokens = projection.proj3(torch.relu(projection.proj2(hidden))).unflatten(1, (-1, TOKEN_WIDTH))
    return projection.norm(tokens)[None].float()


def error(found: torch.Tensor, right: torch.Tensor) -> float:
    """Relative, of the whole tensor."""
    return ((found - right).norm() / right.norm()).item()


def load_both(base_path, adapter_path):
    """(model, patch) through the pack's loaders."""
    return load_base_file(str(base_path)), load_adapter_file(str(adapter_path))


def use_folder(monkeypatch, path) -> None:
    """The host's folders of diffusion models and model patches are `path` alone."""
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for name in ("diffusion_models", "model_patches"):
        folder_paths.folder_names_and_paths[name] = ([str(path)], set(folder_paths.supported_pt_extensions))
    register_folders()
