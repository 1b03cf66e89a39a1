"""The published name of a tensor, whatever a program that saved the file put before it. Knows keys only."""

from __future__ import annotations

WITHIN = "model.diffusion_model."  # of a diffusion model inside a checkpoint
_WRAPPERS = ("module.", "_orig_mod.")  # of a model saved from several GPUs, and of a compiled one; also both
_PREFIXES = (WITHIN, "diffusion_model.", "model.")
_MODULE = ".modulation.weight"
_RENAMED = "multitalk_"  # WanVideoWrapper's name of audio_proj inside a model begins so, twice after two passes


def plain_key(key: str) -> str:
    """A key without the wrappers' prefixes; the audio projection and modulations under their published names."""
    while key.startswith(_WRAPPERS):
        key = key[key.index(".") + 1 :]
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    key = key[len(prefix) :]
    if key.endswith(_MODULE):  # Wan2GP's, which makes a module of it
        return key.removesuffix(".weight")
    name = key
    while name.startswith(_RENAMED):
        name = name.removeprefix(_RENAMED)
    return name if name.startswith("audio_proj.") else key


def known_to_comfyui(key: str) -> bool:
    """Whether ComfyUI finds a diffusion model's tensor under this key by itself."""
    foreign = key.startswith(("diffusion_model.", *_WRAPPERS))  # it takes away the other prefixes itself
    return not foreign and not key.endswith(_MODULE)
