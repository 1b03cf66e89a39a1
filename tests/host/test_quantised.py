"""Quantised adapter files of every marking: kept in 8 bits, and as near to the float adapter as their format allows."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.errors import InputError
from tests.host.layouts import adapter_tensors

DIM, LAYERS, FEATURES = 128, 2, 2 * 64


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    return adapter_tensors(DIM, LAYERS, FEATURES, token_width=64)


def is_matrix(key: str, value: torch.Tensor) -> bool:
    return value.ndim == 2 and key.endswith(".weight")


def fp8(plain: dict, marking: str) -> tuple[dict, dict]:
    """(tensors, metadata) in fp8 with a scale for each matrix: "older", "newer", "comfy" or "header" marked."""
    tensors, layers = {}, {}
    for key, value in plain.items():
        if not is_matrix(key, value):
            tensors[key] = value
            continue
        name, scale = key.removesuffix(".weight"), value.abs().max() / 448
        tensors[key] = (value / scale).to(torch.float8_e4m3fn)
        tensors[f"{name}.scale_weight" if marking == "older" else f"{name}.weight_scale"] = scale.reshape(())
        layers[name] = {"format": "float8_e4m3fn"}
        if marking == "comfy":
            tensors[f"{name}.comfy_quant"] = torch.tensor(list(json.dumps(layers[name]).encode()), dtype=torch.uint8)
    if marking == "older":
        tensors["scaled_fp8"] = torch.zeros(0, dtype=torch.float8_e4m3fn)
    return tensors, {"_quantization_metadata": json.dumps({"layers": layers})} if marking == "header" else {}


def quanto(plain: dict, kind: torch.dtype) -> tuple[dict, dict]:
    """(tensors, metadata) as optimum-quanto writes them: a scale for each row, and scales of activations."""
    most, tensors = (127 if kind == torch.int8 else 448), {}
    for key, value in plain.items():
        if not is_matrix(key, value):
            tensors[key] = value
            continue
        scale = value.abs().amax(dim=1, keepdim=True) / most
        whole = value / scale
        tensors[f"{key}._data"] = (whole.round() if kind == torch.int8 else whole).to(kind)
        tensors[f"{key}._scale"] = scale
        tensors[f"{key.removesuffix('.weight')}.input_scale"] = torch.ones(())
        tensors[f"{key.removesuffix('.weight')}.output_scale"] = torch.ones(())
    return tensors, {}


FILES = {
    "fp8, older": (lambda plain: fp8(plain, "older"), torch.float8_e4m3fn, 0.04),
    "fp8, newer": (lambda plain: fp8(plain, "newer"), torch.float8_e4m3fn, 0.04),
    "fp8, ComfyUI's": (lambda plain: fp8(plain, "comfy"), torch.float8_e4m3fn, 0.04),
    "fp8, in the header": (lambda plain: fp8(plain, "header"), torch.float8_e4m3fn, 0.04),
    "quanto int8": (lambda plain: quanto(plain, torch.int8), torch.int8, 0.015),
    "quanto fp8": (lambda plain: quanto(plain, torch.float8_e4m3fn), torch.float32, 0.04),
}


def load(path, tensors: dict, metadata: dict):
    from infinitetalk.host.loading import load_adapter_file

    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata)
    return load_adapter_file(str(path))


def outputs(patch) -> list[torch.Tensor]:
    """What every part of an adapter makes of the same random input."""
    generator = torch.Generator().manual_seed(5)
    adapter = patch.model

    def rand(*shape):
        return torch.randn(*shape, generator=generator)

    attention = adapter.blocks[1].audio_cross_attn
    projection = adapter.audio_proj
    inputs = {
        projection.proj1: rand(3, 5 * FEATURES), projection.proj1_vf: rand(3, 8 * FEATURES),
        projection.proj3: rand(3, 16), attention.q_linear: rand(7, DIM), attention.kv_linear: rand(7, 64),
        attention.proj: rand(7, DIM),
    }  # fmt: skip
    with torch.inference_mode():
        return [layer(value) for layer, value in inputs.items()]


@pytest.mark.parametrize("name", FILES)
def test_quantised_files_stay_so_and_compute_what_they_should(comfyui, plain, tmp_path, name):
    from tests.inprocess import use_host

    use_host()
    make, kept, bound = FILES[name]
    wanted = outputs(load(tmp_path / "plain.safetensors", plain, {}))
    patch = load(tmp_path / "file.safetensors", *make(plain))
    weight = patch.model.blocks[0].audio_cross_attn.proj.weight
    assert getattr(weight, "_qdata", weight).dtype == kept
    for found, right in zip(outputs(patch), wanted, strict=True):
        error = (found - right).norm() / right.norm()
        assert error < bound
        assert name == "plain" or error > 1e-4  # it is another file


def test_a_quantised_adapter_talks_in_a_run(comfyui, machine, tmp_path):
    """The whole path: attached, sampled, kept and found again, and near the float adapter's pictures."""
    from dataclasses import replace

    from safetensors.torch import load_file

    from demo.small_model import ADAPTER
    from infinitetalk.host.attach import attach
    from tests.host.machine import CONFIG
    from tests.host.test_run import read, run

    plain = load_file(machine.models / ADAPTER)
    patch = load(tmp_path / "small.safetensors", *fp8({k: v.float() for k, v in plain.items()}, "older"))
    model = attach(machine.model, patch)
    frames = read(run(machine, tmp_path, 13, replace(CONFIG), model=model))[0]
    float_frames = read(run(machine, tmp_path, 13, replace(CONFIG)))[0]
    assert len(frames) == 13
    assert abs(frames.astype(int) - float_frames).mean() < 12  # of 255: random weights multiply every difference


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_eight_bits_without_a_scale_are_refused(comfyui, plain, tmp_path, kind):
    from tests.inprocess import use_host

    use_host()
    tensors = {key: value.to(kind) if key == "audio_proj.proj2.weight" else value for key, value in plain.items()}
    with pytest.raises(InputError, match=r"audio_proj.proj2.weight is u?int8 without a scale"):
        load(tmp_path / "lost.safetensors", tensors, {})
