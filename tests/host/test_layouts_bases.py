"""Every published layout of a diffusion model, with adapters of every format: one forward near the float original's.

And LoRAs on them through ComfyUI's own loader: the change that a LoRA makes is that of the float model.
"""

from __future__ import annotations

import json

import pytest
import torch

from infinitetalk.errors import InputError
from tests.host.markings import (
    E4M3,
    E5M2,
    fp8,
    is_matrix,
    plain,
    quanto,
    quanto_map,
    rows,
    save,
    save_gguf,
    save_parts,
)

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def patches(host, tmp_path_factory):
    """Adapters of the four families by name."""
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.small_files import adapter

    folder, whole = tmp_path_factory.mktemp("adapters"), adapter()
    files = {
        "fp32": save(folder / "fp32.safetensors", (whole, {})),
        "fp8": save(folder / "fp8.safetensors", fp8(whole, "older")),
        "quanto": save(folder / "quanto.safetensors", quanto(whole, torch.int8)),
        "GGUF": save_gguf(folder / "q8.gguf", whole, "Q8_0"),
    }
    with torch.inference_mode():
        return {name: load_adapter_file(str(path)) for name, path in files.items()}


@pytest.fixture(scope="module")
def right(host, patches, tmp_path_factory):
    """The forward of the float model with the float adapter."""
    from infinitetalk.host.loading import load_base_file
    from tests.host.small_files import base, forward

    with torch.inference_mode():
        model = load_base_file(str(save(tmp_path_factory.mktemp("base") / "base.safetensors", (base(), {}))))
        return forward(model, patches["fp32"])


def raw_fp8(tensors) -> tuple:
    """fp8 without any scale, the rest in fp16."""
    return {key: value.to(E4M3) if is_matrix(key, value) else value.half() for key, value in tensors.items()}, {}


def as_wan2gp(tensors) -> tuple:
    """Wan2GP makes modules of the modulations."""
    return {f"{key}.weight" if key.endswith("modulation") else key: value for key, value in tensors.items()}, {}


BF16, I8 = torch.bfloat16, torch.int8
# file as people have it -> how it is made of the float model, dtype of the loaded weights, error of the forward
FILES = {
    "fp32": (lambda t: plain(t, torch.float32), torch.float32, 0),
    "wan2.1_i2v_480p_14B_fp16": (lambda t: plain(t, torch.float16), torch.float32, 0.001),
    "wan2.1_i2v_480p_14B_bf16": (lambda t: plain(t, BF16), torch.float32, 0.005),
    "Wan2_1-I2V-14B-480P_fp8_e4m3fn": (raw_fp8, torch.float32, 0.05),
    "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ": (lambda t: fp8(t, "older"), E4M3, 0.03),
    "newer, no mark of the file": (lambda t: fp8(t, "newer"), E4M3, 0.03),
    "Wan2_1-I2V-14B-480p_fp8_e5m2_scaled_KJ": (lambda t: fp8(t, "older", E5M2), E5M2, 0.06),
    "fp8 of ComfyUI": (lambda t: fp8(t, "comfy"), E4M3, 0.03),
    "fp8 of ComfyUI, in the header": (lambda t: fp8(t, "header"), E4M3, 0.03),
    "fp8 in a checkpoint": (lambda t: fp8(t, "older", prefix="model.diffusion_model."), E4M3, 0.03),
    "fp8 under another prefix": (lambda t: fp8(t, "older", prefix="diffusion_model."), E4M3, 0.03),
    "InfiniteTalk-4StepDistill of LightX2V, fp8": (lambda t: rows(t, E4M3), I8, 0.04),
    "InfiniteTalk-4StepDistill of LightX2V, int8": (lambda t: rows(t, I8), I8, 0.015),
    "infinitetalk_single_int8": (lambda t: quanto(t, I8), I8, 0.015),
    "infinitetalk_single_int8, bf16 scales": (lambda t: quanto(t, I8, BF16), I8, 0.015),
    "saved by Wan2GP": (as_wan2gp, torch.float32, 0),
    "infinitetalk_single_fp8": (lambda t: quanto(t, E4M3), I8, 0.04),
}
KJ, LIGHT, QUANTO = (
    "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ", "InfiniteTalk-4StepDistill of LightX2V, fp8", "infinitetalk_single_int8"
)  # fmt: skip


