"""The step cache on the real host: what is skipped, by whom, and what is left over."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.settings import CacheConfig, GuidanceConfig
from infinitetalk.step_cache import Tally
from tests.host.caches import EAGER, NEVER, STEPS, THREE, block_rows, cached, curves  # noqa: F401  # a fixture
from tests.host.test_compose import EXACT, ROUNDING, difference

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def full(machine) -> torch.Tensor:
    return machine.sample(guidance=THREE, steps=STEPS)


@pytest.fixture(scope="module")
def skipping(machine) -> torch.Tensor:
    return machine.sample(cached(machine), THREE, steps=STEPS)


def run_alone(model):
    """A clone of `model` that runs every branch in a model call of its own."""
    import comfy.samplers

    def batches(args):
        rest = args["input"], args["sigma"], args["model_options"]
        return [comfy.samplers.calc_cond_batch(args["model"], [cond], *rest)[0] for cond in args["conds"]]

    model = model.clone()
    model.set_model_sampler_calc_cond_batch_function(batches)
    return model


def test_skipped_blocks_do_not_run_and_are_counted(machine, full):
    tally = Tally()
    with block_rows(machine) as rows:
        out = machine.sample(cached(machine, tally=tally), THREE, steps=STEPS)
    assert all(seen == [3] * 5 for seen in rows.values())
    assert (tally.computed, tally.skipped) == (15, 15)
    assert difference(out, full) > ROUNDING
    assert difference(out[:, :, :1], machine.reference.first) == EXACT


def test_a_threshold_that_skips_nothing_changes_nothing(machine, full):
    tally = Tally()
    assert difference(full, machine.sample(cached(machine, NEVER, tally), THREE, steps=STEPS)) == EXACT
    assert (tally.computed, tally.skipped) == (30, 0)


def test_no_cache_is_the_model_itself(machine):
    from infinitetalk.host.step_cache import with_cache

    assert with_cache(machine.model, None, Tally()) is machine.model


def test_no_cache_takes_one_off_that_was_put_on_before(machine, full):
    from infinitetalk.host.step_cache import with_cache

    tally = Tally()
    carrying = cached(machine, tally=tally)
    assert difference(full, machine.sample(with_cache(carrying, None, Tally()), THREE, steps=STEPS)) == EXACT
    assert (tally.computed, tally.skipped) == (0, 0)
    machine.sample(carrying, THREE, steps=STEPS)  # and it is still on the model given
    assert tally.skipped == 15


def test_every_sampling_starts_afresh_and_leaves_nothing(machine, skipping, full):
    tally = Tally()
    model = cached(machine, tally=tally)
    first, second = (machine.sample(model, THREE, steps=STEPS) for _ in range(2))
    assert difference(first, second) == EXACT
    assert difference(first, skipping) == EXACT
    assert (tally.computed, tally.skipped) == (30, 30)
    assert "patches_replace" not in model.model_options["transformer_options"]
    assert difference(full, machine.sample(guidance=THREE, steps=STEPS)) == EXACT  # without the cache


def test_what_stops_a_sampling_leaves_nothing_either(machine, skipping):
    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas

    class Stop(Exception):
        pass

    def stop(step, x0, x, total):
        if step == 6:
            raise Stop

    import comfy.samplers

    model = cached(machine)
    guider = make_guider(model, *machine.window(), THREE)
    options = guider.model_options
    given = machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), flow_sigmas(STEPS, 5.0)
    with pytest.raises(Stop):
        guider.sample(*given, callback=stop, seed=7)
    assert guider.model_options is options
    assert difference(skipping, guider.sample(*given, seed=7)) == EXACT


@pytest.mark.parametrize("guidance", [THREE, GuidanceConfig(1.0, 2.0), GuidanceConfig(1.0, 1.0)])
def test_branches_are_kept_apart_together_or_alone(machine, guidance):
    """Run in one batch or one after the other, each branch gets its own residual back."""
    branches = len(guidance.branches(STEPS))
    tallies = Tally(), Tally()
    together = machine.sample(cached(machine, tally=tallies[0]), guidance, steps=STEPS)
    alone = machine.sample(cached(machine, tally=tallies[1], model=run_alone(machine.model)), guidance, steps=STEPS)
    assert difference(together, alone) < ROUNDING
    for tally in tallies:
        assert (tally.computed, tally.skipped) == (5 * branches, 5 * branches)


def area_prompt(machine) -> tuple[list, list]:
    """(positive, negative) of the first window with a second prompt for one half of the picture."""
    import node_helpers

    positive, negative = machine.window()
    height, width = machine.reference.latent.shape[-2:]
    half = {"area": (3, height // 2, width, 0, 0, 0), "strength": 1.0}
    return positive + node_helpers.conditioning_set_values(positive, half), negative


def test_an_area_prompt_keeps_its_branches_apart(machine, monkeypatch):
    """The host copies the area's entry, uuid and all, to the negative side; batched or not, all six are cached."""
    import comfy.samplers

    from infinitetalk.host.guider import make_guider
    from infinitetalk.host.step_cache import finish_cache
    from infinitetalk.schedule import flow_sigmas

    def sample(tally):
        guider = make_guider(cached(machine, tally=tally), *area_prompt(machine), THREE)
        given = machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), flow_sigmas(STEPS, 5.0)
        with block_rows(machine) as rows:
            return guider.sample(*given, seed=7), rows[0]

    tallies = Tally(), Tally()
    together, rows = sample(tallies[0])
    assert rows == [3, 3] * 5
    monkeypatch.setattr(machine.plain.model, "memory_required", lambda *args, **kwargs: float("inf"))
    alone, rows = sample(tallies[1])
    assert rows == [1] * 6 * 5
    for tally in tallies:
        assert (tally.computed, tally.skipped, tally.windowed) == (30, 30, 0)
        assert finish_cache(EAGER, tally) == "30 of 60 forwards skipped (50 %)"
    assert difference(together, alone) < ROUNDING


