"""Text and audio guidance: the recorded formula, which branches count, curves over the steps, projection."""

from __future__ import annotations

import math

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.guidance import Apg, combine, step_at
from infinitetalk.schedule import flow_sigmas
from infinitetalk.settings import OFF, ApgConfig, GuidanceConfig, StepScales, parse_curve

SCALES = [(5.0, 4.0), (1.0, 2.0), (5.0, 1.0), (1.0, 1.0), (0.0, 3.0), (2.5, 0.0)]


def predictions(scales: StepScales, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(1, 16, 3, 4, 5, generator=generator) for name in scales.branches}


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
def test_the_branches_of_the_scales_give_the_reference_formula(text, audio):
    scales = StepScales(text, audio)
    made = predictions(scales)
    assert torch.allclose(combine(made, scales), reference(made, text, audio), atol=2e-4)


@pytest.mark.parametrize(("text", "audio"), SCALES)
def test_weights_add_up_to_one_so_denoised_pictures_combine_like_velocities(text, audio):
    scales, sigma = StepScales(text, audio), 0.7
    latent, velocities = torch.randn(1, 16, 3, 4, 5), predictions(scales)
    denoised = {name: latent - sigma * velocity for name, velocity in velocities.items()}
    assert torch.allclose(combine(denoised, scales), latent - sigma * combine(velocities, scales), atol=1e-4)


def test_one_prediction_is_passed_on_untouched():
    scales = StepScales(1.0, 1.0)
    made = predictions(scales)
    assert combine(made, scales) is made["cond"]


@pytest.mark.parametrize(("text", "audio"), SCALES[:3])
def test_inputs_are_not_written_to(text, audio):
    scales, apg = StepScales(text, audio), Apg(ApgConfig())
    made = predictions(scales)
    combine(made, scales)
    combine(made, scales, project=lambda scale, difference: apg.project(scale, difference, made["cond"]))
    assert all(torch.equal(made[name], kept) for name, kept in predictions(scales).items())


def test_a_missing_branch_is_an_error():
    scales = StepScales(5.0, 4.0)
    made = predictions(scales)
    del made["uncond"]
    with pytest.raises(KeyError, match="uncond"):
        combine(made, scales)


