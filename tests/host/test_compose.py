"""The patched model beside everything else of the host that changes a model or a sampling run."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.settings import GuidanceConfig

pytestmark = pytest.mark.usefixtures("host")

EXACT = 0.0
ROUNDING = 1e-4  # another order of the same float32 operations, magnified by the guidance; latents reach 8


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert torch.isfinite(a).all() and torch.isfinite(b).all()
    return (a - b).abs().max().item()


@pytest.fixture(scope="module")
def wanted(machine) -> torch.Tensor:
    return machine.sample()


def plain_sample(machine) -> torch.Tensor:
    import comfy.sample

    conditions = (
        [[c, {k: v for k, v in values.items() if k != "model_conds"}] for c, values in conds]
        for conds in machine.window()
    )
    return comfy.sample.sample(
        machine.plain, machine.noise(), 2, 3.0, "euler", "simple", *conditions, machine.empty(), seed=7
    )


def test_the_plain_model_is_untouched_by_our_nodes(machine):
    before = plain_sample(machine)
    heard = machine.sample()
    assert difference(before, plain_sample(machine)) == EXACT
    assert difference(before, heard) > 0.01


def test_without_audio_the_patched_model_is_the_plain_one(machine):

    from tests.host.machine import Machine

    other = Machine(machine.models)
    other.plain = machine.model
    assert difference(plain_sample(machine), plain_sample(other)) == EXACT


@pytest.mark.parametrize(("text", "audio", "calls"), [(5.0, 4.0, 3), (1.0, 2.0, 2), (5.0, 1.0, 2), (1.0, 1.0, 1)])
def test_branches_run_as_one_batch_and_equal_single_calls(machine, monkeypatch, text, audio, calls):
    from comfy.patcher_extension import WrappersMP

    sizes = []

    def count(executor, x, *args, **kwargs):
        sizes.append(x.shape[0])
        return executor(x, *args, **kwargs)

    model = machine.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    guidance = GuidanceConfig(text, audio)
    together = machine.sample(model, guidance)
    assert sizes == [calls, calls]
    sizes.clear()
    monkeypatch.setattr(machine.plain.model, "memory_required", lambda *args, **kwargs: float("inf"))
    single = machine.sample(model, guidance)
    assert sizes == [1] * 2 * calls
    assert difference(together, single) < ROUNDING


def test_attaching_twice_replaces(machine, wanted):
    from infinitetalk.host.attach import attach

    assert difference(wanted, machine.sample(attach(machine.model, machine.patch))) == EXACT


def test_attaching_again_takes_every_wrapper_of_ours_away(machine, wanted):
    from infinitetalk.host.attach import attach
    from infinitetalk.host.guider import with_guidance
    from infinitetalk.host.step_cache import with_cache
    from infinitetalk.settings import ApgConfig, CacheConfig
    from infinitetalk.step_cache import Tally

    def ours(model) -> set[tuple[str, str]]:
        keys = {(kind, key) for kind, wrappers in model.wrappers.items() for key in wrappers}
        return {(kind, key) for kind, key in keys if "infinitetalk" in key}

    tally = Tally()
    worn = with_cache(with_guidance(machine.model, GuidanceConfig(apg=ApgConfig())), CacheConfig(), tally)
    worn.add_wrapper_with_key("predict_noise", "another node's", lambda executor, *args: executor(*args))
    again = attach(worn, machine.patch)
    assert len(ours(worn)) == 5 and ours(again) == ours(machine.model)
    assert again.get_wrappers("predict_noise", "another node's")
    assert difference(wanted, machine.sample(again)) == EXACT
    assert tally.computed == 0


def test_ksampler_gives_what_our_guider_gives(machine):
    """The same wrapper guides both; KSampler's own cfg changes nothing."""
    import comfy.sample
    import comfy.samplers

    from infinitetalk.host.guider import make_guider, with_guidance

    positive, negative = machine.window()
    guidance = GuidanceConfig(3.0, 2.0)
    results = [
        comfy.sample.sample(
            with_guidance(machine.model, guidance), machine.noise(), 3, cfg, "euler", "simple",
            positive, negative, machine.empty(), seed=7,
        )
        for cfg in (1.0, 8.0)
    ]  # fmt: skip
    sigmas = comfy.samplers.calculate_sigmas(machine.model.get_model_object("model_sampling"), "simple", 3)
    guider = make_guider(machine.model, positive, negative, guidance)
    ours = guider.sample(machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), sigmas, seed=7)
    assert difference(results[0], results[1]) == EXACT
    assert difference(results[0], ours) == EXACT


