"""Every published layout of an adapter file: read by the real loader, and one forward near the float original's."""

from __future__ import annotations

import pytest
import torch

from tests.host.markings import E4M3, fp8, half_with_float_vectors, plain, quanto, rows, save, save_gguf

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def original(host, tmp_path_factory):
    """(model, its forward with the float adapter)."""
    from tests.host.small_files import adapter, base, forward, load_both

    folder = tmp_path_factory.mktemp("original")
    with torch.inference_mode():
        paths = save(folder / "base.safetensors", (base(), {})), save(folder / "adapter.safetensors", (adapter(), {}))
        model, patch = load_both(*paths)
        return model, forward(model, patch)


def marked(tensors, marker: torch.Tensor, scale_shape: tuple) -> tuple:
    """The older fp8 marking with another marker of the file and other shapes of its scales."""
    found, metadata = fp8(tensors, "older")
    scales = {key: value.reshape(scale_shape) for key, value in found.items() if key.endswith(".scale_weight")}
    return {**found, **scales, "scaled_fp8": marker}, metadata


def within(make):
    """As `make`, of the whole model with the adapter inside."""

    def make_whole(_):
        from tests.host.small_files import merged

        return make(merged())

    return make_whole


def renamed(tensors, prefix: str, audio: str = "") -> tuple:
    found, metadata = fp8(tensors, "older")
    return {f"{prefix}{audio if k.startswith('audio_proj') else ''}{k}": value for k, value in found.items()}, metadata


BF16, F16 = torch.bfloat16, torch.float16
# file as people have it -> how it is made of the float adapter, relative error of the forward
FILES = {
    "single/infinitetalk": (lambda t: plain(t, torch.float32), 0),
    "multi/infinitetalk": (lambda t: plain(t, torch.float32), 0),
    "comfyui/infinitetalk_single": (lambda t: plain(t, BF16), 0.005),
    "Wan2_1-InfiniTetalk-Single_fp16": (half_with_float_vectors, 0.001),
    "Wan2_1-InfiniteTalk-Single_fp8_e4m3fn_scaled_KJ": (lambda t: fp8(t, "older"), 0.03),
    "Wan2_1-InfiniteTalk-Multi_fp8_e4m3fn_scaled_KJ": (lambda t: fp8(t, "newer"), 0.03),
    "fp8, products in full precision": (lambda t: marked(t, torch.zeros(2, dtype=E4M3), ()), 0.03),
    "fp8, a float32 marker": (lambda t: marked(t, torch.zeros(0), (1,)), 0.03),
    "fp8, scales as matrices": (lambda t: marked(t, torch.zeros(0, dtype=E4M3), (1, 1)), 0.03),
    "fp8 of ComfyUI": (lambda t: fp8(t, "comfy"), 0.03),
    "fp8 of ComfyUI, in the header": (lambda t: fp8(t, "header"), 0.03),
    "wan2.1_infiniteTalk_single_fp16": (lambda t: plain(t, F16), 0.001),
    "wan2.1_infinitetalk_single_14B_mbf16": (lambda t: plain(t, BF16), 0.005),
    "wan2.1_infinitetalk_multi_14B_quanto_mbf16_int8": (lambda t: quanto(t, torch.int8, BF16, True), 0.015),
    "wan2.1_infinitetalk_multi_14B_quanto_mfp16_int8": (lambda t: quanto(t, torch.int8, F16, True), 0.015),
    "quanto fp8": (lambda t: quanto(t, E4M3), 0.03),
    "infinitetalk-fp8 of LightX2V": (lambda t: rows(t, E4M3), 0.03),
    "infinitetalk-int8 of LightX2V": (lambda t: rows(t, torch.int8), 0.015),
    "quant_models/infinitetalk_single_int8": (within(lambda t: quanto(t, torch.int8)), 0.015),
    "quant_models/infinitetalk_single_fp8": (within(lambda t: quanto(t, E4M3)), 0.03),
    "inside a model": (within(lambda t: plain(t, F16)), 0.001),
    "inside a model of WanVideoWrapper": (lambda t: renamed(t, "model.diffusion_model.", "multitalk_"), 0.03),
    "renamed twice by WanVideoWrapper": (lambda t: renamed(t, "diffusion_model.", "multitalk_multitalk_"), 0.03),
}
EIGHT = ("fp8", "int8", "WanVideoWrapper")  # in the names of files in 8 bits


@pytest.mark.parametrize("name", FILES)
def test_published_adapters_compute_what_the_original_does(original, tmp_path, name):
    from infinitetalk.host.loading import load_adapter_file
    from infinitetalk.model.layouts import read_adapter
    from infinitetalk.tensor_file import read_header
    from tests.host.small_files import DIM, LAYERS, adapter, error, forward

    make, bound = FILES[name]
    path = save(tmp_path / f"{name}.safetensors", make(adapter()))
    shape = read_adapter(read_header(path, "adapter").shapes, "adapter")
    assert (shape.dim, shape.layers) == (DIM, LAYERS)
    model, right = original
    patch = load_adapter_file(str(path))
    weight = patch.model.blocks[1].audio_cross_attn.kv_linear.weight
    assert (getattr(weight, "_qdata", weight).element_size() == 1) == any(
        word in name for word in (*EIGHT, "renamed", "Wrapper")
    )
    found = error(forward(model, patch), right)
    assert found <= bound
    assert bound == 0 or found > 1e-6  # it is another file


# Q4_K_M files hold Q4_K and Q6_K, which nothing in Python writes: tests/host/test_quantised.py reads their blocks
@pytest.mark.parametrize(
    ("kind", "bound"),
    [("Q8_0", 0.01), ("Q5_1", 0.05), ("Q5_0", 0.06), ("Q4_1", 0.1), ("Q4_0", 0.12), ("BF16", 0.005), ("F16", 0.005)],
)
@pytest.mark.parametrize("whole", [False, True], ids=["adapter", "inside a model"])
def test_gguf_adapters_compute_what_the_original_does(original, tmp_path, kind, bound, whole):
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.small_files import adapter, error, forward, merged

    path = save_gguf(tmp_path / "Wan2_1-InfiniteTalk_Single.gguf", merged() if whole else adapter(), kind)
    model, right = original
    assert 1e-6 < error(forward(model, load_adapter_file(str(path))), right) <= bound


def test_a_name_says_nothing_about_the_content(original, tmp_path):
    """A GGUF file as .safetensors, and the reverse, are read as what they are."""
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.small_files import adapter, error, forward

    model, right = original
    gguf = save_gguf(tmp_path / "a.gguf", adapter(), "Q8_0").rename(tmp_path / "gguf.safetensors")
    whole = save(tmp_path / "a.safetensors", (adapter(), {})).rename(tmp_path / "safetensors.gguf")
    assert error(forward(model, load_adapter_file(str(gguf))), right) < 0.01
    assert error(forward(model, load_adapter_file(str(whole))), right) == 0
