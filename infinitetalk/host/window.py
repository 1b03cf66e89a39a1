"""One window prepared for the host's own samplers. The Window node's one call."""

from __future__ import annotations

import comfy.model_management
import torch

from ..config import StreamConfig
from ..errors import InputError
from ..features import AudioFeatures
from ..reference import Reference, latent_shape
from ..regions import check_regions
from ..step_cache import Tally
from ..timeline import plan
from .conditioning import Tokens, check_features, window_conditioning, window_tokens
from .first_look import with_look
from .guider import make_guider, with_guidance
from .prompts import for_window
from .step_cache import check_cache, with_cache
from .vae import WanVae
from .video_reference import VideoReference


def prepare_window(
    host: tuple,
    features: AudioFeatures,
    reference: Reference | VideoReference,
    config: StreamConfig,
    index: int,
    previous: torch.Tensor | None,
) -> tuple:
    """(model, guider, positive, negative, latent, motion frames, new frames) of window `index`.

    host: (MODEL, VAE, positive, negative); previous: IMAGE frames before this window, needed from window 1 on.
    """
    model, vae, positive, negative = host
    check_features(model, features)
    check_regions(features, reference)
    _check_cache(model, config)
    windows = plan(features.frames, config.window)
    if index >= len(windows):
        raise InputError(
            f"window: {index} is past the last of the {len(windows)} windows of this speech.",
            f"Use 0 to {len(windows) - 1}.",
        )
    window = windows[index]
    reference = reference.at(window)
    # Node outputs are cached by the host: they stay on the CPU and are moved when they are used.
    motion = _motion(WanVae(vae), reference, window.motion, previous).cpu()
    tokens = window_tokens(model, features, window, config.tail)
    tokens = Tokens(tokens.speech.cpu(), tokens.silence.cpu(), tokens.regions)
    positive, negative = (for_window(text, window) for text in (positive, negative))
    positive, negative = window_conditioning(positive, negative, reference, motion, tokens)
    latent = torch.zeros(latent_shape(reference, window.frames), device=comfy.model_management.intermediate_device())
    model = with_look(with_cache(model, config.cache, Tally()))
    return (
        with_guidance(model, config.guidance),
        make_guider(model, positive, negative, config.guidance),
        positive,
        negative,
        {"samples": latent},
        window.motion,
        window.keep,
    )


def _check_cache(model, config: StreamConfig) -> None:
    if config.cache is not None and config.cache.kind == "calibrate":
        raise InputError(
            "cache: calibrate writes its curve at the end of a run, and a single window has none.",
            "Calibrate with InfiniteTalk Sampler, or choose teacache or magcache.",
        )
    check_cache(model, config.cache, config.guidance, None)  # the sigmas are the sampler's


def _motion(vae: WanVae, reference: Reference, frames: int, previous: torch.Tensor | None) -> torch.Tensor:
    if frames == 0:
        return reference.first
    count = 0 if previous is None else previous.shape[0]
    if count < frames:
        raise InputError(
            f"previous_frames: {count} frames are given, the window continues from {frames}.",
            "Connect the decoded frames of the window before.",
        )
    size = tuple(previous.shape[1:3])
    if size != (reference.height, reference.width):
        raise InputError(
            f"previous_frames: {size[1]}x{size[0]} pixels, the reference has {reference.width}x{reference.height}.",
            "Use frames made with the same reference.",
        )
    return vae.encode(previous[-frames:, ..., :3].float())