def test_the_held_latents_come_out_exactly(machine, wanted):
    assert difference(wanted[:, :, :1], machine.reference.first) == EXACT
    assert difference(wanted[:, :, 1:2], machine.reference.latent[:, :, 1:2]) > 0.1


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m", "uni_pc", "lcm"])
def test_other_samplers_keep_the_held_latents(machine, sampler):
    import comfy.samplers

    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas

    guider = make_guider(machine.model, *machine.window(), GuidanceConfig(2.0, 2.0))
    out = guider.sample(
        machine.noise(), machine.empty(), comfy.samplers.sampler_object(sampler), flow_sigmas(4, 5.0), seed=7
    )
    assert torch.isfinite(out).all()
    assert difference(out[:, :, :1], machine.reference.first) == EXACT


@pytest.mark.parametrize("order", ["cache_first", "adapter_first"])
def test_easycache_composes_and_forgets(machine, wanted, order):
    from comfy_extras.nodes_easycache import EasyCacheNode

    from infinitetalk.host.attach import attach

    def cached(threshold):
        def put(model):
            return EasyCacheNode.execute(model, threshold, 0.0, 1.0, False).result[0]

        return attach(put(machine.plain), machine.patch) if order == "cache_first" else put(machine.model)

    assert difference(wanted, machine.sample(cached(0.0))) == EXACT
    lazy = cached(1e6)
    full, skipping = machine.sample(steps=6), machine.sample(lazy, steps=6)
    assert difference(full, skipping) > 1e-4  # steps were skipped
    assert difference(skipping, machine.sample(lazy, steps=6)) == EXACT  # nothing is left over from the run before


def test_lora_before_and_after_are_the_same(machine, wanted):
    import comfy.sd

    from infinitetalk.host.attach import attach

    generator = torch.Generator().manual_seed(9)
    dim = machine.plain.model.diffusion_model.dim
    lora = {}
    for block in range(2):
        for part in ("self_attn.q", "cross_attn.v"):
            name = f"diffusion_model.blocks.{block}.{part}"
            lora[f"{name}.lora_down.weight"] = torch.randn(4, dim, generator=generator) / dim**0.5
            lora[f"{name}.lora_up.weight"] = torch.randn(dim, 4, generator=generator)
    before = attach(comfy.sd.load_lora_for_models(machine.plain, None, lora, 1.0, 0.0)[0], machine.patch)
    after = comfy.sd.load_lora_for_models(machine.model, None, lora, 1.0, 0.0)[0]
    with_lora = machine.sample(before)
    assert difference(with_lora, machine.sample(after)) == EXACT
    assert difference(with_lora, wanted) > 1e-3
    assert difference(wanted, machine.sample()) == EXACT  # and the shared weights are back


def test_context_windows_slice_the_audio(machine, wanted):
    from comfy.patcher_extension import WrappersMP
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    from infinitetalk.host import attach

    seen = {}

    def spy(executor, x, *args, **kwargs):
        options = args[-1]
        window = options.get("context_window")
        frames = (0, 1, 2) if window is None else tuple(attach.frames_of_window(window))
        seen[frames] = (options[attach._TOKENS], x)
        return executor(x, *args, **kwargs)

    def windowed(length, overlap):
        model = WanContextWindowsManualNode.execute(
            machine.model, length, overlap, "standard_static", 1, False, "flat", False, False
        ).result[0]
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)  # after ours: sees what the blocks will see
        return model

    assert difference(wanted, machine.sample(windowed(9, 1))) == EXACT  # one window holds everything
    whole, _ = seen[0, 1, 2]
    seen.clear()
    sliced = machine.sample(windowed(5, 1))
    assert difference(sliced[:, :, :1], machine.reference.first) == EXACT
    assert len(seen) > 1
    held = machine.plain.model.process_latent_in(machine.reference.first)[:, :, 0]
    for frames, (tokens, x) in seen.items():
        assert difference(tokens, whole[:, list(frames)]) == EXACT
        assert x.shape[2] == len(frames)
        for position, frame in enumerate(frames):  # the held frame wherever it stands, and only there
            assert (difference(x[:1, :, position], held) == EXACT) == (frame == 0)


