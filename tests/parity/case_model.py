"""The transformer with the adapter attached, on the host's own model class, against the recorded one (one person)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from infinitetalk.features import split_taps
from infinitetalk.model.audio_attention import HEAD_WIDTH, AudioCrossAttention, cross_attend
from infinitetalk.model.audio_projection import project

from . import host
from .registry import Golden, Result, case, error

FORWARD = 5e-5
TOKENS = 1e-4
MAP = 1e-6


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@case("audio_cross_attention/one_person")
def audio_cross_attention(golden: Golden) -> Iterator[Result]:
    config = golden.config
    assert config["dim"] == config["heads"] * HEAD_WIDTH
    layers = AudioCrossAttention(config["dim"], config["encoder_dim"], operations=torch.nn)
    layers.load_state_dict(golden.weights())
    out = cross_attend(layers, golden.inp("input.x"), golden.inp("input.enc1"), attention)
    yield Result("", error(out, golden["one_person"]), 1e-5)


@case("dit_forward/one_person")
def dit_forward(golden: Golden) -> Iterator[Result]:
    machine = host.Machine(golden.weights())
    latent, condition = golden.inp("input.x")[None], golden.inp("input.y")
    sigma = torch.tensor([golden.config["timestep"] / 1000])
    audio = golden.inp("input.audio")[0]
    branches = {
        "cond": ("input.context", audio),
        "null_text": ("input.context_null", audio),
        "zero_audio": ("input.context", torch.zeros_like(audio)),
        "uncond": ("input.context_null", torch.zeros_like(audio)),
    }
    for name, (text, heard) in branches.items():
        tokens = project(machine.patch.model.audio_proj, *split_taps(heard))
        inputs = {
            "c_concat": condition,
            "c_crossattn": host.padded_text(golden.inp(text)),
            "clip_fea": golden.inp("input.clip_fea"),
            "audio_embed": tokens,
        }
        with machine.watched() as seen:
            velocity = machine.velocity(latent, sigma, inputs)
        yield Result(name, error(velocity[0], golden[f"p1.{name}"]), FORWARD)
        if name == "cond":
            yield Result("audio_proj", error(tokens[..., ::16], golden["p1.cond.audio_proj_every16"]), TOKENS)
            yield from _intermediates(golden, seen)


def _intermediates(golden: Golden, seen: dict[str, torch.Tensor]) -> Iterator[Result]:
    tokens = seen["patch_embedding"].flatten(2).transpose(1, 2)
    yield Result("patch_embed", error(tokens[0, :, ::4], golden["p1.cond.patch_embed_every4"]), FORWARD)
    yield Result("text", error(seen["text_embedding"][0, :16, ::16], golden["p1.cond.text_every16"]), FORWARD)
    yield Result("clip", error(seen["img_emb"][0, ::8, ::16], golden["p1.cond.clip_every16"]), FORWARD)
    yield Result("time", error(seen["time_embedding"], golden["e"]), FORWARD)
    yield Result("time_projection", error(seen["time_projection"][0].unflatten(-1, (6, -1)), golden["e0"]), FORWARD)
    grid = golden.config["h"] // 2 * (golden.config["w"] // 2)
    yield Result("token_masks", error(golden["p1.cond.token_masks"].float(), torch.ones(3, grid)), 0)
    for n in range(golden.config["model"]["num_layers"]):
        yield Result("block", error(seen[f"block{n}"][0, :, ::4], golden[f"p1.cond.block{n}_every4"]), FORWARD)
        # One person's masks are all ones, so the recorded map is the same number everywhere: it can
        # decide nothing, which is why no map is computed for one person.
        recorded = golden[f"p1.cond.block{n}_attn_map"]
        yield Result("attention_map_is_constant", error(recorded, torch.full_like(recorded, 1 / grid)), MAP)


@case("dit_forward/rope")
def rope(golden: Golden) -> Iterator[Result]:
    machine = host.Machine(golden.weights())
    recorded = golden["rope_cos_sin_head"]
    model = machine.model.model.diffusion_model
    positions = torch.arange(recorded.shape[0]).float()[:, None].expand(-1, 3)
    matrices = model.rope_embedder(positions[None])[0, 0]  # [position, frequency, 2, 2]
    yield Result("", error(matrices[..., 0], recorded), 1e-6)
