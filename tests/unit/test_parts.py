"""Models in parts by their names: one entry of a list, all files of the model, and the missing ones by name."""

from __future__ import annotations

import pytest

from infinitetalk.errors import InputError
from infinitetalk.parts import first_parts, is_part, model_parts


def names(count: int, folder: str = "") -> list[str]:
    return [f"{folder}diffusion_pytorch_model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]


def test_a_list_shows_the_first_part_of_each_model():
    one, other = names(7, "480P/"), names(7, "720P/")
    listed = ["a.safetensors", *reversed(one), *other, "b-00001-of-3.safetensors"]
    assert first_parts(listed) == ["a.safetensors", one[0], other[0], "b-00001-of-3.safetensors"]
    assert first_parts(one[2:]) == [one[2]]  # so that what is missing can be said
    assert first_parts([]) == []


def test_any_part_stands_for_all(tmp_path):
    for name in names(3):
        (tmp_path / name).touch()
    found = [str(tmp_path / name) for name in names(3)]
    assert all(model_parts(path, "model") == found for path in found)
    assert is_part(found[0]) and not is_part(tmp_path / "whole.safetensors")
    assert model_parts(tmp_path / "whole.safetensors", "model") == [str(tmp_path / "whole.safetensors")]
    (tmp_path / names(3)[1]).unlink()
    with pytest.raises(InputError, match="model: 1 of the model's 3 parts are missing: .*-00002-of-00003"):
        model_parts(found[0], "model")


@pytest.mark.parametrize("name", ["x-00001-of-00000.safetensors", "x-00009-of-00007.safetensors", "x-00000-of-00002"])
def test_numbers_of_no_part_make_a_file_of_its_own(tmp_path, name):
    (tmp_path / name).touch()
    assert model_parts(tmp_path / name, "model") == [str(tmp_path / name)] and not is_part(name)
    assert first_parts([name, *names(2)]) == [name, names(2)[0]]
