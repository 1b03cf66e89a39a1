"""Several speakers on the host's own model: each moves only its own tokens, and everything else still composes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from infinitetalk.config import GuidanceConfig
from infinitetalk.regions import Box, Canvas, assign
from infinitetalk.speakers import Speakers

pytestmark = pytest.mark.usefixtures("host")

EXACT = 0.0
ROUNDING = 1e-4
FRAMES, ROWS, COLUMNS = 3, 4, 16  # tokens
DIM, WIDTH = 256, 768


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert torch.isfinite(a).all() and torch.isfinite(b).all()
    return (a - b).abs().max().item()


@pytest.fixture(scope="module")
def listener(host, tmp_path_factory):
    """(model, patch) whose attention is decided by positions alone: queries and keys are strong constants.

    A token then looks at its own place in the first frame, and hears the audio whose rotary position is nearest.
    """
    import comfy.sd
    from safetensors.torch import save_file

    from infinitetalk.host.attach import attach
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.layouts import adapter_tensors, base_tensors

    base = base_tensors(DIM, 1)
    for part in ("q", "k"):
        base[f"blocks.0.self_attn.{part}.weight"].zero_()
        base[f"blocks.0.self_attn.{part}.bias"].fill_(1.0)
        base[f"blocks.0.self_attn.norm_{part}.weight"].fill_(4.0)
    adapter = adapter_tensors(DIM, 1, 12 * 48)
    adapter["blocks.0.audio_cross_attn.q_linear.weight"].zero_()
    adapter["blocks.0.audio_cross_attn.q_linear.bias"].fill_(4.0)
    adapter["blocks.0.audio_cross_attn.kv_linear.weight"][:DIM].zero_()
    adapter["blocks.0.audio_cross_attn.kv_linear.bias"][:DIM].fill_(4.0)
    path = tmp_path_factory.mktemp("listener") / "adapter.safetensors"
    save_file(adapter, path)
    patch = load_adapter_file(str(path))
    return attach(comfy.sd.load_diffusion_model_state_dict(base), patch), patch


def voices(count: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, FRAMES, 32, WIDTH, generator=generator) for _ in range(count)]


def heard(listener, tokens: list[torch.Tensor], regions: torch.Tensor | None) -> torch.Tensor:
    """What the adapter adds to the tokens of the one block, [FRAMES, ROWS * COLUMNS, DIM]."""
    import comfy.model_management

    model, patch = listener
    model = model.clone()
    seen = []

    def look(args):
        seen.append(args["x"])
        return args["x"]

    patches = model.model_options["transformer_options"]["patches"]
    patches["attn2_patch"] = [look, *patches["attn2_patch"], look]
    comfy.model_management.load_models_gpu([model, patch])
    model.pre_run()
    options = {**model.model_options["transformer_options"], "wrappers": model.wrappers}
    generator = torch.Generator().manual_seed(1)
    size = (FRAMES, 2 * ROWS, 2 * COLUMNS)
    x, y = torch.randn(1, 16, *size, generator=generator), torch.randn(1, 20, *size, generator=generator)
    text, clip = torch.randn(1, 8, 4096, generator=generator), torch.randn(1, 257, 1280, generator=generator)
    model.model.apply_model(
        x, torch.tensor([0.7]), c_concat=y, c_crossattn=text, clip_fea=clip, audio_embed=torch.cat(tokens, dim=2),
        infinitetalk_regions=None if regions is None else regions[None, :, None], transformer_options=options,
    )  # fmt: skip
    before, after = seen
    return (after - before)[0].unflatten(0, (FRAMES, ROWS * COLUMNS))


def regions_of(count: int) -> torch.Tensor:
    canvas = Canvas((16 * ROWS, 16 * COLUMNS), (16 * ROWS, 16 * COLUMNS))
    return assign([None] * count, [f"speaker {n + 1}" for n in range(count)], canvas)[0]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_speaker_moves_only_the_tokens_of_its_own_region(listener, count):
    regions = regions_of(count)
    mine = voices(count, 1)
    before = heard(listener, mine, regions)
    for speaker in range(count):
        others = voices(count, 2)
        others[speaker] = mine[speaker]
        change = (heard(listener, others, regions) - before).abs().amax(dim=(0, 2))
        owned = [change[mask.flatten() > 0].amax().item() for mask in regions[:-1]]
        own = owned.pop(speaker)
        assert own < 1e-2 * min(owned), (speaker, own, owned)
        assert own < 1e-2


@pytest.mark.parametrize("count", [2, 4])
def test_without_regions_everybody_hears_everybody(listener, count):
    """The control of the test above: it is the regions that keep the voices apart."""
    mine, others = voices(count, 1), voices(count, 2)
    others[0] = mine[0]
    change = (heard(listener, others, None) - heard(listener, mine, None)).abs().amax(dim=(0, 2))
    assert change.min() > 0.05


def test_only_the_masked_person_hears_the_speech(listener):
    canvas = Canvas((16 * ROWS, 16 * COLUMNS), (16 * ROWS, 16 * COLUMNS))
    regions, _ = assign([Box(64, 0, 64, 64)], ["speaker 1"], canvas)
    silence = voices(1, 5)
    results = [heard(listener, [*voices(1, seed), *silence], regions) for seed in (1, 2)]
    change = (results[1] - results[0]).abs().amax(dim=(0, 2))
    inside = regions[0].flatten() > 0
    assert change[~inside].max() < 1e-2 * change[inside].min() and change[inside].min() > 0.1


# The small model through the whole sampling path.


@pytest.fixture(scope="module")
def pair(machine) -> Speakers:
    one = machine.features()
    side = machine.size // 16
    regions = torch.zeros(3, side, side, dtype=torch.uint8)
    regions[0, :, :1], regions[1, :, 2:], regions[2, :, 1:2] = 1, 1, 1
    return Speakers((one, replace(one, speech=one.speech.flip(0) * 0.7)), regions, one.sound)


def sample(machine, features, model=None, guidance: GuidanceConfig | None = None) -> torch.Tensor:
    import comfy.samplers

    from infinitetalk.host.conditioning import window_conditioning, window_tokens
    from infinitetalk.host.guider import make_guider
    from infinitetalk.schedule import flow_sigmas
    from infinitetalk.timeline import Window

    model = model or machine.model
    tokens = window_tokens(model, features, Window(0, 0, 9, 0, 9, 0), "silence")
    conds = window_conditioning(*machine.texts, machine.reference, machine.reference.first, tokens)
    guider = make_guider(model, *conds, guidance or GuidanceConfig(2.0, 3.0))
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(machine.noise(), machine.empty(), sampler, flow_sigmas(2, 5.0), seed=7)


@pytest.fixture(scope="module")
def wanted(machine, pair) -> torch.Tensor:
    with torch.inference_mode():
        return sample(machine, pair)


def test_two_voices_are_not_one(machine, pair, wanted):
    assert difference(wanted, sample(machine, machine.features())) > 1e-3


def test_the_branches_that_hear_speech_run_together(machine, pair, wanted, monkeypatch):
    """Silence is one voice: its tokens have another shape, and no map is made for it."""
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.host import attach

    calls = []

    def count(executor, x, *args, **kwargs):
        calls.append((x.shape[0], attach._MASKS in args[-1]))
        return executor(x, *args, **kwargs)

    model = machine.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    assert difference(wanted, sample(machine, pair, model)) == EXACT
    assert sorted(calls) == [(1, False), (1, False), (2, True), (2, True)]
    monkeypatch.setattr(machine.plain.model, "memory_required", lambda *args, **kwargs: float("inf"))
    assert difference(wanted, sample(machine, pair, model)) < ROUNDING
    assert sorted(calls[4:]) == [(1, False)] * 2 + [(1, True)] * 4


def test_attaching_twice_and_taking_off(machine, pair, wanted):
    from infinitetalk.host.attach import attach, detach

    assert difference(wanted, sample(machine, pair, attach(machine.model, machine.patch))) == EXACT
    assert "attn1_patch" not in detach(machine.model).model_options["transformer_options"].get("patches", {})


def test_nothing_is_left_for_the_next_run(machine, pair):
    alone = sample(machine, machine.features())
    sample(machine, pair)
    assert difference(alone, sample(machine, machine.features())) == EXACT


def test_whole_model_compile(machine, pair, wanted):
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    model = machine.model.clone()
    set_torch_compile_wrapper(model, backend="eager", dynamic=False)
    assert difference(wanted, sample(machine, pair, model)) < ROUNDING
    assert not counters["graph_break"]


def test_block_compile_has_no_breaks(machine, pair, wanted):
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    model = machine.model.clone()
    blocks = len(machine.plain.model.diffusion_model.blocks)
    keys = [f"diffusion_model.blocks.{n}" for n in range(blocks)]
    set_torch_compile_wrapper(model, backend="eager", keys=keys, dynamic=False)
    assert difference(wanted, sample(machine, pair, model)) < ROUNDING
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] < 2 * blocks  # two kinds of calls: with speech and with silence


def test_context_windows_keep_the_regions_whole(machine, pair, wanted):
    """Also where the picture has as many rows of tokens as the window has latent frames: three."""
    from comfy.patcher_extension import WrappersMP
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    from infinitetalk.host import attach

    assert pair.regions.shape[1] == machine.empty().shape[2]
    seen = []

    def spy(executor, x, *args, **kwargs):
        if attach._MASKS in args[-1]:
            seen.append((x.shape[2], args[-1][attach._MASKS]))
        return executor(x, *args, **kwargs)

    model = WanContextWindowsManualNode.execute(
        machine.model, 5, 1, "standard_static", 1, False, "flat", False, False
    ).result[0]
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)
    assert torch.isfinite(sample(machine, pair, model)).all()
    whole = pair.regions.flatten(1).float()
    assert min(frames for frames, _ in seen) < 3  # it was sliced
    assert all(torch.equal(mask.float(), whole) for _, masks in seen for mask in masks)


def test_a_condition_with_an_area_sees_its_part_of_the_regions():
    from infinitetalk.host.conditioning import RegionsCond

    regions = torch.arange(3 * 4 * 6).view(1, 3, 1, 4, 6)
    cut = RegionsCond(regions).process_cond(2, area=(5, 4, 6, 0, 2, 4))  # T h w, then their offsets
    assert torch.equal(cut.cond, regions[..., 1:3, 2:5].expand(2, -1, -1, -1, -1))
    assert RegionsCond(regions).process_cond(1, area=None).cond.shape == regions.shape


def test_easycache_composes(machine, pair, wanted):
    from comfy_extras.nodes_easycache import EasyCacheNode

    cached = EasyCacheNode.execute(machine.model, 0.0, 0.0, 1.0, False).result[0]
    assert difference(wanted, sample(machine, pair, cached)) == EXACT


def test_features_of_any_voice_are_checked(machine, pair):
    from infinitetalk.errors import InputError
    from infinitetalk.host.conditioning import check_features

    narrow = replace(pair.voices[1], speech=pair.voices[1].speech[..., :7])
    with pytest.raises(InputError, match="12 layers of 7 channels"):
        check_features(machine.model, replace(pair, voices=(pair.voices[0], narrow)))


def test_encoded_speech_can_be_encoded_again_between_silences(machine):
    """With the encoder itself: a voice as it is comes out the same, silence is heard as zeros and is not zero."""
    from infinitetalk.host.audio_encoder import Wav2VecEncoder, encode
    from infinitetalk.sound import MemorySound
    from infinitetalk.speakers import Speaker, join

    encoder = Wav2VecEncoder(str(machine.models / "audio_encoders" / "infinitetalk_small_wav2vec2"))
    time = torch.arange(8_000) / 16_000
    sound = {"waveform": (0.3 * torch.sin(2 * torch.pi * 200 * time))[None, None], "sample_rate": 16_000}
    voice = encode(encoder, sound, None)
    again = voice.encode(voice.wave, "again")
    assert difference(voice.speech, again.speech) == difference(voice.silence, again.silence) == EXACT
    (first, second, silent), mix = join([Speaker(voice), Speaker(voice), Speaker()], "add")
    assert first.frames == second.frames == silent.frames == 25 and mix.rate == 16_000
    assert torch.equal(mix.read(0, mix.samples)[None], torch.cat((sound["waveform"], sound["waveform"]), dim=2))
    assert difference(first.speech, second.speech) > 0.01 and silent.speech.abs().max() > 0.01
    assert (
        difference(silent.speech, voice.encode(MemorySound(torch.zeros(1, 1, 16_000), 16_000), "zeros").speech) == EXACT
    )