def test_whole_model_compile_composes(machine, wanted):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    from infinitetalk.host.attach import attach

    torch._dynamo.reset()
    after = machine.model.clone()
    set_torch_compile_wrapper(after, backend="eager", dynamic=False)
    before = machine.plain.clone()
    set_torch_compile_wrapper(before, backend="eager", dynamic=False)
    for model in (after, attach(before, machine.patch)):
        assert difference(wanted, machine.sample(model)) < ROUNDING


def test_block_compile_does_not_compile_every_block_anew(machine, wanted):
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    model = machine.model.clone()
    blocks = len(machine.plain.model.diffusion_model.blocks)
    keys = [f"diffusion_model.blocks.{n}" for n in range(blocks)]
    set_torch_compile_wrapper(model, backend="eager", keys=keys, dynamic=False)
    assert difference(wanted, machine.sample(model)) < ROUNDING
    assert counters["stats"]["unique_graphs"] < blocks
    assert not counters["graph_break"]


def test_an_attention_override_sees_the_model(machine, wanted):
    calls = []

    def override(function, *args, **kwargs):
        calls.append(args[0].shape)
        return function(*args, **kwargs)

    model = machine.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    assert difference(wanted, machine.sample(model)) == EXACT
    assert calls


def test_the_hosts_model_patch_is_accepted(machine, tmp_path):
    """Forty blocks, as the host builds every MODEL_PATCH; the result equals our own loader's on the same file."""
    import comfy.sd
    import folder_paths
    from comfy_extras.nodes_model_patch import ModelPatchLoader
    from safetensors.torch import save_file

    from infinitetalk.host.attach import attach
    from infinitetalk.host.loading import load_adapter_file
    from infinitetalk.model.audio_projection import project
    from tests.host.layouts import adapter_tensors, base_tensors

    save_file(adapter_tensors(dim=128, layers=40, features=12 * 768), tmp_path / "forty_blocks.safetensors")
    folder_paths.add_model_folder_path("model_patches", str(tmp_path))
    theirs = ModelPatchLoader().load_model_patch("forty_blocks.safetensors")[0]
    ours = load_adapter_file(str(tmp_path / "forty_blocks.safetensors"))
    plain = comfy.sd.load_diffusion_model_state_dict(base_tensors(dim=128, layers=40))
    taps = torch.randn(1, 5, 12, 768), torch.randn(2, 8, 12, 768)
    assert difference(*(project(patch.model.audio_proj, *taps) for patch in (theirs, ours))) < ROUNDING
    results = []
    for patch in (theirs, ours):
        model = attach(plain, patch)
        results.append(_forward(model, patch, project(patch.model.audio_proj, *taps).detach()))
    assert difference(*results) < ROUNDING


def _forward(model, patch, tokens):
    import comfy.model_management

    comfy.model_management.load_models_gpu([model, patch])
    model.pre_run()
    options = {**model.model_options["transformer_options"], "wrappers": model.wrappers}
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(1, 16, 3, 4, 4, generator=generator), torch.randn(1, 20, 3, 4, 4, generator=generator)
    text, clip = torch.randn(1, 8, 4096, generator=generator), torch.randn(1, 257, 1280, generator=generator)
    return model.model.apply_model(
        x, torch.tensor([0.7]), c_concat=y, c_crossattn=text, clip_fea=clip, audio_embed=tokens,
        transformer_options=options,
    )  # fmt: skip


def test_a_model_without_the_adapter_is_refused(machine):
    from infinitetalk.host.conditioning import check_features

    with pytest.raises(InputError, match="no InfiniteTalk adapter is attached"):
        check_features(machine.plain, machine.features())


def test_the_wan22_vae_is_refused(machine):
    """The real class at its real size (the host fixes it), with weights of zeros."""
    import comfy.ldm.wan.vae2_2
    import comfy.sd

    from infinitetalk.host.vae import WanVae

    sizes = {"dim": 160, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
    with torch.device("meta"):
        empty = comfy.ldm.wan.vae2_2.WanVAE(**sizes, temperal_downsample=[False, True, True], dropout=0.0)
    zeros = {key: torch.zeros(value.shape, dtype=torch.float16) for key, value in empty.state_dict().items()}
    with pytest.raises(InputError, match="vae: this is the Wan2.2 VAE"):
        WanVae(comfy.sd.VAE(sd=zeros))
