"""Attach the adapter to a host MODEL, through the host's seams only.

The audio tokens and the held motion latents travel in CONDITIONING as model conds; an APPLY_MODEL
wrapper takes them out, an `attn2_patch` adds the audio attention, the adapter's weights are an
additional model that the host loads and offloads with the DiT. Without those conds the patched
model computes exactly what the plain one does. Nothing of a run is kept here.

With several speakers their regions travel the same way; an `attn1_patch` then turns the block's own
queries and keys into the rotary positions of that block's audio attention. A call with the tokens of one
voice (the branches without audio have one) needs neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import WrappersMP

from ..model.audio_attention import add_audio
from ..model.layouts import check_fit
from ..model.speaker_map import Positions, key_positions, query_positions, speaker_map
from .loading import model_shape, patch_shape

KEY = "infinitetalk"
APG_KEY, CACHE_KEY, LOOK_KEY = "infinitetalk_apg", "infinitetalk_cache", "infinitetalk_look"  # what others here add
AUDIO = "audio_embed"  # [1, T, M, D]; this very name is sliced in time by the host's context windows
MOTION = "infinitetalk_motion"  # [1, 16, n, h, w], un-normalised latents held in the first n latent frames
REGIONS = "infinitetalk_regions"  # uint8 [1, N+1, 1, rows, columns], speakers then background, on the token grid
_BLOCKS, _BLOCK, _TOKENS = "infinitetalk_blocks", "infinitetalk_block", "infinitetalk_tokens"
_MASKS, _POSITIONS = "infinitetalk_masks", "infinitetalk_positions"


def attach(model, patch):
    """A clone of `model` with the adapter in `patch` (a MODEL_PATCH); replaces an adapter attached before.

    Raises InputError when the model is not Wan 2.1 image-to-video or the sizes differ.
    """
    check_fit(patch_shape(patch), model_shape(model), "adapter")
    model = detach(model)
    model.set_additional_models(KEY, [patch])
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _apply_model)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample)
    model.set_model_patch(SpeakerPatch(), "attn1_patch")
    model.set_model_patch(AudioPatch(), "attn2_patch")
    model.set_model_patch(NextBlock(), "double_block")
    return model


def detach(model):
    """A clone of `model` without our adapter and all wrappers of ours; everything else on it stays."""
    model = model.clone()
    model.remove_additional_models(KEY)
    for kind in (WrappersMP.APPLY_MODEL, WrappersMP.OUTER_SAMPLE, WrappersMP.PREDICT_NOISE):
        for key in (KEY, APG_KEY, CACHE_KEY, LOOK_KEY):
            model.remove_wrappers_with_key(kind, key)
    patches = model.model_options["transformer_options"].get("patches", {})
    for name in ("attn1_patch", "attn2_patch", "double_block"):
        if name in patches:
            ours = (SpeakerPatch, AudioPatch, NextBlock)
            patches[name] = [patch for patch in patches[name] if not isinstance(patch, ours)]
            if not patches[name]:
                del patches[name]
    return model


def attached(model):
    """The adapter's patcher on `model`, or None."""
    return next(iter(model.get_additional_models_with_key(KEY)), None)


def with_adapter(model, patch):
    """A clone of `model` whose attached adapter is the one in `patch`; everything else on it stays."""
    model = model.clone()
    model.set_additional_models(KEY, [patch])
    return model


def _apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):  # noqa: PLR0913  # host's
    tokens, motion, regions = (kwargs.pop(name, None) for name in (AUDIO, MOTION, REGIONS))
    base = executor.class_obj  # the model of this GPU
    if motion is not None:
        x = hold(x, base.process_latent_in(motion.to(x)), transformer_options.get("context_window"))
    if tokens is not None:
        adapter = base.current_patcher.get_additional_models_with_key(KEY)[0].model
        tokens = tokens.to(x.device, base.get_dtype_inference())
        ours = {_TOKENS: tokens, _BLOCKS: adapter.blocks, _BLOCK: adapter.blocks[0]}
        if regions is not None and tokens.shape[2] > tokens_per_voice(adapter):
            ours[_MASKS] = regions.flatten(2).to(tokens)
        transformer_options = {**transformer_options, **ours}
    return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


def _outer_sample(executor, *args, **kwargs):
    """The held latents are exact in the result, whatever the sampler did to them."""
    result = executor(*args, **kwargs)
    held = [
        c["model_conds"][MOTION].cond
        for c in executor.class_obj.conds.get("positive", [])
        if MOTION in c["model_conds"]
    ]
    return hold(result, held[0].to(result)) if held else result


def hold(x: torch.Tensor, motion: torch.Tensor, window=None) -> torch.Tensor:
    """x [B, 16, T, h, w] with its first latent frames replaced by motion [.., 16, n, h, w].

    `window` is the host's context window when x is only a slice in time of the whole latent.
    """
    x = x.clone()
    for position, frame in enumerate(range(x.shape[2]) if window is None else frames_of_window(window)):
        if frame < motion.shape[2]:
            x[:, :, position] = motion[:, :, frame]
    return x


def frames_of_window(window) -> list[int]:
    """Latent frames of the whole that a slice of the host's context windows holds, in order.

    The host may put the frame before the slice in front of it, for models that look back in time.
    """
    anchor = getattr(window, "causal_anchor_index", None)
    return [*([anchor] if anchor is not None and anchor >= 0 else []), *window.index_list]


def tokens_per_voice(adapter) -> int:
    """Audio tokens per latent frame that the adapter makes of one voice (a bias is never quantised)."""
    layers = adapter.audio_proj
    return layers.proj3.bias.shape[0] // layers.norm.weight.shape[0]


@dataclass(frozen=True)
class SpeakerPatch:
    """attn1_patch: leaves this block's speaker positions for its own AudioPatch; the attention stays as it is."""

    def __call__(self, args):
        options = args["transformer_options"]
        masks = options.get(_MASKS)
        if masks is not None and options.get(_BLOCK) is not None:
            frames, rows, columns = options["grid_sizes"]
            shares = speaker_map(args["q"][:, : frames * rows * columns], args["k"], masks, optimized_attention)
            voices = masks.shape[1] - 1
            keys = key_positions(voices, options[_TOKENS].shape[2] // voices, masks.device)
            options[_POSITIONS] = Positions(query_positions(shares, masks.any(dim=2)), keys)
        return args["x"]


@dataclass(frozen=True)
class AudioPatch:
    """attn2_patch: adds the current block's audio attention to the residual stream."""

    def __call__(self, args):
        options = args["transformer_options"]
        block = options.get(_BLOCK)
        if block is None:
            return args["x"]
        positions = options.pop(_POSITIONS, None)
        return add_audio(block, args["x"], options[_TOKENS], options["grid_sizes"], optimized_attention, positions)


@dataclass(frozen=True)
class NextBlock:
    """double_block patch: publishes the adapter block of the DiT block that comes next.

    Done between the blocks so that a compiled DiT block never indexes a list by its own number,
    which would compile it anew for every block.
    """

    def __call__(self, args):
        options, following = args["transformer_options"], args["block_index"] + 1
        if _BLOCKS in options and following < len(options[_BLOCKS]):
            options[_BLOCK] = options[_BLOCKS][following]
        return {"img": args["img"]}
