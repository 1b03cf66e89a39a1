"""Memory settings: the same pictures, the adapter where it is wanted and as narrow as it was, and what fits a card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from infinitetalk.memory import GIB, OVERLAP, TILE, Card, Job, MemoryConfig, tile_bytes
from infinitetalk.step_cache import Tally
from tests.host.caches import STEPS, THREE, cached, curves  # noqa: F401  # a fixture
from tests.host.test_run import read

pytestmark = pytest.mark.usefixtures("host")

BY_HAND = MemoryConfig(branches="one by one", vae="tiled", adapter="in RAM")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def rendered(machine, tmp_path, memory, config=None, **changes):
    from infinitetalk.host.planned import Wish
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    with folders(tmp_path):
        return render(replace(machine.inputs(13), **changes), config or CONFIG, Wish(memory=memory))


def frames_of(done) -> np.ndarray:
    return read(done.path)[0].astype(int)


@pytest.fixture(scope="module")
def plain(machine, tmp_path_factory) -> np.ndarray:
    """The frames of a run as the host does it by itself."""
    with torch.inference_mode():
        return frames_of(rendered(machine, tmp_path_factory.mktemp("plain"), None))


@pytest.mark.parametrize(
    "memory",
    [MemoryConfig(branches="one by one"), MemoryConfig(vae="tiled"), MemoryConfig(adapter="in RAM"), BY_HAND],
)
def test_every_setting_gives_the_same_pictures(machine, tmp_path, plain, memory):
    """48x48 pixels are one tile, so that nothing but rounding is left; the compressed pictures differ a little more."""
    found = frames_of(rendered(machine, tmp_path, memory))
    assert abs(found - plain).mean() < 0.5  # of 255; another seed gives 5 and more


def test_the_branches_are_called_one_by_one(machine):
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas
    from infinitetalk.settings import GuidanceConfig

    for apart, expected in ((False, [3]), (True, [1, 1, 1])):
        model, rows = machine.model.clone(), []

        def count(executor, x, *args, rows=rows, **kwargs):
            rows.append(len(x))
            return executor(x, *args, **kwargs)

        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
        guider = make_guider(model, *machine.window(), GuidanceConfig(2.0, 3.0), apart)
        sampler = machine.inputs().sampler
        guider.sample(machine.noise(), machine.empty(), sampler, flow_sigmas(1, 5.0), seed=7)
        assert rows == expected


def test_branches_one_by_one_keep_their_step_caches(machine):
    """Every branch is known by its name, also when it is called alone: the same forwards are skipped."""
    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas

    found = []
    for apart in (False, True):
        tally = Tally()
        guider = make_guider(cached(machine, tally=tally), *machine.window(), THREE, apart)
        given = machine.noise(), machine.empty(), machine.inputs().sampler, flow_sigmas(STEPS, 5.0)
        latent = guider.sample(*given, seed=7)
        found.append((tally.computed, tally.skipped, latent))
    assert found[0][:2] == found[1][:2] == (15, 15)
    assert (found[0][2] - found[1][2]).norm() / found[0][2].norm() < 1e-4


def test_tiles_and_the_whole_agree_and_their_seam_cannot_be_seen(comfyui):
    """The trained VAE of the demo on a picture of two tiles; its latents and pictures, whole and tiled."""
    import comfy.sd
    import comfy.utils

    from infinitetalk.host.vae import WanVae
    from tests.inprocess import ROOT

    weights = comfy.utils.load_torch_file(str(ROOT / "demo/models/vae/infinitetalk_talker_vae.safetensors"))
    vae = comfy.sd.VAE(sd=weights)
    width, seam = 400, slice((TILE - OVERLAP) * 8, TILE * 8)
    across, down = torch.meshgrid(torch.arange(width), torch.arange(48), indexing="xy")
    picture = torch.stack((across / width, (across / 9).sin() / 2 + 0.5, (down / 7).cos() / 2 + 0.5), dim=-1)
    video = torch.stack([picture.roll(2 * n, 1) for n in range(5)])
    whole, tiled = WanVae(vae), WanVae(vae, tiled=True)
    latent = whole.encode(video)
    apart = tiled.encode(video) - latent
    assert 0 < apart.norm() / latent.norm() < 0.04
    shown, found = whole.decode(latent), tiled.decode(latent)
    difference = (found - shown).abs() * 255
    assert 0 < difference[:, :, seam].mean() < 0.5 and difference.mean() < 0.2
    steps = [(frames[:, :, 1:] - frames[:, :, :-1])[:, :, seam].abs().mean() for frames in (shown, found)]
    assert steps[1] < 1.02 * steps[0]  # a visible seam would be an edge


def test_the_host_is_asked_for_a_tile_and_for_the_whole_that_it_becomes(machine):
    """The joined frames lie on the card, so the host must make room for them; by the formula that `fit` tells of."""
    from infinitetalk.host.vae import WanVae

    vae = machine.vae
    whole, tiled = WanVae(vae)._vae, WanVae(vae, tiled=True)._vae
    shape, kind = (1, 16, 21, 80, 160), torch.bfloat16
    assert whole.memory_used_decode(shape, kind) == vae.memory_used_decode(shape, kind)
    one, frames = vae.memory_used_decode((1, 16, 21, TILE, TILE), kind), 81 * 3 * 640 * 1280 * 4
    assert tiled.memory_used_decode(shape, kind) == one + 2 * frames
    job = Job(5120, 640, 1280, frames=81, motion=9, branches=1, base=0, adapter=0, vae_element=2)
    assert tiled.memory_used_decode(shape, kind) == tile_bytes(job)
    pixels, side = (1, 3, 81, 640, 1280), 8 * TILE
    one, latent = vae.memory_used_encode((1, 3, 81, side, side), kind), 21 * 16 * 80 * 160 * 4
    assert tiled.memory_used_encode(pixels, kind) == one + 2 * latent
    small = Job(5120, 48, 48, frames=81, motion=9, branches=1, base=0, adapter=0, vae_element=4)
    assert tiled.memory_used_decode((1, 16, 21, 6, 6), torch.float32) == tile_bytes(small)


def test_the_adapter_stays_in_ram_and_comes_back(machine):
    import comfy.model_management

    from infinitetalk.host.attach import attached
    from infinitetalk.host.memory import with_memory

    assert with_memory(machine.model, MemoryConfig()) is machine.model
    model = with_memory(machine.model, MemoryConfig(adapter="in RAM"))
    ours, plain = attached(model), attached(machine.model)
    assert ours.model is plain.model and attached(machine.model) is machine.patch  # shared weights, model untouched
    for patch, loaded in ((plain, True), (ours, False), (plain, True)):
        comfy.model_management.load_models_gpu([patch])
        assert (patch.loaded_size() > 0.5 * patch.model_size()) == loaded
        assert patch.model.blocks[0].audio_cross_attn.proj.weight.device == patch.offload_device
        assert patch.load_device == plain.load_device
        assert bool(getattr(patch.model, "model_lowvram", False)) != loaded


def test_in_ram_changes_nothing_where_the_host_pages_the_adapter(machine):
    """Under dynamic VRAM; the host makes such a patcher for a GPU only, so that a plain one gets its class here."""
    import comfy.model_patcher

    from infinitetalk.host.attach import attach
    from infinitetalk.host.memory import settle, with_memory
    from tests.host.machine import CONFIG

    patch = machine.patch.clone()
    patch.__class__, patch.cached_patcher_init = comfy.model_patcher.ModelPatcherDynamic, None
    model = attach(machine.plain, patch)
    assert with_memory(model, BY_HAND) is model
    told = settle(machine.inputs(13, model=model), CONFIG, BY_HAND, 3).told
    assert told.endswith("adapter in RAM (nothing to do: ComfyUI pages it layer by layer).")


def test_the_adapter_keeps_its_types_in_every_mode(machine, tmp_path):
    from safetensors.torch import load_file, save_file

    from demo.small_model import ADAPTER
    from infinitetalk.host.attach import attach
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.markings import fp8

    plain = {key: value.float() for key, value in load_file(machine.models / ADAPTER).items()}
    tensors, metadata = fp8(plain, "comfy")
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "fp8.safetensors", metadata)
    for name, file in (("fp16", machine.models / ADAPTER), ("fp8", tmp_path / "fp8.safetensors")):
        patch = load_adapter_file(str(file), torch.bfloat16)
        before = kinds(patch)
        assert torch.float32 not in {kind for key, kind in before.items() if key.endswith("weight")}
        for number, memory in enumerate((None, BY_HAND)):
            (tmp_path / f"{name}{number}").mkdir()
            rendered(machine, tmp_path / f"{name}{number}", memory, model=attach(machine.plain, patch))
            assert kinds(patch) == before


def kinds(patch) -> dict[str, torch.dtype]:
    return {key: getattr(value, "_qdata", value).dtype for key, value in patch.model.named_parameters()}


def test_a_stopped_run_goes_on_with_other_settings(machine, tmp_path):
    from infinitetalk.host.planned import Wish
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    with folders(tmp_path):
        first = render(machine.inputs(13), CONFIG, Wish(memory=MemoryConfig(vae="tiled")))
        again = render(machine.inputs(13), CONFIG, Wish(memory=BY_HAND))
        fitted = render(machine.inputs(13), CONFIG, Wish(memory=MemoryConfig(fit=True)))
    assert first.run == again.run == fitted.run and "nothing to do" in again.report


def test_what_was_set_is_told_and_logged(machine, tmp_path):
    done = rendered(machine, tmp_path, BY_HAND)
    line = "Memory: branches one by one, VAE tiled, adapter in RAM."
    assert line in (done.path.parent / "log.txt").read_text()
    assert rendered(machine, tmp_path, None).run == done.run
    (tmp_path / "fit").mkdir()
    done = rendered(machine, tmp_path / "fit", MemoryConfig(fit=True))
    assert "Memory: no GPU, nothing to choose." in (done.path.parent / "log.txt").read_text()


def test_what_fits_a_card_is_settled_from_the_runs_own_sizes(machine, tmp_path, monkeypatch):
    """The card is given; everything else is the real model's."""
    from infinitetalk.host import memory
    from infinitetalk.host.attach import attached
    from tests.host.machine import CONFIG

    inputs = machine.inputs(13)
    job = memory.job_of(inputs, CONFIG, 3)
    assert (job.dim, job.height, job.width, job.frames, job.motion) == (256, 48, 48, 9, 5)
    assert job.base == machine.model.model_size() and job.adapter == attached(machine.model).model_size()
    wish = MemoryConfig(fit=True)
    monkeypatch.setattr(memory, "card_of", lambda device: Card(24 * GIB, 0, 23 * GIB))
    roomy = memory.settle(inputs, CONFIG, wish, 3)
    assert roomy.memory == MemoryConfig() and roomy.config is CONFIG and "25.8 GB card" in roomy.told
    monkeypatch.setattr(memory, "card_of", lambda device: Card(24 * GIB, 0, job.base))
    tight = memory.settle(inputs, CONFIG, wish, 3)
    assert tight.memory.branches == "one by one" and tight.memory.vae == "tiled" and tight.config is CONFIG


