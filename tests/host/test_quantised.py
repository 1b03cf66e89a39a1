"""Quantised adapter files of every marking: kept in 8 bits, and as near to the float adapter as their format allows."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.errors import InputError
from tests.host.layouts import adapter_tensors
from tests.host.markings import fp8, quanto, save_gguf

DIM, LAYERS, FEATURES = 128, 2, 2 * 64


pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    return adapter_tensors(DIM, LAYERS, FEATURES, token_width=64)


FILES = {
    "fp8, older": (lambda plain: fp8(plain, "older"), torch.float8_e4m3fn, 0.04),
    "fp8, newer": (lambda plain: fp8(plain, "newer"), torch.float8_e4m3fn, 0.04),
    "fp8, ComfyUI's": (lambda plain: fp8(plain, "comfy"), torch.float8_e4m3fn, 0.04),
    "fp8, in the header": (lambda plain: fp8(plain, "header"), torch.float8_e4m3fn, 0.04),
    "quanto int8": (lambda plain: quanto(plain, torch.int8), torch.int8, 0.015),
    "quanto fp8": (lambda plain: quanto(plain, torch.float8_e4m3fn), torch.int8, 0.04),
}


@pytest.mark.parametrize(
    "kind, bound",
    [("Q8_0", 0.012), ("Q5_1", 0.06), ("Q5_0", 0.08), ("Q4_1", 0.12), ("Q4_0", 0.15), ("BF16", 0.01), ("F16", 0.01)],
)
def test_gguf_adapters_are_read(plain, tmp_path, kind, bound):
    from infinitetalk.host.loading import load_adapter_file
    from infinitetalk.host.model_files import read_shapes

    path = tmp_path / "adapter.gguf"
    save_gguf(path, plain, kind)
    assert read_shapes(str(path), "adapter") == {key: tuple(value.shape) for key, value in plain.items()}
    patch = load_adapter_file(str(path), torch.float16)
    assert {parameter.dtype for parameter in patch.model.parameters()} == {torch.float16}
    for found, right in zip(outputs(patch), outputs(load(tmp_path / "plain.safetensors", plain, {})), strict=True):
        assert (found - right).norm() / right.norm() < bound


def test_gguf_files_are_listed_and_found_in_the_adapters_folders(plain, tmp_path, monkeypatch):
    import folder_paths

    from infinitetalk.host.loading import check_adapter_file
    from infinitetalk.host.model_files import ADAPTER_FOLDERS, list_files, register_folders

    (tmp_path / "deep").mkdir()
    save_gguf(tmp_path / "deep" / "Single_Q8.gguf", plain, "Q8_0")
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    folder_paths.folder_names_and_paths["model_patches"] = ([str(tmp_path)], {".safetensors"})
    register_folders()
    (name,) = (name for name in list_files(*ADAPTER_FOLDERS) if "Single_Q8" in name)
    assert check_adapter_file(name).layers == LAYERS
    with pytest.raises(InputError) as missing:
        check_adapter_file("none.gguf")
    assert "infinitetalk_gguf" not in str(missing.value)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K"])
def test_blocks_of_256_are_read_as_the_package_reads_them(tmp_path, kind):
    """Nothing in Python writes these kinds: random blocks stand for a matrix."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, quants

    from infinitetalk.gguf_file import gguf_tensors
    from infinitetalk.gguf_header import gguf_header

    whole = GGMLQuantizationType[kind]
    block, size = GGML_QUANT_SIZES[whole]
    data = np.random.default_rng(0).integers(0, 60, (3, 512 // block * size), dtype=np.uint8)
    writer = GGUFWriter(tmp_path / "k.gguf", "wan")
    writer.add_tensor("a.weight", data, raw_dtype=whole)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert gguf_header(tmp_path / "k.gguf") == ({"a.weight": (3, 512)}, {"a.weight": kind})
    found = gguf_tensors(tmp_path / "k.gguf", torch.float32)["a.weight"]
    assert torch.equal(found, torch.from_numpy(quants.dequantize(data, whole)).reshape(3, 512))


def test_without_the_package_the_error_says_what_to_install(plain, tmp_path, monkeypatch):
    """Before anything loads; what the header says is read all the same."""
    from infinitetalk.gguf_file import gguf_tensors
    from infinitetalk.host.loading import check_adapter_file
    from infinitetalk.host.model_files import read_shapes
    from tests.host.small_files import use_folder

    save_gguf(tmp_path / "whole.gguf", plain, "Q8_0")
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match="adapter: GGUF files are read by the package gguf") as refused:
        check_adapter_file("whole.gguf")
    assert "pip install" in str(refused.value)
    with pytest.raises(InputError, match="text encoder: GGUF files are read"):
        gguf_tensors(tmp_path / "whole.gguf", torch.float32, label="text encoder")
    assert len(read_shapes(str(tmp_path / "whole.gguf"), "adapter")) == len(plain)


def test_a_kind_that_the_package_does_not_decode_is_refused_by_name(tmp_path):
    import numpy as np
    from gguf import GGUFWriter

    from infinitetalk.gguf_file import gguf_tensors

    writer = GGUFWriter(tmp_path / "whole_numbers.gguf", "wan")
    writer.add_tensor("a.weight", np.zeros((2, 32), dtype=np.int64))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match="adapter: whole_numbers.gguf: a.weight is stored as I64"):
        gguf_tensors(tmp_path / "whole_numbers.gguf", torch.float32)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.001])
def test_a_gguf_file_that_is_cut_off_is_refused(plain, tmp_path, share):
    from infinitetalk.host.model_files import read_shapes

    save_gguf(tmp_path / "whole.gguf", plain, "Q8_0")
    content = (tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cut.gguf is not a readable safetensors or GGUF file"):
        read_shapes(str(tmp_path / "cut.gguf"), "adapter")


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
    return [layer(value) for layer, value in inputs.items()]


@pytest.mark.parametrize("name", FILES)
def test_quantised_files_stay_so_and_compute_what_they_should(plain, tmp_path, name):
    make, kept, bound = FILES[name]
    wanted = outputs(load(tmp_path / "plain.safetensors", plain, {}))
    patch = load(tmp_path / "file.safetensors", *make(plain))
    weight = patch.model.blocks[0].audio_cross_attn.proj.weight
    assert getattr(weight, "_qdata", weight).dtype == kept
    for found, right in zip(outputs(patch), wanted, strict=True):
        error = (found - right).norm() / right.norm()
        assert error < bound
        assert name == "plain" or error > 1e-4  # it is another file


def test_a_quantised_adapter_talks_in_a_run(machine, tmp_path):
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
def test_eight_bits_without_a_scale_are_refused(plain, tmp_path, kind):
    tensors = {key: value.to(kind) if key == "audio_proj.proj2.weight" else value for key, value in plain.items()}
    with pytest.raises(InputError, match=r"audio_proj.proj2.weight is u?int8 without a scale"):
        load(tmp_path / "lost.safetensors", tensors, {})


@pytest.mark.parametrize("note", [{"format": "convrot_w4a4"}, {"format": "int8_tensorwise", "convrot": True}])
def test_formats_of_other_names_are_refused_instead_of_misread(plain, tmp_path, note):
    name = "blocks.0.audio_cross_attn.proj"
    tensors = {**plain, f"{name}.weight": plain[f"{name}.weight"].to(torch.int8)}
    tensors[f"{name}.weight_scale"] = torch.ones(())
    tensors[f"{name}.comfy_quant"] = torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8)
    with pytest.raises(InputError, match=f"{name}.weight is quantised as .*not known here"):
        load(tmp_path / "rotated.safetensors", tensors, {})
