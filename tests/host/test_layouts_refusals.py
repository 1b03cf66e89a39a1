"""Files that must not be loaded: damaged, of another kind, or with code in them. Refused by name, and no code runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from infinitetalk.errors import InputError
from tests.host.markings import E4M3, fp8, quanto, save, save_gguf

pytestmark = pytest.mark.usefixtures("host")

ADAPTER, MODEL = "adapter.safetensors", "model.safetensors"


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture
def folder(host, monkeypatch, tmp_path) -> Path:
    """A folder of a model and an adapter that fit, which the host lists."""
    from tests.host.small_files import adapter, base, use_folder

    save(tmp_path / MODEL, (base(), {}))
    save(tmp_path / ADAPTER, (adapter(), {}))
    use_folder(monkeypatch, tmp_path)
    return tmp_path


def refusal(model: str, adapter: str) -> str:
    """The first line of the one refusal that the node makes; the second is there."""
    from infinitetalk.host.loading import check_files, load_adapter, load_model

    with pytest.raises(InputError) as caught:
        check_files(model, adapter)
        load_adapter(adapter, load_model(model))
    problem, remedy = str(caught.value).split("\n")
    assert remedy
    return problem


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def torch_file(path: Path, payload: Payload) -> None:
    torch.save({"blocks.0.norm_x.weight": payload}, path)


def old_pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload, protocol=2))


def plain_zip(path: Path, payload: Payload) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload))


@pytest.mark.parametrize("write", [torch_file, old_pickle, plain_zip])
@pytest.mark.parametrize("name", ["evil.safetensors", "evil.gguf", "evil.pt"])
def test_pickled_code_is_never_run(folder, tmp_path, write, name):
    from infinitetalk.host.loading import load_adapter_file, load_base_file

    trace = tmp_path / "ran"
    write(folder / name, Payload(trace))
    for told in (refusal(MODEL, name), refusal(name, ADAPTER)):
        assert "a pickled file under another name" in told
    for load in (load_adapter_file, load_base_file):
        with pytest.raises(InputError, match="a pickled file under another name"):
            load(str(folder / name))
    assert not trace.exists()


STRANGERS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9948699000\n",
    "a web page": b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
    "it is empty": b"",
    "text (JSON)": b'{"metadata": {"total_size": 65000000000}, "weight_map": {}}',
    "begins as no safetensors file": bytes(range(200, 255)) * 3,
}


@pytest.mark.parametrize("told", STRANGERS)
@pytest.mark.parametrize("end", ["safetensors", "gguf"])
def test_what_is_saved_in_place_of_a_model_is_called_what_it_is(folder, told, end):
    name = f"stranger.{end}"
    (folder / name).write_bytes(STRANGERS[told])
    for label, problem in (("adapter", refusal(MODEL, name)), ("model", refusal(name, ADAPTER))):
        assert problem.startswith(f"{label}: {name} is not a readable safetensors or GGUF file") and told in problem


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_half_a_download_is_refused(folder, share):
    from tests.host.small_files import adapter

    save_gguf(folder / "whole.gguf", adapter(), "Q8_0")
    for whole in (ADAPTER, MODEL, "whole.gguf"):
        content = (folder / whole).read_bytes()
        name = f"cut_{whole}"
        (folder / name).write_bytes(content[: int(len(content) * share)])
        problem = refusal(name, ADAPTER) if whole == MODEL else refusal(MODEL, name)
        assert f"{name} is not a readable safetensors or GGUF file" in problem


def spoiled(tensors: dict, key: str, bad: float) -> dict:
    """With one bad number in the last place of a tensor of any dtype."""
    value = tensors[key].clone()
    if value.dtype == E4M3:
        value.view(torch.uint8).flatten()[-1] = 0x7F  # its NaN
    else:
        value.flatten()[-1] = bad
    return {**tensors, key: value}


LAYER = "blocks.1.audio_cross_attn.proj"
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "key", "bad"),
    [
        (lambda t: (t, {}), f"{LAYER}.weight", NAN),
        (lambda t: (t, {}), f"{LAYER}.bias", INF),
        (lambda t: ({k: v.half() for k, v in t.items()}, {}), f"{LAYER}.weight", -INF),
        (lambda t: fp8(t, "older"), f"{LAYER}.weight", NAN),
        (lambda t: fp8(t, "newer"), f"{LAYER}.weight_scale", INF),
        (lambda t: quanto(t, torch.int8), f"{LAYER}.weight._scale", NAN),
        (lambda t: quanto(t, E4M3), f"{LAYER}.weight._data", NAN),
    ],
)
def test_no_adapter_with_a_number_that_is_none_is_loaded(folder, make, key, bad):
    from tests.host.small_files import adapter

    tensors, metadata = make(adapter())
    save(folder / "bad.safetensors", (spoiled(tensors, key, bad), metadata))
    problem = refusal(MODEL, "bad.safetensors")
    assert problem == f"adapter: bad.safetensors: {key} holds values that are no numbers (NaN or infinite)."


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda t: (t, {}), "blocks.1.ffn.2.bias"),
        (lambda t: fp8(t, "older"), "blocks.1.ffn.2.scale_weight"),
        (lambda t: quanto(t, torch.int8), "blocks.1.ffn.2.weight._scale"),
    ],
)
def test_a_model_with_vectors_or_scales_that_are_no_numbers_is_refused(folder, make, key):
    from tests.host.small_files import base

    tensors, metadata = make(base())
    save(folder / "bad.safetensors", (spoiled(tensors, key, NAN), metadata))
    problem = refusal("bad.safetensors", ADAPTER)
    assert problem == f"model: bad.safetensors: {key} holds values that are no numbers (NaN or infinite)."


def test_files_in_each_others_place_are_told(folder):
    from infinitetalk.host.loading import INSIDE
    from tests.host.small_files import base, merged

    save_gguf(folder / "base.gguf", base(), "Q8_0")
    save(folder / "merged.safetensors", (merged(), {}))
    assert refusal(ADAPTER, ADAPTER) == (
        "model: adapter.safetensors: this file is an InfiniteTalk adapter, not a Wan diffusion model."
    )
    assert refusal(MODEL, MODEL) == "adapter: model.safetensors: this file is Wan2.1 I2V, not an InfiniteTalk adapter."
    assert refusal(MODEL, INSIDE) == "adapter: (inside the model) is chosen, and model.safetensors has none."
    assert "base.gguf is a GGUF file, which this node does not load" in refusal("base.gguf", ADAPTER)
    half = {key: value for key, value in merged().items() if "audio_proj.proj2" not in key}
    save(folder / "half.safetensors", (half, {}))
    assert "half.safetensors: 2 tensors of the adapter are missing, first audio_proj.proj2.bias" in refusal(
        "half.safetensors", INSIDE
    )


def test_an_adapter_of_another_size_than_the_model_s_is_refused(folder):
    from tests.host.layouts import adapter_tensors
    from tests.host.small_files import FEATURES, TOKEN_WIDTH

    save(folder / "wide.safetensors", (adapter_tensors(256, 2, FEATURES, TOKEN_WIDTH), {}))
    assert "the adapter has width 256 and 2 blocks, the model has width 128" in refusal(MODEL, "wide.safetensors")
