"""`bench memory`: its files are what the readers know, its rows replace each other, its page keeps what is around."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from bench.memory import SETTINGS, verdict
from bench.memory_cell import Clock
from bench.memory_files import ADAPTERS, BASES, make_files
from bench.memory_table import BEGIN, END, read_rows, tables, write_page
from infinitetalk.gguf_file import gguf_tensors
from infinitetalk.gguf_header import gguf_header
from infinitetalk.memory import MemoryConfig
from infinitetalk.model.layouts import check_fit, read_adapter, read_base

SIZE = {"dim": 128, "layers": 1, "ffn": 96, "vae": 2, "pixels": 64, "frames": 9}


@pytest.fixture(autouse=True)
def sizes_as_before(monkeypatch):
    """Making files sets the small model's sizes; other tests of this process use them."""
    from demo import small_model

    for name in ("DIM", "FFN", "BLOCKS", "VAE_WIDTH", "SPEECH", "AUDIO_HIDDEN", "AUDIO_TOKENS", "AUDIO_WIDTH"):
        monkeypatch.setattr(small_model, name, getattr(small_model, name))


def shapes(path) -> dict:
    if path.suffix == ".gguf":
        return gguf_header(path)[0]
    with safe_open(path, framework="pt") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}


@pytest.mark.parametrize("form", ["bf16", "fp8", "q4"])
def test_the_files_are_a_base_and_an_adapter_that_fit(tmp_path, form):
    make_files(tmp_path, form, SIZE)
    adapter = read_adapter(shapes(tmp_path / ADAPTERS[form]), "adapter")
    found = shapes(tmp_path / BASES[form])
    if form == "q4":
        assert found["patch_embedding.weight"] == (128, 36, 1, 2, 2)  # by the note beside it
        weight = gguf_tensors(tmp_path / BASES[form], torch.float32)["blocks.0.ffn.0.weight"]
        assert weight.std().item() == pytest.approx(128**-0.5, rel=0.05)
    check_fit(adapter, read_base(found, "base"), "adapter")
    assert not list(tmp_path.glob("*.part"))


def test_what_a_forward_took_is_read_off_the_last_step():
    clock = Clock(lambda: None)
    clock.calls += [(3, 9.0), (2, 4.0), (1, 2.5)]
    assert clock.per_forward(3, 2) == pytest.approx(6.5 / 3)
    assert clock.per_forward(3, 3) is None  # it did not come so far


def row(cap: int, forward: float | None, **changes) -> dict:
    made = {"machine": "m", "format": "fp8", "asked": "dynamic", "by": "ballast", "cap": cap, "speakers": 1}
    made |= {"branches": 1, "settings": "", "frames": 81, "pixels": 640, "steps": 2, "finished": forward is not None}
    return {**made, "forward_s": forward, "error": "OutOfMemoryError: no room", **changes}


def test_a_later_row_replaces_an_earlier_of_the_same_and_caps_are_compared_with_none(tmp_path):
    lines = [row(0, 3.0), row(16, 9.0), row(16, 3.6), row(8, None)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read_rows(path)
    assert len(rows) == 3
    table = tables(rows)
    assert "| 16 GB | 1 | 1 | - | finished | 3.60 | 1.20 |" in table
    assert "OutOfMemoryError: no room" in table


def test_the_page_keeps_what_stands_around_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Head\n\n{BEGIN}\nold\n{END}\n\ntail\n")
    for _ in range(2):
        write_page(page, [row(0, 3.0)])
    text = page.read_text()
    assert text.startswith("# Head") and text.endswith("\n\ntail\n") and "old" not in text
    assert text.count(BEGIN) == text.count(END) == 1 and "| none | 1 | 1 |" in text


def test_goals_are_met_or_missed_by_the_rows(capsys):
    assert verdict([row(0, 3.0), row(16, 3.6), row(12, 9.0)]) == 0
    assert verdict([row(0, 3.0), row(16, 4.5)]) == 1
    assert verdict([row(0, 3.0), row(12, None)]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_every_setting_that_is_measured_is_one_of_the_products():
    for given, frames in SETTINGS.values():
        assert given is None or MemoryConfig(**given) != MemoryConfig()
        assert frames is None or frames < 81
