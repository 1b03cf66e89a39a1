"""The transformer with the adapter attached, on the host's own model class, against the recorded one; one and two
speakers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from infinitetalk.features import split_taps
from infinitetalk.model.audio_attention import HEAD_WIDTH, AudioCrossAttention, cross_attend
from infinitetalk.model.audio_projection import project
from infinitetalk.model.speaker_map import Positions, key_positions, query_positions, speaker_map

from . import host  # puts ComfyUI on the path
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


@case("audio_cross_attention/two_persons")
def audio_cross_attention_of_two(golden: Golden) -> Iterator[Result]:
    config = golden.config
    layers = AudioCrossAttention(config["dim"], config["encoder_dim"], operations=torch.nn)
    layers.load_state_dict(golden.weights())
    masks = golden["masks"].flatten(1)[None].bool()
    shares = speaker_map(golden.inp("input.q"), golden.inp("input.k"), masks, attention)
    yield Result("map", error(shares[0], golden["map"]), MAP)
    yield Result("winning_class", error(shares.argmax(dim=1)[0], golden["winning_class"]), 0)
    positions = Positions(query_positions(shares, masks.any(dim=2)), key_positions(2, config["tokens"]))
    yield Result("query_positions", error(positions.queries[0], golden["query_positions"]), 1e-3)
    yield Result("key_positions", error(positions.keys.repeat(config["grid"][0]), golden["key_positions"]), 1e-3)
    out = cross_attend(layers, golden.inp("input.x"), golden.inp("input.enc2"), attention, positions)
    yield Result("", error(out, golden["two_persons"]), 1e-5)


@case("dit_forward/one_person")
def dit_forward(golden: Golden) -> Iterator[Result]:
    yield from _forward(golden, "p1")


@case("dit_forward/two_persons")
def dit_forward_of_two(golden: Golden) -> Iterator[Result]:
    yield from _forward(golden, "p2")


def _forward(golden: Golden, persons: str) -> Iterator[Result]:
    machine = host.Machine(golden.weights())
    latent, condition = golden.inp("input.x")[None], golden.inp("input.y")
    sigma = torch.tensor([golden.config["timestep"] / 1000])
    audio = golden.inp("input.audio")[: int(persons[1])]
    regions = None
    if persons == "p2":
        tokens = torch.nn.functional.interpolate(golden["masks_2p"][None].float(), scale_factor=0.5) > 0
        yield Result("token_masks", error(tokens.flatten(2)[0], golden["p2.cond.token_masks"]), 0)
        regions = tokens.to(torch.uint8)[:, :, None]
    no_audio = torch.zeros_like(audio)
    branches = {
        "cond": ("input.context", audio),
        "null_text": ("input.context_null", audio),
        "zero_audio": ("input.context", no_audio[:1]),  # one row of silence, however many speak
        "uncond": ("input.context_null", no_audio[:1]),
        "zero_audio_both_rows": ("input.context", no_audio),
    }
    for name, (text, heard) in branches.items():
        if f"{persons}.{name}" not in golden:
            continue
        voices = [project(machine.patch.model.audio_proj, *split_taps(voice)) for voice in heard]
        inputs = {
            "c_concat": condition,
            "c_crossattn": host.padded_text(golden.inp(text)),
            "clip_fea": golden.inp("input.clip_fea"),
            "audio_embed": torch.cat(voices, dim=2),
            "infinitetalk_regions": regions,
        }
        with machine.watched() as seen, _maps(machine, seen):
            velocity = machine.velocity(latent, sigma, inputs)
        yield Result(name, error(velocity[0], golden[f"{persons}.{name}"]), FORWARD)
        if name == "cond":
            rows = torch.cat(voices)[..., ::16]
            yield Result("audio_proj", error(rows, golden[f"{persons}.cond.audio_proj_every16"]), TOKENS)
            yield from _intermediates(golden, seen, persons)


@contextlib.contextmanager
def _maps(machine: host.Machine, seen: dict[str, torch.Tensor]) -> Iterator[None]:
    """Adds the speaker map of every block to `seen`, as map0, map1, ..."""

    def look(args):
        options = args["transformer_options"]
        if "infinitetalk_masks" in options:
            shares = speaker_map(args["q"], args["k"], options["infinitetalk_masks"], attention)
            seen[f"map{options['block_index']}"] = shares
        return args["x"]

    patches = machine.model.model_options["transformer_options"]["patches"]["attn1_patch"]
    patches.append(look)
    try:
        yield
    finally:
        patches.remove(look)


def _intermediates(golden: Golden, seen: dict[str, torch.Tensor], persons: str) -> Iterator[Result]:
    def recorded(name: str) -> torch.Tensor:
        return golden[f"{persons}.cond.{name}"]

    tokens = seen["patch_embedding"].flatten(2).transpose(1, 2)
    yield Result("patch_embed", error(tokens[0, :, ::4], recorded("patch_embed_every4")), FORWARD)
    yield Result("text", error(seen["text_embedding"][0, :16, ::16], recorded("text_every16")), FORWARD)
    yield Result("clip", error(seen["img_emb"][0, ::8, ::16], recorded("clip_every16")), FORWARD)
    yield Result("time", error(seen["time_embedding"], golden["e"]), FORWARD)
    yield Result("time_projection", error(seen["time_projection"][0].unflatten(-1, (6, -1)), golden["e0"]), FORWARD)
    for n in range(golden.config["model"]["num_layers"]):
        yield Result("block", error(seen[f"block{n}"][0, :, ::4], recorded(f"block{n}_every4")), FORWARD)
        if persons == "p2":
            yield Result("attention_map", error(seen[f"map{n}"][0], recorded(f"block{n}_attn_map")), MAP)
            continue
        # One person's masks are all ones, so the recorded map is the same number everywhere: it can
        # decide nothing, which is why no map is computed for one person.
        grid = golden.config["h"] // 2 * (golden.config["w"] // 2)
        yield Result("token_masks", error(recorded("token_masks").float(), torch.ones(3, grid)), 0)
        shares = recorded(f"block{n}_attn_map")
        yield Result("attention_map_is_constant", error(shares, torch.full_like(shares, 1 / grid)), MAP)


@case("dit_forward/rope")
def rope(golden: Golden) -> Iterator[Result]:
    machine = host.Machine(golden.weights())
    recorded = golden["rope_cos_sin_head"]
    model = machine.model.model.diffusion_model
    positions = torch.arange(recorded.shape[0]).float()[:, None].expand(-1, 3)
    matrices = model.rope_embedder(positions[None])[0, 0]  # [position, frequency, 2, 2]
    yield Result("", error(matrices[..., 0], recorded), 1e-6)
