"""The training form of the small DiT computes what the host computes with the exported files."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from training.dit import DiTShape, Talker
from training.dit_export import PROMPTS, write

SHAPE = DiTShape(blocks=2, ffn=256, features=64, audio_hidden=32, audio_tokens=8, token_width=32)


@pytest.fixture(scope="module")
def talker() -> Talker:
    """Weights as drawn, the zeros among them filled, rounded to what the files hold."""
    torch.manual_seed(11)
    talker = Talker(SHAPE)
    with torch.no_grad():
        for parameter in talker.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
            parameter.copy_(parameter.half().float())
    return talker


@pytest.fixture(scope="module")
def files(talker, tmp_path_factory):
    return {path.name: path for path in write(talker, tmp_path_factory.mktemp("talker"), {})}


@pytest.mark.parametrize("voices", [1, 2, 3])
def test_forward_equals_the_hosts(host, talker, files, voices):
    import comfy.model_management
    import comfy.sd

    from infinitetalk.host.attach import AUDIO, REGIONS, attach
    from infinitetalk.host.loading import load_adapter_file

    patcher = comfy.sd.load_diffusion_model(str(files["dit.safetensors"]), model_options={"dtype": torch.float32})
    patch = load_adapter_file(str(files["adapter.safetensors"]))
    patch.model.float()
    model = attach(patcher, patch)
    comfy.model_management.load_models_gpu([model, patch])
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    x, condition = normal(1, 16, 4, 8, 12), normal(1, 20, 4, 8, 12)
    first, latter = normal(voices, 1, 5, 4, 16), normal(voices, 3, 8, 4, 16)
    masks = torch.zeros(voices + 1, 4, 6, dtype=torch.uint8)
    for voice in range(voices):
        masks[voice, 1:3, 6 // voices * voice : 6 // voices * voice + 2] = 1
    masks[-1] = 1 - masks[:-1].amax(dim=0)
    codes = load_file(files["left_embeds.safetensors"])
    with torch.no_grad():
        audio = torch.cat([talker.audio_tokens(first[v], latter[v][None]) for v in range(voices)], dim=2)
        held = masks.flatten(1)[None].float() if voices > 1 else None
        ours = talker(x, condition, torch.tensor([700.0]), torch.tensor([PROMPTS.index("left")]), audio, held)
        options = {**model.model_options["transformer_options"], "wrappers": model.wrappers, "cond_or_uncond": [0]}
        given = {AUDIO: audio} | ({REGIONS: masks[None, :, None]} if voices > 1 else {})
        model.model.current_patcher = model
        seen = model.model.apply_model(
            x,
            torch.tensor([0.7]),
            c_concat=condition,
            c_crossattn=codes["positive"].float(),
            clip_fea=normal(1, 257, 1280),
            transformer_options=options,
            **given,
        )
    velocity = (x - seen) / 0.7  # the host turns a velocity into the denoised latent
    assert (velocity - ours).abs().max() < 2e-4
