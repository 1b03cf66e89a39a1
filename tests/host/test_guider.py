"""The guidance among the host's other ways to change a step: cfg functions, caches, ranges and areas."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.settings import ApgConfig, GuidanceConfig
from tests.host.test_compose import EXACT, ROUNDING, difference

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def wanted(machine) -> torch.Tensor:
    return machine.sample()


def other_texts(machine, positive: list, negative: list | None = None):
    """The machine with other prompts."""
    from tests.host.machine import Machine

    other = Machine(machine.models)
    for name in ("plain", "patch", "model", "vae", "reference"):
        other.__dict__[name] = getattr(machine, name)
    other.texts = [positive, negative or machine.texts[1]]
    return other


@pytest.mark.parametrize("guidance", [GuidanceConfig(5.0, 4.0), GuidanceConfig(1.0, 2.0), GuidanceConfig(1.0, 1.0)])
def test_cfg_functions_of_other_nodes_are_called(machine, guidance):
    wanted, seen = machine.sample(guidance=guidance), []

    def post(args):
        seen.append("post")
        return args["denoised"]

    def batch(args):
        import comfy.samplers

        seen.append(len(args["conds"]))
        return comfy.samplers.calc_cond_batch(
            args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
        )

    model = machine.model.clone()
    model.set_model_sampler_post_cfg_function(post)
    model.set_model_sampler_calc_cond_batch_function(batch)
    assert difference(wanted, machine.sample(model, guidance)) == EXACT
    assert seen == [len(guidance.branches(2)), "post"] * 2


def test_a_cfg_function_replaces_the_text_guidance(machine, wanted):
    model = machine.model.clone()
    model.set_model_sampler_cfg_function(lambda args: args["cond"])  # no text guidance at all
    no_text = machine.sample(model, GuidanceConfig(5.0, 1.0))
    assert difference(no_text, machine.sample(guidance=GuidanceConfig(1.0, 1.0))) < ROUNDING
    assert difference(no_text, wanted) > 0.01


@pytest.mark.parametrize("order", ["cache_first", "guidance_first"])
def test_lazycache_skips_in_both_orders(machine, order):
    import comfy.sample
    from comfy.patcher_extension import WrappersMP
    from comfy_extras.nodes_easycache import LazyCacheNode

    from infinitetalk.host.guider import with_guidance

    calls = []

    def count(executor, *args, **kwargs):
        calls.append(1)
        return executor(*args, **kwargs)

    def lazy(model):
        return LazyCacheNode.execute(model, 1e6, 0.0, 1.0, False).result[0]

    guidance = GuidanceConfig(2.0, 2.0)
    base = machine.model.clone()
    base.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    model = with_guidance(lazy(base), guidance) if order == "cache_first" else lazy(with_guidance(base, guidance))
    out = comfy.sample.sample(
        model, machine.noise(), 6, 1.0, "euler", "simple", *machine.window(), machine.empty(), seed=7
    )
    assert torch.isfinite(out).all()
    assert len(calls) < 6


def test_prompts_may_take_turns(machine, wanted):
    """The same prompt in two halves of the steps is the prompt; another one in the second half is not."""
    import node_helpers

    def half(text, start, end):
        return node_helpers.conditioning_set_values(text, {"start_percent": start, "end_percent": end})

    first, second = machine.texts
    both = other_texts(machine, half(first, 0.0, 0.5) + half(first, 0.5, 1.0))
    assert difference(wanted, both.sample()) < ROUNDING
    change = other_texts(machine, half(first, 0.0, 0.5) + half(second, 0.5, 1.0))
    assert difference(machine.sample(steps=4), change.sample(steps=4)) > 0.01


def test_combined_prompts_are_averaged(machine, wanted):
    twice = other_texts(machine, machine.texts[0] * 2)
    assert difference(wanted, twice.sample()) < ROUNDING


def test_a_prompt_may_have_an_area(machine, wanted):
    """Half the picture under a prompt of its own: it runs, and the held frame stays exact."""
    import node_helpers

    height, width = machine.reference.latent.shape[-2:]
    area = (3, height, width // 2, 0, 0, 0)
    first, second = machine.texts
    mixed = first + node_helpers.conditioning_set_values(second, {"area": area, "strength": 1.0})
    out = other_texts(machine, mixed).sample()
    assert difference(out[:, :, :1], machine.reference.first) == EXACT
    assert difference(out, wanted) > 0.01


@pytest.mark.parametrize("order", ["cache_first", "guidance_first"])
def test_easycache_keeps_three_branches_apart_in_both_orders(machine, monkeypatch, order):
    """Its cached steps are told apart by the branches' identities: run together or alone, the picture is the same."""
    import comfy.sample
    from comfy.patcher_extension import WrappersMP
    from comfy_extras.nodes_easycache import EasyCacheNode

    from infinitetalk.host.guider import with_guidance

    calls = []

    def count(executor, *args, **kwargs):
        calls.append(len(args[-1]["uuids"]))
        return executor(*args, **kwargs)

    def sample(threshold):
        def easy(model):
            return EasyCacheNode.execute(model, threshold, 0.0, 1.0, False).result[0]

        base, guidance = machine.model.clone(), GuidanceConfig(3.0, 2.0)
        model = with_guidance(easy(base), guidance) if order == "cache_first" else easy(with_guidance(base, guidance))
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count", count)  # inside the cache's wrapper
        calls.clear()
        return comfy.sample.sample(
            model, machine.noise(), 8, 1.0, "euler", "simple", *machine.window(), machine.empty(), seed=7
        )

    full = sample(0.0)
    assert calls == [3] * 8
    skipping = sample(1e6)
    assert 0 < len(calls) < 8
    assert difference(full, skipping) > 1e-4
    assert difference(skipping, sample(1e6)) == EXACT  # nothing is left over
    monkeypatch.setattr(machine.plain.model, "memory_required", lambda *args, **kwargs: float("inf"))
    assert difference(skipping, sample(1e6)) < ROUNDING
    assert set(calls) == {1} and len(calls) % 3 == 0