def test_a_branch_that_joins_late_has_no_residual_yet(machine):
    """text 1 until step 6: then two more branches begin, and the whole batch is computed for their sake."""
    tally = Tally()
    guidance = GuidanceConfig((1.0,) * 6 + (3.0,) * 6, 2.0)
    machine.sample(cached(machine, tally=tally), guidance, steps=12)
    # steps 0-5: cond and drop_audio; step 6: cond, drop_text, uncond; steps 7-11 skipped
    assert (tally.computed, tally.skipped) == (6 * 2 + 3, 5 * 3)
    alone = Tally()
    machine.sample(cached(machine, tally=alone, model=run_alone(machine.model)), guidance, steps=12)
    # each by itself: cond and drop_audio 6 each, drop_text and uncond 1 each
    assert (alone.computed, alone.skipped) == (14, 6 + 5 + 5)


def test_teacache_warms_up_five_forwards_of_each_branch(machine):
    import comfy.samplers

    from infinitetalk.host.guider import make_guider

    sigmas = torch.cat([torch.linspace(1.0, 0.9999, 9), torch.zeros(1)])  # so close that the embeddings are alike
    given = machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), sigmas
    for guidance, branches in ((THREE, 3), (GuidanceConfig(1.0, 2.0), 2)):
        tally = Tally()
        model = cached(machine, CacheConfig(threshold=2.0), tally)
        for _ in range(2):  # two windows
            with block_rows(machine) as rows:
                make_guider(model, *machine.window(), guidance).sample(*given, seed=7)
            assert rows[0] == [branches] * 5
        assert (tally.computed, tally.skipped) == (2 * 5 * branches, 2 * 4 * branches)


def test_ksampler_on_the_guided_model_is_cached_too(machine):
    import comfy.sample

    from infinitetalk.host.guider import with_guidance

    positive, negative = machine.window()
    rest = machine.noise(), 8, 1.0, "euler", "simple", positive, negative, machine.empty()
    tally = Tally()
    guided = with_guidance(machine.model, THREE)
    after = comfy.sample.sample(cached(machine, tally=tally, model=guided), *rest, seed=7)
    before = comfy.sample.sample(with_guidance(cached(machine), THREE), *rest, seed=7)
    assert (tally.computed, tally.skipped) == (12, 12)
    assert difference(after, before) == EXACT


def test_a_sampler_that_calls_between_the_steps(machine):
    import comfy.samplers

    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas

    tally = Tally()
    guider = make_guider(cached(machine, tally=tally), *machine.window(), THREE)
    out = guider.sample(
        machine.noise(), machine.empty(), comfy.samplers.sampler_object("heun"), flow_sigmas(5, 5.0), seed=7
    )
    assert torch.isfinite(out).all()
    assert (tally.computed, tally.skipped) == (9, 18)  # nine calls, in the steps 0 1 1 2 2 3 3 4 4


def test_a_replaced_block_keeps_its_replacement(machine):
    calls = []

    def replacement(args, extra):
        calls.append(args["img"].shape[0])
        return extra["original_block"](args)

    model = machine.model.clone()
    model.set_model_patch_replace(replacement, "dit", "double_block", 1)
    machine.sample(cached(machine, model=model), THREE, steps=STEPS)
    assert calls == [3] * 5


