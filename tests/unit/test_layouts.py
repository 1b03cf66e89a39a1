"""Checkpoints are told from their keys: what is accepted, and what each wrong file is called."""

from __future__ import annotations

import time

import pytest

from infinitetalk.errors import InputError
from infinitetalk.model.adapter import AdapterShape
from infinitetalk.model.kinds import identify
from infinitetalk.model.layouts import adapter_part, base_part, check_fit, read_adapter, read_base
from tests.host.layouts import adapter_tensors, base_tensors


def shapes(tensors: dict) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


ADAPTER = shapes(adapter_tensors(dim=256, layers=3, features=768, token_width=64))
BASE = shapes(base_tensors(dim=256, layers=3))


def refusal(read, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        read(*arguments)
    problem, remedy = str(caught.value).split("\n")
    assert remedy
    return problem


def test_the_adapters_sizes_are_read():
    wanted = AdapterShape(dim=256, layers=3, features=768, hidden=16, tokens=32, token_width=64)
    assert read_adapter(ADAPTER, "x") == wanted
    assert read_adapter({f"diffusion_model.{key}": shape for key, shape in ADAPTER.items()}, "x") == wanted


def test_the_published_adapter_has_the_published_sizes():
    full = {"audio_proj.proj1.weight": (512, 46080), "audio_proj.proj1_vf.weight": (512, 73728)}
    full |= {"audio_proj.proj2.weight": (512, 512), "audio_proj.proj3.weight": (24576, 512)}
    full |= {"audio_proj.norm.weight": (768,)}
    for n in range(40):
        full[f"blocks.{n}.norm_x.weight"] = (5120,)
        attention = f"blocks.{n}.audio_cross_attn"
        full |= {f"{attention}.q_linear.weight": (5120, 5120), f"{attention}.kv_linear.weight": (10240, 768)}
        full |= {f"{attention}.proj.weight": (5120, 5120)}
    full |= {key.replace("weight", "bias"): shape[:1] for key, shape in full.items()}
    assert len(full) == 330
    assert read_adapter(full, "x") == AdapterShape(5120, 40, 12 * 768, 512, 32, 768)


def test_other_files_are_refused_as_adapters_by_what_they_are():
    assert refusal(read_adapter, BASE, "adapter: x") == (
        "adapter: x: this file is Wan2.1 I2V, not an InfiniteTalk adapter."
    )


@pytest.mark.parametrize("mark", ["scaled_fp8", "audio_proj.proj2.scale_weight", "audio_proj.proj2.weight_scale"])
def test_quantised_adapters_have_the_sizes_of_plain_ones(mark):
    assert read_adapter({**ADAPTER, mark: ()}, "x") == read_adapter(ADAPTER, "x")
    quanto = {f"{key}._data" if key.endswith("proj2.weight") else key: shape for key, shape in ADAPTER.items()}
    quanto["audio_proj.proj2.weight._scale"] = (16, 1)
    assert read_adapter(quanto, "x") == read_adapter(ADAPTER, "x")


@pytest.mark.parametrize("prefix", ["", "multitalk_"])
def test_an_adapter_inside_a_model_is_found(prefix):
    """WanVideoWrapper renames the audio projection of a model that it saves with the adapter."""
    merged = {**BASE, **{f"{prefix}{k}" if k.startswith("audio_proj") else k: v for k, v in ADAPTER.items()}}
    merged = {f"diffusion_model.{key}": shape for key, shape in merged.items()}
    assert identify(merged).name == "Wan I2V with an InfiniteTalk adapter inside"
    assert read_adapter(merged, "x") == read_adapter(ADAPTER, "x")
    assert read_base(merged, "x") == read_base(BASE, "x")
    assert adapter_part(merged) == ADAPTER and base_part(merged) == BASE


def test_unknown_and_incomplete_files_are_refused():
    assert "this file is an unknown file of 1 tensors, not an InfiniteTalk adapter" in refusal(
        read_adapter, {"weight": (1,)}, "adapter: x"
    )
    cut = {key: shape for key, shape in ADAPTER.items() if not key.startswith("blocks.1.norm_x")}
    assert "2 tensors of the adapter are missing, first blocks.1.norm_x.bias" in refusal(
        read_adapter, cut, "adapter: x"
    )


def test_wan_image_to_video_is_accepted():
    base = read_base(BASE, "x")
    assert (base.dim, base.layers, base.in_dim, base.out_dim, base.clip, base.vace) == (256, 3, 36, 16, True, False)


@pytest.mark.parametrize(
    ("options", "called"),
    [
        ({"in_dim": 16, "clip": False}, "a text-to-video model"),
        ({"in_dim": 48, "out_dim": 48, "clip": False}, "the Wan2.2 5B model"),
        ({"in_dim": 16, "clip": False, "vace": True}, "a VACE model"),
        ({"clip": False}, "without the CLIP image branch"),
        ({"in_dim": 52}, "52 input channels instead of 36"),
    ],
)
def test_other_wan_models_are_called_what_they_are(options, called):
    assert called in refusal(read_base, shapes(base_tensors(dim=256, layers=2, **options)), "model: x")


@pytest.mark.parametrize(
    ("part", "called"),
    [("ref_conv.weight", "a Wan Fun or camera control model"), ("control_adapter.conv.bias", "a Wan Fun or camera"),
     ("face_adapter.fuser_blocks.0.linear.weight", "a Wan-Animate model")],
)  # fmt: skip
def test_models_with_tokens_or_parts_of_their_own_are_refused(part, called):
    assert called in refusal(read_base, {**BASE, part: (256, 16, 2, 2)}, "model: x")


def test_files_that_are_no_diffusion_model_are_refused():
    assert "an InfiniteTalk adapter" in refusal(read_base, ADAPTER, "model: x")
    assert "not a Wan diffusion model" in refusal(read_base, {"weight": (1,)}, "model: x")


@pytest.mark.parametrize(("dim", "layers"), [(128, 3), (256, 4)])
def test_an_adapter_of_another_size_is_refused(dim, layers):
    adapter = read_adapter(shapes(adapter_tensors(dim=dim, layers=layers, features=768, token_width=64)), "x")
    message = refusal(check_fit, adapter, read_base(BASE, "x"), "adapter: x")
    assert f"width {dim} and {layers} blocks, the model has width 256 and 3 blocks" in message


@pytest.mark.parametrize(
    ("key", "shape"),
    [("patch_embedding.weight", (256,)), ("patch_embedding.weight", ()), ("head.head.bias", ())],
)  # fmt: skip
def test_a_model_of_too_few_sides_is_refused(key, shape):
    assert f"model: x: {key} has shape {list(shape)}" in refusal(read_base, {**BASE, **ADAPTER, key: shape}, "model: x")


@pytest.mark.parametrize(
    ("key", "shape"),
    [("audio_proj.proj1.weight", (16,)), ("audio_proj.norm.weight", (0,)), ("blocks.0.norm_x.bias", ()),
     ("audio_proj.proj3.weight", ()), ("blocks.0.audio_cross_attn.q_linear.weight", (256, 16, 16))],
)  # fmt: skip
def test_an_adapter_of_other_sides_is_refused(key, shape):
    assert f"adapter: x: {key} has shape {list(shape)}" in refusal(read_adapter, {**ADAPTER, key: shape}, "adapter: x")


@pytest.mark.parametrize("number", ["9999", "3000000", "9" * 5000, "²", "٣"])
def test_a_block_of_a_strange_number_costs_no_time(number):
    """Once the keys of as many blocks were made: 47 s."""
    strange = {**ADAPTER, f"blocks.{number}.norm_x.weight": (256,)}
    begun = time.process_time()
    identify(strange)
    if number == "9999":
        assert "tensors of the adapter are missing, first blocks.10." in refusal(read_adapter, strange, "x")
    else:
        assert read_adapter(strange, "x") == read_adapter(ADAPTER, "x")  # no key of an adapter
    assert time.process_time() - begun < 0.5