def load(tmp_path, name: str, tensors):
    """A model of a layout, loaded; its path."""
    from infinitetalk.host.loading import load_base_file

    path = save(tmp_path / f"{name}.safetensors", FILES[name][0](tensors))
    return load_base_file(str(path)), path


@pytest.mark.parametrize("marking", ["older", "comfy", "header"])
def test_weights_in_e5m2_are_never_multiplied_in_8_bits(tmp_path, marking):
    """No GPU multiplies two such matrices; on one that multiplies e4m3 ComfyUI would ask for it."""
    from infinitetalk.host.loading import load_base_file
    from tests.host.small_files import base

    layers = {}
    for kind in (E4M3, E5M2):
        path = save(tmp_path / f"{kind}.safetensors", fp8(base(), marking, kind))
        layers[kind] = load_base_file(str(path)).model.diffusion_model.blocks[0].self_attn.q
        assert layers[kind].weight._qdata.dtype == kind
    assert layers[E5M2]._full_precision_mm_config and not layers[E4M3]._full_precision_mm_config


@pytest.mark.parametrize("name", FILES)
def test_published_models_compute_what_the_original_does(patches, right, tmp_path, name):
    from tests.host.small_files import base, error, forward

    _, kept, bound = FILES[name]
    model, _ = load(tmp_path, name, base())
    weight = model.model.diffusion_model.blocks[1].ffn[2].weight
    assert getattr(weight, "_qdata", weight).dtype == kept
    found = error(forward(model, patches["fp32"]), right)
    assert found <= bound
    assert found > 1e-6 or bound == 0


@pytest.mark.parametrize("name", ["fp32", KJ, LIGHT, QUANTO])
def test_any_adapter_goes_with_any_model(patches, right, tmp_path, name):
    from tests.host.small_files import base, error, forward

    model, _ = load(tmp_path, name, base())
    for adapter in ("fp8", "quanto", "GGUF"):
        assert error(forward(model, patches[adapter]), right) <= FILES[name][2] + 0.02, adapter


@pytest.mark.parametrize("name", ["wan2.1_i2v_480p_14B_fp16", KJ, "fp8 in a checkpoint", QUANTO])
def test_an_adapter_inside_a_model_is_used_or_left_out(patches, right, tmp_path, name):
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.small_files import error, forward, merged

    model, path = load(tmp_path, name, merged())
    assert not any("audio" in key for key in model.model.state_dict())
    bound = FILES[name][2]
    assert error(forward(model, patches["fp32"]), right) <= bound
    assert error(forward(model, load_adapter_file(str(path))), right) <= bound + 0.02


@pytest.mark.parametrize("name", ["newer, no mark of the file", "Wan2_1-I2V-14B-480p_fp8_e5m2_scaled_KJ", LIGHT])
def test_comfyui_alone_would_misread_these(patches, right, tmp_path, name):
    """Why such files are changed on the way to its loader: a wrong model without a word."""
    import comfy.sd

    from infinitetalk.model.quantised import comfyui_reads
    from infinitetalk.tensor_file import read_header
    from tests.host.small_files import base, error, forward

    path = save(tmp_path / "file.safetensors", FILES[name][0](base()))
    header = read_header(path, "model")
    assert not comfyui_reads(header.shapes, header.dtypes, header.metadata)
    found = error(forward(comfy.sd.load_diffusion_model(str(path)), patches["fp32"]), right)
    assert not found < 0.3  # NaN is one of the outcomes


@pytest.mark.parametrize("has_map", [True, False])
def test_the_reference_s_quanto_files_with_and_without_their_map(monkeypatch, tmp_path, right, has_map):
    """By names, as the node loads them: the same file as model and as adapter."""
    from infinitetalk.host.loading import INSIDE, check_files, inside_dropped, load_adapter, load_model
    from tests.host.small_files import error, forward, merged, use_folder

    name = "quant_models/infinitetalk_single_int8.safetensors"
    tensors, metadata = quanto(merged(), I8)
    save(tmp_path / name, (tensors, metadata))
    if has_map:
        (tmp_path / name).with_suffix(".json").write_text(quanto_map(tensors))
    use_folder(monkeypatch, tmp_path)
    for adapter in (name, INSIDE):
        check_files(name, adapter)
        model = load_model(name)
        assert error(forward(model, load_adapter(adapter, model, name)), right) < 0.015
        assert not inside_dropped(name, adapter)


