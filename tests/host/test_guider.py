"""The guidance among the host's other ways to change a step: cfg functions, caches, ranges and areas."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.settings import GuidanceConfig
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