def test_a_shortened_window_is_planned_and_found_again(machine, tmp_path, monkeypatch):
    from infinitetalk.config import WindowConfig
    from infinitetalk.host import memory
    from infinitetalk.memory import least_bytes
    from tests.host.machine import CONFIG, Machine

    longer = Machine(machine.models, frames=WindowConfig(33, 5))
    config = replace(CONFIG, window=longer.frames)
    job = memory.job_of(longer.inputs(13), config, 3)
    total = least_bytes(job.forward(29))  # a window of 29 frames, no more
    monkeypatch.setattr(memory, "card_of", lambda device: Card(total, 0, GIB))
    done = rendered(longer, tmp_path, MemoryConfig(fit=True), config)
    assert "windows of 29 frames instead of 33" in (done.path.parent / "log.txt").read_text()
    monkeypatch.setattr(memory, "card_of", lambda device: Card(total, 0, GIB // 4))  # less is free: the same windows
    assert rendered(longer, tmp_path, MemoryConfig(fit=True), config).run == done.run
    assert rendered(longer, tmp_path, None, config).run != done.run
    same = replace(config, window=WindowConfig(29, 5))
    assert rendered(longer, tmp_path, None, same).run == done.run  # it is the run of that length


def test_an_adapter_that_is_wider_than_the_model_computes_is_told_of(tmp_path):
    """As ComfyUI's own patch loader may leave one."""
    from safetensors.torch import save_file

    from infinitetalk.host.loading import load_adapter_file
    from infinitetalk.host.memory import wider
    from tests.host.layouts import adapter_tensors

    save_file(adapter_tensors(128, 1, 128, token_width=64), tmp_path / "wide.safetensors")
    patch = load_adapter_file(str(tmp_path / "wide.safetensors"))
    assert wider(patch, torch.float32) == []
    (line,) = wider(patch, torch.bfloat16)
    assert line.startswith("the adapter is in float32, ")
    narrow = load_adapter_file(str(tmp_path / "wide.safetensors"), torch.bfloat16)
    assert wider(narrow, torch.bfloat16) == []


def test_the_node_gives_what_was_chosen(pack):
    node = pack["InfiniteTalkMemory"]
    assert node.execute("fit my card", "one by one", "tiled", "in RAM").result[0].fit
    (by_hand,) = node.execute("by hand", "one by one", "auto", "in RAM").result
    assert (by_hand.fit, by_hand.branches, by_hand.vae, by_hand.adapter) == (False, "one by one", "auto", "in RAM")
    with pytest.raises(ValueError, match="memory: vae 'half' is unknown"):
        node.execute("by hand", vae="half")
