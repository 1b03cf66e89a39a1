"""What markings ComfyUI reads by itself, numbers brought from fp8 to int8, and numbers that are none."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.model.quantised import comfyui_reads, first_bad, one_marking, rows_in_int8

W, OLD, NEW, NOTE = "q.weight", "q.scale_weight", "q.weight_scale", "q.comfy_quant"
E4M3, E5M2 = "F8_E4M3", "F8_E5M2"


@pytest.mark.parametrize(
    ("shapes", "dtype", "metadata", "reads"),
    [
        ({W: (4, 4)}, "F16", {}, True),
        ({W: (4, 4)}, E4M3, {}, True),
        ({W: (4, 4), OLD: (), "scaled_fp8": (0,)}, E4M3, {}, True),
        ({W: (4, 4), OLD: (1,), "scaled_fp8": (2,)}, E4M3, {}, True),
        ({W: (4, 4), OLD: (), "scaled_fp8": (0,)}, E5M2, {}, False),
        ({W: (4, 4), OLD: (4, 1), "scaled_fp8": (0,)}, E4M3, {}, False),
        ({W: (4, 4), OLD: ()}, E4M3, {}, False),
        ({W: (4, 4), NEW: ()}, E4M3, {}, False),
        ({W: (4, 4), NEW: (), "scaled_fp8": (0,)}, E4M3, {}, False),
        ({W: (4, 4), NEW: (4, 1)}, "I8", {}, False),
        ({W: (4, 4), NEW: (), NOTE: (30,)}, E4M3, {}, True),
        ({W: (4, 4), NEW: ()}, E4M3, {"_quantization_metadata": "{}"}, True),
        ({f"{W}._data": (4, 4), f"{W}._scale": (4, 1)}, "I8", {}, False),
    ],
)
def test_what_comfyui_reads_by_itself(shapes, dtype, metadata, reads):
    assert comfyui_reads(shapes, {W: dtype}, metadata) == reads


@pytest.mark.parametrize("rows", [1, 1500])  # within a chunk, and over more than one
def test_int8_of_fp8_is_within_half_a_step(rows):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, 64, generator=generator) * torch.logspace(-4, 2, rows)[:, None]
    weight[0] = 0
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / 448
    data = (weight / scale).to(torch.float8_e4m3fn)
    whole, steps = rows_in_int8(data, scale)
    assert whole.dtype == torch.int8 and steps.shape == (rows, 1)
    right = data.float() * scale
    assert ((whole.float() * steps - right).abs() <= 0.501 * steps).all()
    assert (whole.abs().amax(dim=1)[1:] == 127).all() and not whole[0].any()


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
     torch.float8_e4m3fnuz, torch.float8_e5m2fnuz],
)  # fmt: skip
def test_one_bad_number_is_found_in_any_dtype(dtype):
    good = torch.linspace(-200, 200, 33).to(dtype)
    assert first_bad({"a": good, "b": torch.tensor([-128, 127], dtype=torch.int8), "c": torch.empty(0)}) is None
    for bad in [float("nan")] + [float("inf"), -float("inf")] * (dtype != torch.float8_e4m3fn):
        value = good.clone()
        value[7] = torch.tensor(bad).to(dtype)
        assert first_bad({"a": good, "b": value}) == "b"


def test_scales_of_powers_of_two_and_packed_numbers_are_looked_at():
    """mxfp8's scales, which torch does not reduce, and a dtype in which every bit pattern is a number."""
    scales = torch.arange(0, 255, dtype=torch.uint8)
    packed = torch.arange(0, 256, dtype=torch.int64).to(torch.uint8).view(torch.float4_e2m1fn_x2)
    assert first_bad({"a": scales.view(torch.float8_e8m0fnu), "b": packed}) is None
    scales[7] = 0xFF
    assert first_bad({"a": scales.view(torch.float8_e8m0fnu)}) == "a"


@pytest.mark.parametrize("note", ["[]", "{}", "[1]", "7", "null", '"float8_e4m3fn"', "{",
                                  "[" * 100_000, '{"layers": [1]}',
                                  '{"layers": {"q": "float8_e4m3fn"}}', '{"layers": {"q": []}}'])  # fmt: skip
def test_notes_that_are_no_table_are_named(note):
    tensors = {W: torch.zeros(4, 4, dtype=torch.float8_e4m3fn), NEW: torch.ones(())}
    with pytest.raises(ValueError, match="_quantization_metadata.* (is no JSON|not a table)"):
        one_marking(tensors, {"_quantization_metadata": note}, None)
    if "layers" not in note and note != "{}":
        tensors[NOTE] = torch.tensor(list(note.encode()), dtype=torch.uint8)
        with pytest.raises(ValueError, match="q.comfy_quant.* (is no JSON|not a table)"):
            one_marking(tensors, {}, None)


@pytest.mark.parametrize(("shape", "scales"), [((), (3,)), ((4,), (4,)), ((4, 4), (3,)), ((4, 4, 1), (4,))])
def test_scales_for_other_shapes_than_rows_are_named(shape, scales):
    tensors = {W: torch.zeros(shape, dtype=torch.float8_e4m3fn), NEW: torch.ones(scales)}
    with pytest.raises(ValueError, match=rf"q.weight has {scales[0]} scales for shape"):
        one_marking(tensors, {}, None)
