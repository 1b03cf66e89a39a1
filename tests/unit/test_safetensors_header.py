"""Headers of safetensors files: as the safetensors package reads and refuses them, quickly, without another error."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from infinitetalk.errors import InputError
from infinitetalk.model.kinds import identify
from infinitetalk.safetensors_header import NotSafetensors, read_header
from infinitetalk.tensor_file import read_header as read_model_header


def written(tmp_path: Path, header: object, data: int = 0) -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(data))
    return path


def entry(dtype: object = "F32", shape: object = (2, 3), place: object = (0, 24)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


def test_every_dtype_of_torch_is_read(tmp_path):
    names = "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu int64 int8 uint8 bool complex64"
    tensors = {name: torch.zeros(3, 2).to(getattr(torch, name)) for name in names.split()}
    tensors |= {"empty": torch.zeros(0, 4), "single": torch.zeros(())}
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    found = read_header(tmp_path / "x.safetensors")
    assert found.shapes == {key: tuple(value.shape) for key, value in tensors.items()}
    assert found.dtypes["float8_e8m0fnu"] == "F8_E8M0" and found.metadata == {"format": "pt"}


def test_half_bytes_count_and_a_dtype_of_the_future_is_let_through(tmp_path):
    header = {"a": entry("F4", [3, 2], [0, 3]), "b": entry("F6_E2M3", [4], [3, 6]), "c": entry("F99", [5], [6, 8])}
    assert read_header(written(tmp_path, header, 8)).dtypes == {"a": "F4", "b": "F6_E2M3", "c": "F99"}


HOSTILE = {
    "lists in lists": b"[" * 200_000,
    "tables in tables": b'{"a":' * 200_000,
    "a list": [],
    "a number": 7,
    "an entry that is a list": {"a": [1]},
    "an entry that is nothing": {"a": None},
    "no dtype": {"a": {"shape": [2, 3], "data_offsets": [0, 24]}},
    "a list as dtype": {"a": entry(dtype=["F32"])},
    "a text as shape": {"a": entry(shape="abc")},
    "a letter in a shape": {"a": entry(shape=["a", 2])},
    "a list in a shape": {"a": entry(shape=[[1], 2])},
    "a negative shape": {"a": entry(shape=[-2, -3])},
    "half a side": {"a": entry(shape=[2.0, 3])},
    "a side that is true": {"a": entry(shape=[True, 6])},
    "a text as place": {"a": entry(place="ab")},
    "a place of one number": {"a": entry(place=[24])},
    "a place of letters": {"a": entry(place=["a", "b"])},
    "a negative place": {"a": entry(place=[-24, 0])},
    "a place that ends before it begins": {"a": entry(place=[24, 0])},
    "fewer bytes than numbers": {"a": entry(shape=[2, 4])},
    "more bytes than numbers": {"a": entry("F16")},
    "a shape of zero": {"a": entry(shape=[0, 99])},
    "one over another": {"a": entry("F32", [4], [0, 16]), "b": entry("F32", [4], [8, 24])},
    "one in another's place": {"a": entry(), "b": entry()},
    "a gap": {"a": entry("F32", [2], [0, 8]), "b": entry("F32", [2], [16, 24])},
    "a gap before the first": {"a": entry("F32", [4], [8, 24])},
    "bytes that are nobody's": {"a": entry("F32", [4], [0, 16])},
    "notes that are numbers": {"a": entry(), "__metadata__": {"n": 1}},
    "notes that are a list": {"a": entry(), "__metadata__": ["n"]},
    "a number of 5000 digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,24]}}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_package_refuses_is_refused_in_words(tmp_path, name):
    path = written(tmp_path, HOSTILE[name], 24)
    with pytest.raises(SafetensorError), safe_open(path, framework="pt") as file:
        file.keys()
    with pytest.raises(NotSafetensors):
        read_header(path)
    with pytest.raises(InputError) as refused:
        read_model_header(path, "model")
    first, second = str(refused.value).split("\n")
    assert first.startswith("model: x.safetensors is not a readable") and len(first) < 300 and second


def test_more_sides_than_torch_has_are_refused(tmp_path):
    """The package reads them; the product of a million sides would take a minute."""
    with pytest.raises(NotSafetensors, match="'a' has the shape"):
        read_header(written(tmp_path, {"a": entry(shape=[1 << 60] * 100_000 + [0], place=[0, 0])}))


def test_two_thousand_tensors_cost_a_few_milliseconds(tmp_path):
    header = {f"blocks.{n}.weight": entry("F32", [2, 3], [24 * n, 24 * n + 24]) for n in range(2000)}
    path = written(tmp_path, header, 48_000)
    begun = time.process_time()
    assert len(read_header(path).shapes) == 2000
    assert time.process_time() - begun < 0.1  # measured 0.009


def test_no_damage_to_a_header_is_anything_but_a_refusal(tmp_path):
    """Where the package reads a damaged file, the same is read."""
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4)}, tmp_path / "whole.safetensors", {"format": "pt"})
    whole = (tmp_path / "whole.safetensors").read_bytes()
    rng = random.Random(0)
    path, refused = tmp_path / "x.safetensors", 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 2)):
            damaged[rng.randrange(8, len(whole) - 40)] = rng.choice(b'0129[]{},:"-.ab \x00\xff')
        path.write_bytes(damaged)
        try:
            found = read_header(path)
            identify(found.shapes, found.dtypes)
        except NotSafetensors:
            refused += 1
    assert 700 < refused < 1500