def test_projection_loses_what_lies_along_the_prediction_and_is_cut_to_the_threshold():
    cond = torch.randn(1, 16, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    other = torch.randn(1, 16, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    other = other - (other * cond).sum() / (cond * cond).sum() * cond
    apg = Apg(ApgConfig(momentum=0.0, threshold=1e6))
    assert torch.allclose(apg.project("text", other + 3 * cond, cond), other, atol=1e-5)
    short = Apg(ApgConfig(momentum=0.0, threshold=2.0)).project("text", other, cond)
    assert math.isclose(short.norm().item(), 2.0, rel_tol=1e-5)
    assert torch.equal(apg.project("audio", torch.zeros_like(cond), cond), torch.zeros_like(cond))


def test_every_latent_of_a_batch_is_projected_by_itself():
    generator = torch.Generator().manual_seed(3)
    cond, difference = (
        torch.randn(2, 2, 16, 3, 4, 5, generator=generator) * torch.tensor([1.0, 9.0])[:, None, None, None, None]
    )
    together = Apg(ApgConfig(threshold=20.0)).project("text", difference, cond)
    for n in range(2):
        alone = Apg(ApgConfig(threshold=20.0)).project("text", difference[n : n + 1], cond[n : n + 1])
        assert torch.allclose(together[n : n + 1], alone, atol=1e-6)


def test_momentum_remembers_each_scale_by_itself():
    apg, cond = Apg(ApgConfig(momentum=-0.5, threshold=1e6)), torch.zeros(1, 1, 1, 1, 2)
    cond[..., 1] = 1.0
    one = torch.zeros_like(cond)
    one[..., 0] = 1.0
    found = [apg.project("text", one, cond)[..., 0].item() for _ in range(3)]
    assert found == [1.0, 0.5, 0.75]
    assert apg.project("audio", one, cond)[..., 0].item() == 1.0


@pytest.mark.parametrize(
    ("scale", "steps", "wanted"),
    [
        (5.0, 3, [5, 5, 5]),
        ((5.0, 5.0, 3.0, 1.0), 4, [5, 5, 3, 1]),
        ((5.0, 1.0), 5, [5, 4, 3, 2, 1]),
        (((0.0, 5.0), (0.5, 3.0), (1.0, 1.0)), 5, [5, 4, 3, 2, 1]),
        (((0.25, 5.0), (0.5, 1.0)), 5, [5, 5, 1, 1, 1]),
        ((5.0, 1.0), 1, [5]),
        ((7.0,), 3, [7, 7, 7]),
    ],
)
def test_a_curve_gives_each_step_its_scale(scale, steps, wanted):
    config = GuidanceConfig(scale, scale)
    for step, value in enumerate(wanted):
        assert config.at(step, steps) == StepScales(pytest.approx(value), pytest.approx(value))


def test_as_many_numbers_as_steps_are_the_steps_own():
    values = tuple(1.0 + (n * 7 % 11) / 3 for n in range(37))
    found = [GuidanceConfig(values, 2.0).at(step, 37).text for step in range(37)]
    assert found == pytest.approx(values, rel=1e-9)


def test_outside_its_part_of_the_run_guidance_is_off():
    config = GuidanceConfig(5.0, 4.0, start=0.25, end=0.75)
    assert [config.at(step, 8) == OFF for step in range(8)] == [True] * 2 + [False] * 4 + [True] * 2
    assert GuidanceConfig((5.0, 1.0), 4.0).branches(2) == ("cond", "drop_text", "drop_audio", "uncond")
    assert GuidanceConfig(1.0, 2.0).branches(4) == ("cond", "drop_audio")


def test_curves_are_read_in_both_forms():
    assert parse_curve("5, 5, 3,1", "text_curve") == (5.0, 5.0, 3.0, 1.0)
    assert parse_curve(" 0:5  0.5:3,1:1 ", "text_curve") == ((0.0, 5.0), (0.5, 3.0), (1.0, 1.0))
    assert parse_curve("  ", "text_curve") is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("5, x, 3", "'x' is not a number"),
        ("0:5 3 1:1", "'3' has no position"),
        ("0:5 1:y", "'1:y' is not a number"),
        ("0:5 2:1", "position 2.0 is outside"),
        ("0.5:5 0.25:1", "position 0.25 comes after 0.5"),
        ("0:5 0:1", "position 0 comes after 0"),
        ("5, 200", "200.0 is outside 0 to 100"),
        ("5, nan", "nan is outside"),
        ("5, -1", "-1.0 is outside"),
        ("0:5:3 1:1", "'0:5:3' is not a number"),
    ],
)
def test_a_bad_curve_is_named_by_its_bad_part(text, named):
    with pytest.raises(InputError) as error:
        parse_curve(text, "audio_curve")
    assert error.value.problem.startswith("audio_curve: ") and named in error.value.problem


@pytest.mark.parametrize(
    "values",
    [
        {"text": ()},
        {"text": (5.0, (0.0, 3.0))},
        {"audio": "4"},
        {"audio": [4.0]},
        {"start": 0.5, "end": 0.5},
        {"end": 1.5},
        {"start": math.nan},
    ],
)
def test_bad_guidance_is_refused(values):
    with pytest.raises(InputError):
        GuidanceConfig(**values)


@pytest.mark.parametrize("values", [{"momentum": 1.0}, {"momentum": "x"}, {"threshold": 0.0}, {"threshold": math.inf}])
def test_bad_projection_is_refused(values):
    with pytest.raises(InputError, match="APG"):
        ApgConfig(**values)


def test_a_call_belongs_to_the_step_at_or_above():
    sigmas = flow_sigmas(8, 7.0).tolist()
    assert [step_at(sigma, sigmas) for sigma in sigmas[:-1]] == list(range(8))
    between = [(a + b) / 2 for a, b in zip(sigmas, sigmas[1:], strict=False)]
    assert [step_at(sigma, sigmas) for sigma in between] == list(range(8))
    assert step_at(sigmas[3] * (1 + 1e-7), sigmas) == step_at(sigmas[3] * (1 - 1e-7), sigmas) == 3
    assert step_at(1.2, sigmas) == 0 and step_at(0.0, sigmas) == 7