def test_what_other_nodes_add_between_the_blocks_is_in_the_residual_once(machine):
    """With embeddings that stand still a skipped forward repeats the computed one, other nodes' patches included."""
    from infinitetalk.host.block_cache import BlockCache, install

    def add(args):
        return {"img": args["img"] + 0.25 * (args["block_index"] + 1)}

    def sample(computed):
        model = machine.model.clone()
        model.set_model_patch(add, "double_block")
        answers = iter(computed)
        cache = BlockCache(lambda *args: next(answers), Tally())
        install(model.model_options["transformer_options"], len(machine.plain.model.diffusion_model.blocks), cache)
        guider_model = machine.model.clone()
        guider_model.model_options = model.model_options
        seen = []
        guider_model.model_options["model_function_wrapper"] = twice(seen)
        machine.sample(guider_model, THREE, steps=1)
        return seen

    def twice(seen):
        def call(apply_model, args):
            for _ in range(2):
                out = apply_model(args["input"], args["timestep"], **args["c"])
                seen.append(out.clone())
            return out

        return call

    computed, skipped = sample([True, False])
    assert difference(computed, skipped) < ROUNDING


def test_lora_composes(machine):
    import comfy.sd

    generator = torch.Generator().manual_seed(9)
    dim = machine.plain.model.diffusion_model.dim
    name = "diffusion_model.blocks.0.self_attn.q"
    lora = {
        f"{name}.lora_down.weight": torch.randn(4, dim, generator=generator) / dim**0.5,
        f"{name}.lora_up.weight": torch.randn(dim, 4, generator=generator),
    }
    with_lora = comfy.sd.load_lora_for_models(machine.model, None, lora, 1.0, 0.0)[0]
    tally = Tally()
    out = machine.sample(cached(machine, tally=tally, model=with_lora), THREE, steps=STEPS)
    assert tally.skipped == 15
    assert difference(machine.sample(with_lora, THREE, steps=STEPS), machine.sample(
        cached(machine, NEVER, model=with_lora), THREE, steps=STEPS)) == EXACT  # fmt: skip
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("blocks_only", [False, True])
def test_compiled_models_are_cached(machine, skipping, blocks_only):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.reset()
    model = machine.model.clone()
    blocks = len(machine.plain.model.diffusion_model.blocks)
    keys = {"keys": [f"diffusion_model.blocks.{n}" for n in range(blocks)]} if blocks_only else {}
    set_torch_compile_wrapper(model, backend="eager", dynamic=False, **keys)
    tally = Tally()
    assert (
        difference(skipping, machine.sample(cached(machine, tally=tally, model=model), THREE, steps=STEPS)) < ROUNDING
    )
    assert (tally.computed, tally.skipped) == (15, 15)


def test_context_windows_are_computed_and_said_so(machine):
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    from infinitetalk.host.step_cache import finish_cache

    sliced = WanContextWindowsManualNode.execute(
        machine.model, 5, 1, "standard_static", 1, False, "flat", False, False
    ).result[0]
    tally = Tally()
    out = machine.sample(cached(machine, tally=tally, model=sliced), THREE, steps=8)
    assert difference(out, machine.sample(sliced, THREE, steps=8)) == EXACT
    assert tally.skipped == 0 and tally.computed == tally.windowed > 0
    assert "context windows, which are not cached" in finish_cache(EAGER, tally)


@pytest.mark.parametrize("node", ["EasyCacheNode", "LazyCacheNode"])
def test_a_second_cache_is_refused_in_both_orders(machine, node):
    import comfy_extras.nodes_easycache as nodes

    def put(model):
        return getattr(nodes, node).execute(model, 0.2, 0.0, 1.0, False).result[0]

    name = node.removesuffix("Node")
    with pytest.raises(InputError, match=f"already carries {name}"):
        cached(machine, model=put(machine.model))
    with pytest.raises(InputError, match=f"already carries {name}"):
        machine.sample(put(cached(machine)), THREE)


@pytest.mark.parametrize("node", ["EasyCacheNode", "LazyCacheNode"])
def test_the_hosts_own_cache_is_said_to_count_for_itself(machine, tmp_path, node):
    import comfy_extras.nodes_easycache as nodes

    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    model = getattr(nodes, node).execute(machine.model, 0.2, 0.0, 1.0, False).result[0]
    with folders(tmp_path):
        done = render(machine.inputs(9, model=model), CONFIG)
    assert (done.skipped, done.report) == (0, f"{node.removesuffix('Node')} counts what it skips in ComfyUI's log")