def branch_counts(machine, guidance: GuidanceConfig, steps: int, sampler: str = "euler") -> list[int]:
    """Branches in each model call of a sampling."""
    import comfy.samplers
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas

    counts = []

    def count(executor, x, *args, **kwargs):
        counts.append(x.shape[0])
        return executor(x, *args, **kwargs)

    model = machine.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    guider = make_guider(model, *machine.window(), guidance)
    out = guider.sample(
        machine.noise(), machine.empty(), comfy.samplers.sampler_object(sampler), flow_sigmas(steps, 5.0), seed=7
    )
    assert torch.isfinite(out).all()
    return counts


def test_every_step_calls_the_branches_of_its_own_scales(machine):
    assert branch_counts(machine, GuidanceConfig((5.0, 1.0), 4.0), 2) == [3, 2]
    assert branch_counts(machine, GuidanceConfig((5.0, 5.0, 1.0, 1.0), (2.0, 1.0, 2.0, 1.0)), 4) == [3, 2, 2, 1]
    assert branch_counts(machine, GuidanceConfig(5.0, 4.0, start=0.25, end=0.75), 4) == [1, 3, 3, 1]
    # heun: a call in each step and one in the step that follows, none after the last
    assert branch_counts(machine, GuidanceConfig((5.0, 1.0, 5.0), 4.0), 3, "heun") == [3, 2, 2, 3, 3]


def test_a_constant_curve_is_its_scale(machine, wanted):
    assert difference(wanted, machine.sample(guidance=GuidanceConfig((5.0, 5.0), ((0.0, 4.0), (1.0, 4.0))))) == EXACT


APG = GuidanceConfig(5.0, 4.0, apg=ApgConfig())


def test_projected_guidance_is_that_of_the_velocities(machine):
    """One step, computed again from the branches' own velocities with the held frames in them."""
    from infinitetalk.guidance import Apg, combine

    sigma = 0.9
    latents = {}
    for name, guidance in (("cond", GuidanceConfig(1.0, 1.0)), ("drop_audio", GuidanceConfig(1.0, 0.0))):
        latents[name] = one_step(machine, guidance, sigma)
    held = machine.plain.model.process_latent_in(machine.reference.first)
    x = start_of(machine, sigma)
    x[:, :, :1] = held
    velocities = {name: (x - denoised) / sigma for name, denoised in latents.items()}
    apg, scales = Apg(ApgConfig(threshold=3.0)), GuidanceConfig(1.0, 2.0).at(0, 1)
    wanted = combine(velocities, scales, project=lambda s, d: apg.project(s, d, velocities["cond"]))
    found = one_step(machine, GuidanceConfig(1.0, 2.0, apg=ApgConfig(threshold=3.0)), sigma)
    assert difference(found, x - sigma * wanted) < ROUNDING
    assert difference(found, one_step(machine, GuidanceConfig(1.0, 2.0), sigma)) > 0.01


def start_of(machine, sigma: float) -> torch.Tensor:
    return machine.plain.model.model_sampling.noise_scaling(torch.tensor(sigma), machine.noise(), machine.empty())


def one_step(machine, guidance: GuidanceConfig, sigma: float) -> torch.Tensor:
    """The guided denoised picture of the first call at `sigma`."""
    import comfy.samplers

    from infinitetalk.host.guider import make_guider

    seen = []
    guider = make_guider(machine.model, *machine.window(), guidance)
    guider.sample(
        machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), torch.tensor([sigma, 0.0]),
        callback=lambda step, x0, x, total: seen.append(x0.clone()), seed=7,
    )  # fmt: skip
    return seen[0]


def test_projected_guidance_starts_anew_and_is_the_same_for_ksampler(machine):
    import comfy.sample
    import comfy.samplers

    from infinitetalk.host.guider import make_guider, with_guidance

    model = with_guidance(machine.model, APG)
    conds = machine.window()
    runs = [
        comfy.sample.sample(model, machine.noise(), 3, 7.0, "euler", "simple", *conds, machine.empty(), seed=7)
        for _ in range(2)
    ]
    sigmas = comfy.samplers.calculate_sigmas(machine.model.get_model_object("model_sampling"), "simple", 3)
    guider = make_guider(machine.model, *conds, APG)
    ours = guider.sample(machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), sigmas, seed=7)
    assert difference(*runs) == EXACT
    assert difference(runs[0], ours) == EXACT
    assert "infinitetalk_apg" not in model.model_options["transformer_options"]
    assert difference(ours, machine.sample(guidance=GuidanceConfig(5.0, 4.0), steps=3)) > 0.01


def test_projected_guidance_runs_the_cfg_functions_of_other_nodes(machine):
    seen, wanted = [], machine.sample(guidance=APG)

    def post(args):
        seen.append(args["denoised"].shape)
        return args["denoised"]

    def cfg(args):  # the host's own formula on noise predictions
        seen.append(args["cond_scale"])
        return args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"])

    model = machine.model.clone()
    model.set_model_sampler_cfg_function(cfg)
    model.set_model_sampler_post_cfg_function(post)
    assert difference(wanted, machine.sample(model, APG)) < ROUNDING
    assert seen == [5.0, machine.empty().shape] * 2