def test_a_model_in_parts_is_one_entry_and_one_model(monkeypatch, tmp_path, patches, right):
    from infinitetalk.host.loading import check_files, load_model
    from infinitetalk.host.model_files import ADAPTER_FOLDERS, MODEL_FOLDER, fingerprint, list_files
    from tests.host.small_files import adapter, base, error, forward, use_folder

    folder = tmp_path / "Wan2.1-I2V-14B-480P"
    paths = save_parts(folder, base(), 7)
    save(tmp_path / "adapter.safetensors", (adapter(), {}))
    use_folder(monkeypatch, tmp_path)
    name = f"{folder.name}/{paths[0].name}"
    assert sorted(list_files(MODEL_FOLDER)) == [name, "adapter.safetensors"]
    assert sorted(list_files(*ADAPTER_FOLDERS)) == [name, "adapter.safetensors"]
    check_files(name, "adapter.safetensors")
    before = fingerprint(str(paths[0]))
    assert error(forward(load_model(name), patches["fp32"]), right) == 0
    assert len(before) == 7
    paths[4].unlink()
    with pytest.raises(InputError, match=r"1 of the model's 7 parts are missing: .*-00005-of-00007.safetensors"):
        check_files(name, "adapter.safetensors")
    paths[0].unlink()
    use_folder(monkeypatch, tmp_path)
    assert f"{folder.name}/{paths[1].name}" in list_files(MODEL_FOLDER)  # still there, to say what is missing


def lora() -> dict[str, torch.Tensor]:
    """In the layout of the published ones: pairs, biases and norms."""
    from tests.host.small_files import DIM, LAYERS

    generator, tensors = torch.Generator().manual_seed(9), {}
    for n in range(LAYERS):
        for part, (out, into) in {"self_attn.q": (DIM, DIM), "ffn.0": (256, DIM), "ffn.2": (DIM, 256)}.items():
            name = f"diffusion_model.blocks.{n}.{part}"
            tensors[f"{name}.lora_down.weight"] = torch.randn(8, into, generator=generator) / into**0.5
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, 8, generator=generator) * 0.3
            tensors[f"{name}.diff_b"] = torch.randn(out, generator=generator) * 0.05
        tensors[f"diffusion_model.blocks.{n}.norm3.diff"] = torch.randn(DIM, generator=generator) * 0.05
    return tensors


@pytest.fixture(scope="module")
def wanted(host, patches, tmp_path_factory):
    """(folder with the LoRA, the change that it makes to the float model's forward)."""
    folder = tmp_path_factory.mktemp("lora")
    with torch.inference_mode():
        save(folder / "lora.safetensors", (lora(), {}))
        before, after = with_lora(folder, patches["fp32"], "fp32", inside=False)
    assert (after - before).norm() > 0.1 * before.norm()
    return folder, (after - before).flatten()


