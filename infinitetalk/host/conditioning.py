"""One window's inputs as host CONDITIONING: reference, held motion latents, speech and silence, speakers' regions.

Works on any host CONDITIONING lists; the caller's lists and tensors are left as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import comfy.conds
import comfy.model_management
import comfy.utils
import node_helpers
import torch

from ..errors import InputError
from ..features import AudioFeatures, split_taps, window_taps
from ..model.audio_projection import TAPS_FIRST, project, project_silence
from ..reference import Reference
from ..speakers import Speakers
from ..timeline import Window, frames_of_latent
from .attach import AUDIO, MOTION, REGIONS, attached


class MotionCond(comfy.conds.CONDRegular):
    """Held latents, [1, 16, n, h, w]: cut in height and width for a condition that has an area, never in time."""

    def process_cond(self, batch_size, area=None, **kwargs):
        held, dims = self.cond, len(area or ()) // 2
        for axis in range(max(dims - 2, 0), dims):
            held = held.narrow(axis + 2, area[axis + dims], area[axis])
        return self._copy_with(comfy.utils.repeat_to_batch_size(held, batch_size))


class RegionsCond(comfy.conds.CONDRegular):
    """Speakers' regions, [1, N+1, 1, rows, columns]: cut for a condition that has an area, in tokens of two cells.

    The third dimension is time for the host, which slices in time whatever is as long as the latent there.
    """

    def process_cond(self, batch_size, area=None, **kwargs):
        regions, dims = self.cond, len(area or ()) // 2
        for axis in range(max(dims - 2, 0), dims):
            regions = regions.narrow(axis + 2, area[axis + dims] // 2, (area[axis] + 1) // 2)
        return self._copy_with(comfy.utils.repeat_to_batch_size(regions, batch_size))


class Tokens(NamedTuple):
    """What a window hears: audio tokens [1, T, M, D] of the speech, of all voices one after the other on M, and of
    no sound at all, which is always one voice; regions: uint8 [N+1, rows, columns] of several speakers, or None."""

    speech: torch.Tensor
    silence: torch.Tensor
    regions: torch.Tensor | None = None


def check_features(model, features: AudioFeatures) -> None:
    """Refuse features of another encoder than the adapter was trained with."""
    patch = attached(model)
    if patch is None:
        raise InputError(
            "model: no InfiniteTalk adapter is attached.",
            "Use Load InfiniteTalk Model, or put Apply InfiniteTalk Adapter after your loader.",
        )
    wanted = patch.model.audio_proj.proj1.weight.shape[1] // TAPS_FIRST
    for voice in features.voices:
        layers, channels = voice.speech.shape[1:]
        if layers * channels != wanted:
            raise InputError(
                f"features: {layers} layers of {channels} channels are {layers * channels} values per frame, "
                f"the adapter takes {wanted}.",
                "Encode the speech with the encoder the adapter was made for; the published adapters take "
                "chinese-wav2vec2-base (12 layers of 768).",
            )


def window_tokens(model, features: AudioFeatures | Speakers, window: Window, tail: str) -> Tokens:
    """Project one window's audio, once for all its steps, on the device of the adapter."""
    patch = attached(model)
    comfy.model_management.load_models_gpu([patch])
    layers = patch.model.audio_proj
    voices = []
    with torch.no_grad():
        for voice in features.voices:
            taps = window_taps(voice, window, tail).to(patch.load_device, model.model.get_dtype_inference())
            voices.append(project(layers, *split_taps(taps)))
        speech = torch.cat(voices, dim=2)
        return Tokens(speech, project_silence(layers, speech.shape[1], taps), features.regions)


def window_conditioning(positive, negative, reference: Reference, motion: torch.Tensor, tokens: Tokens):
    """(positive, negative) with everything the window needs; the positive hears the speech, the negative nothing."""
    latent = reference.conditioning(frames_of_latent(tokens.speech.shape[1]))
    mask = latent.new_ones(1, 1, *latent.shape[2:])
    mask[:, :, :1] = 0.0  # 0 marks the frame that is given
    shared = {"concat_latent_image": latent, "concat_mask": mask, "clip_vision_output": reference.clip}
    ours = {MOTION: MotionCond(motion)}
    if tokens.regions is not None:
        ours[REGIONS] = RegionsCond(tokens.regions[None, :, None])
    return (
        _with_model_conds(node_helpers.conditioning_set_values(positive, shared), ours, tokens.speech),
        _with_model_conds(node_helpers.conditioning_set_values(negative, shared), ours, tokens.silence),
    )


def _with_model_conds(conditioning, conds: dict, audio: torch.Tensor):
    ours = {**conds, AUDIO: comfy.conds.CONDRegular(audio)}
    out = []
    for embedding, values in conditioning:
        others = {key: cond for key, cond in values.get("model_conds", {}).items() if key != REGIONS}
        out.append([embedding, {**values, "model_conds": {**others, **ours}}])
    return out
