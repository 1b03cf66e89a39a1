"""Text and audio guidance: the recorded formula, which branches count, and what the rule keeps."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.guidance import combine
from infinitetalk.settings import GuidanceConfig

SCALES = [(5.0, 4.0), (1.0, 2.0), (5.0, 1.0), (1.0, 1.0), (0.0, 3.0), (2.5, 0.0)]


def predictions(config: GuidanceConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(1, 16, 3, 4, 5, generator=generator) for name in config.branches}


def reference(made: dict[str, torch.Tensor], text: float, audio: float) -> torch.Tensor:
    """The reference's two formulas, with every branch it calls; a left-out branch is one that cancels out."""
    cond = made["cond"]
    if text == 1.0:
        drop_audio = made.get("drop_audio", cond)
        return drop_audio + audio * (cond - drop_audio)
    drop_text = made["drop_text"]
    uncond = made.get("uncond", torch.full_like(cond, 123.0))
    return uncond + text * (cond - drop_text) + audio * (drop_text - uncond)


@pytest.mark.parametrize(("text", "audio"), SCALES)
def test_the_branches_of_the_config_give_the_reference_formula(text, audio):
    config = GuidanceConfig(text, audio)
    made = predictions(config)
    assert torch.allclose(combine(made, config), reference(made, text, audio), atol=2e-4)


@pytest.mark.parametrize(("text", "audio"), SCALES)
def test_weights_add_up_to_one_so_denoised_pictures_combine_like_velocities(text, audio):
    config, sigma = GuidanceConfig(text, audio), 0.7
    latent, velocities = torch.randn(1, 16, 3, 4, 5), predictions(config)
    denoised = {name: latent - sigma * velocity for name, velocity in velocities.items()}
    assert torch.allclose(combine(denoised, config), latent - sigma * combine(velocities, config), atol=1e-4)


def test_one_prediction_is_passed_on_untouched():
    config = GuidanceConfig(1.0, 1.0)
    made = predictions(config)
    assert combine(made, config) is made["cond"]


@pytest.mark.parametrize(("text", "audio"), SCALES[:3])
def test_inputs_are_not_written_to(text, audio):
    config = GuidanceConfig(text, audio)
    made = predictions(config)
    combine(made, config)
    assert all(torch.equal(made[name], kept) for name, kept in predictions(config).items())


def test_a_missing_branch_is_an_error():
    config = GuidanceConfig(5.0, 4.0)
    made = predictions(config)
    del made["uncond"]
    with pytest.raises(KeyError, match="uncond"):
        combine(made, config)