def with_lora(folder, patch, name: str, inside: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The forward of a model without and with the LoRA, by the host's loader node."""
    import folder_paths

    from nodes import LoraLoaderModelOnly
    from tests.host.small_files import base, forward, merged

    folder_paths.add_model_folder_path("loras", str(folder), is_default=True)
    model, _ = load(folder, name, merged() if inside else base())
    moved = LoraLoaderModelOnly().load_lora_model_only(model, "lora.safetensors", 1.0)[0]
    return forward(model, patch), forward(moved, patch)


@pytest.mark.parametrize(
    ("name", "inside"),
    [(KJ, False), (KJ, True), ("Wan2_1-I2V-14B-480p_fp8_e5m2_scaled_KJ", False), (LIGHT, False), (QUANTO, False),
     (QUANTO, True), ("infinitetalk_single_fp8", True)],
)  # fmt: skip
def test_a_lora_moves_every_model_as_it_moves_the_original(wanted, patches, name, inside):
    folder, change = wanted
    before, after = with_lora(folder, patches["fp32"], name, inside)
    found = (after - before).flatten()
    assert torch.nn.functional.cosine_similarity(found, change, dim=0) > 0.95
    assert 0.9 < found.norm() / change.norm() < 1.1


def test_the_index_beside_the_parts_is_not_needed(tmp_path):
    from infinitetalk.tensor_file import read_header
    from tests.host.small_files import base

    paths = save_parts(tmp_path, base(), 3)
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    assert set(json.loads(index.read_text())["weight_map"]) == set(base())
    index.unlink()
    assert set(read_header(paths[0], "model").shapes) == set(base())


def mxfp8(tensors: dict, kind: str = "mxfp8") -> tuple[dict, dict]:
    """ComfyUI's 8 bits with a scale of 8 bits, a power of two, for each 32 numbers."""
    from comfy.quant_ops import TensorCoreMXFP8Layout

    found = {}
    note = torch.tensor(list(json.dumps({"format": kind}).encode()), dtype=torch.uint8)
    for key, value in tensors.items():
        found[key] = value
        if is_matrix(key, value):
            found[key], parts = TensorCoreMXFP8Layout.quantize(value.bfloat16())
            name = key.removesuffix(".weight")
            found |= {f"{name}.weight_scale": parts.scale, f"{name}.comfy_quant": note.clone()}
    return found, {}


def test_a_model_in_mxfp8_is_loaded(patches, right, tmp_path):
    from infinitetalk.host.loading import load_base_file
    from tests.host.small_files import base, error, forward

    tensors, _ = mxfp8(base())
    assert tensors["blocks.1.ffn.2.weight_scale"].dtype == torch.float8_e8m0fnu
    model = load_base_file(str(save(tmp_path / "mx.safetensors", (tensors, {}))))
    assert model.model.diffusion_model.blocks[1].ffn[2].weight._qdata.dtype == E4M3
    assert 1e-6 < error(forward(model, patches["fp32"]), right) < 0.1
    tensors["blocks.1.ffn.2.weight_scale"].view(torch.uint8).flatten()[0] = 0xFF
    with pytest.raises(InputError, match="mx.safetensors: blocks.1.ffn.2.weight_scale holds values that are no numb"):
        load_base_file(str(save(tmp_path / "mx.safetensors", (tensors, {}))))


def test_mxfp8_with_the_adapter_inside_is_refused(tmp_path):
    from infinitetalk.host.loading import load_base_file
    from tests.host.small_files import adapter, base

    path = save(tmp_path / "mx.safetensors", mxfp8({**base(), **adapter()}))
    with pytest.raises(InputError, match='model: mx.safetensors: .* is quantised as {"format": "mxfp8"}'):
        load_base_file(str(path))


@pytest.mark.parametrize(
    ("kind", "told"),
    [("mxfp12", "is quantised as 'mxfp12', which this ComfyUI does not know"), (None, "quantised as None"),
     (["mxfp8"], "quantised as"), ({}, "quantised as {}")],
)  # fmt: skip
def test_a_format_that_the_host_does_not_know_is_refused_before_it_loads(tmp_path, kind, told):
    from infinitetalk.host.loading import load_base_file
    from tests.host.small_files import base

    with pytest.raises(InputError, match=told):
        load_base_file(str(save(tmp_path / "x.safetensors", mxfp8(base(), kind))))


@pytest.mark.parametrize("note", ["[]", "{}", "7", '{"layers": []}', '{"layers": {"blocks.0.ffn.0": "x"}}', "{"])
def test_notes_in_the_header_that_are_no_table_are_refused_before_the_host_reads_them(tmp_path, note):
    from infinitetalk.host.loading import load_base_file
    from tests.host.small_files import base

    tensors, _ = fp8(base(), "header")
    with pytest.raises(InputError, match="model: x.safetensors: .*_quantization_metadata"):
        load_base_file(str(save(tmp_path / "x.safetensors", (tensors, {"_quantization_metadata": note}))))
