"""Compact adapters: each number within its format's error, in the marking that loads again, and nothing twice."""

from __future__ import annotations

import json

import pytest
import torch

from infinitetalk.model.compact import compact, compact_bytes, fp8_matrix
from infinitetalk.model.layouts import read_adapter
from infinitetalk.model.quantised import one_marking
from tests.host.layouts import adapter_tensors


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    return adapter_tensors(128, 2, 2 * 64, token_width=64)


def size(tensors: dict) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())


def test_a_matrix_in_fp8_is_within_half_a_step_of_each_number():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 96, generator=generator) * torch.logspace(-4, 2, 96)
    small, scale = fp8_matrix(weight)
    error = (small.float() * scale - weight).abs()
    assert small.dtype == torch.float8_e4m3fn and scale.shape == ()
    assert (error <= torch.maximum(weight.abs() / 16, weight.abs().max() * 2**-18)).all()
    assert small.float().abs().max() == 448.0  # the whole range is used


def test_a_matrix_of_zeros_stays_zero():
    small, scale = fp8_matrix(torch.zeros(3, 4))
    assert scale == 1 and not small.float().any()


@pytest.mark.parametrize("form, kind", [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_sixteen_bits_are_what_torch_makes_of_each_number(plain, form, kind):
    found = dict(compact(plain, form))
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[key], value.to(kind)) for key, value in plain.items())
    assert size(found) == compact_bytes({key: tuple(value.shape) for key, value in plain.items()}, form)


def test_fp8_marks_every_matrix_and_keeps_the_rest_in_sixteen_bits(plain):
    found = dict(compact(plain, "fp8"))
    shapes = {key: tuple(value.shape) for key, value in plain.items()}
    assert size(found) == compact_bytes(shapes, "fp8")
    assert read_adapter({key: tuple(value.shape) for key, value in found.items()}, "compact") == read_adapter(
        shapes, ""
    )
    for key, value in plain.items():
        name = key.removesuffix(".weight")
        if value.ndim == 2:
            assert found[key].dtype == torch.float8_e4m3fn and found[f"{name}.weight_scale"].dtype == torch.float32
            assert json.loads(bytes(found[f"{name}.comfy_quant"].tolist())) == {"format": "float8_e4m3fn"}
        else:
            assert found[key].dtype == torch.bfloat16
    again, quantised = one_marking(found, None, torch.bfloat16)
    assert quantised and again.keys() == found.keys()


def test_the_files_own_sixteen_bits_are_kept_beside_fp8(plain):
    found = dict(compact({key: value.half() for key, value in plain.items()}, "fp8"))
    assert found["blocks.0.norm_x.bias"].dtype == torch.float16


def test_fp8_is_not_quantised_twice_and_opens_to_what_it_means(plain):
    once = dict(compact(plain, "fp8"))
    twice = dict(compact(once, "fp8"))
    key = "blocks.1.audio_cross_attn.proj"
    assert torch.equal(once[f"{key}.weight"].view(torch.uint8), twice[f"{key}.weight"].view(torch.uint8))
    assert torch.equal(once[f"{key}.weight_scale"], twice[f"{key}.weight_scale"])
    opened = dict(compact(once, "bf16"))
    assert opened.keys() == plain.keys()
    wanted = once[f"{key}.weight"].float() * once[f"{key}.weight_scale"]
    assert torch.equal(opened[f"{key}.weight"], wanted.bfloat16())


def test_int8_rows_become_fp8_with_one_scale(plain):
    key = "blocks.0.audio_cross_attn.q_linear"
    weight = plain[f"{key}.weight"]
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    tensors = {**plain, f"{key}.weight": (weight / scale).round().to(torch.int8), f"{key}.weight_scale": scale}
    found = dict(compact(tensors, "fp8"))
    assert found[f"{key}.weight_scale"].numel() == 1
    error = found[f"{key}.weight"].float() * found[f"{key}.weight_scale"] - weight
    assert error.norm() / weight.norm() < 0.04


def test_what_fp16_cannot_hold_is_refused(plain):
    tensors = {**plain, "audio_proj.proj2.bias": torch.full((16,), 1e5)}
    with pytest.raises(ValueError, match=r"audio_proj.proj2.bias holds 1e\+05, more than fp16 can"):
        dict(compact(tensors, "fp16"))
    assert torch.isfinite(dict(compact(tensors, "bf16"))["audio_proj.proj2.bias"]).all()


def test_the_callers_tensors_stay_as_they_are(plain):
    before = {key: value.clone() for key, value in plain.items()}
    dict(compact(plain, "fp8"))
    assert all(torch.equal(value, before[key]) and value.dtype == torch.float32 for key, value in plain.items())
