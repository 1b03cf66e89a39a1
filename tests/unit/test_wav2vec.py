"""Loading wav2vec2 in every layout people have, and running its halves, on small random models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from infinitetalk.errors import InputError
from infinitetalk.wav2vec import conv_features, hidden_states, layer_outputs, load_wav2vec

SMALL = {
    "conv_dim": [16] * 7,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 160,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
}
BASE = SMALL | {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
LARGE = SMALL | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
POSITION = "encoder.pos_conv_embed.conv."
ORIGINAL = POSITION + "parametrizations.weight.original"


def build(settings: dict) -> Wav2Vec2Model:
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**settings)).eval().requires_grad_(False)
    for parameter in model.parameters():  # the initial norms and biases are ones and zeros: no test would see them
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def old_names(state: dict) -> dict:
    pairs = {ORIGINAL + "0": POSITION + "weight_g", ORIGINAL + "1": POSITION + "weight_v"}
    return {pairs.get(key, key): value for key, value in state.items()}


def single_file(folder: Path, state: dict, name: str = "wav2vec2.safetensors") -> Path:
    path = folder / name
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def outputs(model: Wav2Vec2Model, wave: torch.Tensor) -> list[torch.Tensor]:
    return layer_outputs(model, conv_features(model, wave).transpose(1, 2))


@pytest.fixture
def wave() -> torch.Tensor:
    return torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
def test_the_halves_give_what_the_whole_model_gives(settings, wave):
    model = build(settings)
    seen = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda module, args, out: seen.append(out[0] if isinstance(out, tuple) else out))
    expected = model(wave).last_hidden_state
    recorded, found = list(seen), outputs(model, wave)
    assert len(found) == 2 and found[0].shape == expected.shape == (1, 24, 128)
    torch.testing.assert_close(found[0], recorded[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[-1], expected, rtol=0, atol=1e-5)
    assert len(hidden_states(model, conv_features(model, wave).transpose(1, 2))) == 3


@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
@pytest.mark.parametrize("rename", [dict, old_names], ids=["new names", "old names"])
def test_single_file_without_config(settings, prefix, rename, tmp_path, wave):
    model = build(settings)
    state = {prefix + key: value for key, value in rename(model.state_dict()).items()}
    state |= {"lm_head.weight": torch.zeros(3, 128), "quantizer.codevectors": torch.zeros(1, 4, 4)}
    loaded, normalize = load_wav2vec(single_file(tmp_path, state))
    assert normalize is None and not loaded.training
    for found, expected in zip(outputs(loaded, wave), outputs(model, wave), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_half_precision_file_runs_in_float32(tmp_path, wave):
    model = build(BASE)
    loaded, _ = load_wav2vec(single_file(tmp_path, {key: value.half() for key, value in model.state_dict().items()}))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(outputs(loaded, wave)[-1], outputs(model.half().float(), wave)[-1], rtol=0, atol=0)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "other.safetensors"])
@pytest.mark.parametrize("do_normalize", [True, False, None])
def test_folder_with_other_heads_and_strides(file, do_normalize, tmp_path, wave):
    settings = BASE | {"num_attention_heads": 8, "conv_stride": [5, 2, 2, 2, 2, 2, 1]}
    model = build(settings)
    if file.endswith(".bin"):
        torch.save(model.state_dict(), tmp_path / file)
    else:
        single_file(tmp_path, model.state_dict(), file)
    model.config.save_pretrained(tmp_path)
    if do_normalize is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": do_normalize}))
    loaded, normalize = load_wav2vec(tmp_path)
    assert normalize is do_normalize
    torch.testing.assert_close(outputs(loaded, wave)[-1], outputs(model, wave)[-1], rtol=0, atol=0)


def test_attention_matrices_are_not_kept(tmp_path):
    loaded, _ = load_wav2vec(single_file(tmp_path, build(BASE).state_dict()))
    assert loaded.config._attn_implementation == "sdpa"


class Payload:
    """Unpickling this writes a file: a loader that runs pickled code leaves it behind."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickled_code_is_never_run(tmp_path):
    trace = tmp_path / "ran"
    torch.save({"encoder.layer_norm.weight": Payload(str(trace))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="pytorch_model.bin: it cannot be read"):
        load_wav2vec(tmp_path)
    assert not trace.exists()
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.safetensors")  # and not under another name either
    with pytest.raises(InputError, match=r"model.safetensors: it cannot be read .*pickled file under another name"):
        load_wav2vec(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 380000000\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><title>Hugging Face</title></html>" * 9, "a web page"),
        (b"", "it is empty"),
    ],
)
def test_what_is_saved_in_place_of_a_download_is_called_what_it_is(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: it cannot be read as model weights .*{told}"):
        load_wav2vec(tmp_path)


def without(key: str):
    return lambda state: {name: value for name, value in state.items() if name != key}


def with_value(key: str, value):
    return lambda state: state | {key: value(state[key])}


LAST = "encoder.layers.1.final_layer_norm.bias"
BAD = {
    "another model": (lambda state: {"conv.weight": torch.zeros(2, 2)}, "but an unknown file .* conv.weight"),
    "Whisper": (lambda state: {"model.encoder.conv1.weight": torch.zeros(2, 2, 3)}, "but a Whisper audio encoder"),
    "HuBERT": (lambda state: {f"hubert.{k}": v for k, v in state.items()}, "but a HuBERT audio encoder"),
    "WavLM": (
        lambda state: state | {"encoder.layers.0.attention.gru_rel_pos_const": torch.ones(1)},
        "but a WavLM audio encoder",
    ),
    "fairseq": (lambda state: state | {"post_extract_proj.weight": torch.zeros(1, 1)}, "but a wav2vec2 of fairseq"),
    "missing": (without(LAST), f"1 of .* missing: {LAST}"),
    "NaN": (with_value(LAST, lambda value: value * torch.nan), f"{LAST} holds NaN"),
    "odd width": (
        lambda state: state | {"encoder.layer_norm.weight": torch.zeros(100)},
        "7 convolutions and width 100 cannot be read without a config.json",
    ),
    "other shape": (with_value(LAST, lambda value: value[:5]), rf"{LAST} has shape \[5\], not \[128\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(name, tmp_path):
    change, problem = BAD[name]
    path = single_file(tmp_path, change(build(BASE).state_dict()))
    with pytest.raises(InputError, match=problem) as caught:
        load_wav2vec(path)
    assert caught.value.problem.startswith("wav2vec2.safetensors") and "\n" in str(caught.value)


def test_bad_folders_and_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_wav2vec(tmp_path / "nothing")
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin"):
        load_wav2vec(tmp_path)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(InputError, match="cut.safetensors: it cannot be read"):
        load_wav2vec(tmp_path / "cut.safetensors")
    single_file(tmp_path, build(BASE).state_dict(), "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(InputError, match="describes a hubert model"):
        load_wav2vec(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_wav2vec(tmp_path)
