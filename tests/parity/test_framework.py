"""The parity check itself: it must notice every way a golden file can fail to be reproduced."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from . import rule
from .__main__ import main
from .registry import Golden, Registry, Result, error, load_cases, run_file

GOLDENS = Path(__file__).parent / "goldens"


def copy_of(kind: str, folder: Path, change=lambda tensors, meta: None) -> Path:
    """A copy of a golden file after `change` edited its tensors and metadata in place."""
    source = GOLDENS / f"{kind}.safetensors"
    with safe_open(source, "pt") as file:
        meta = dict(file.metadata())
    tensors = load_file(source)
    change(tensors, meta)
    path = folder / f"{kind}.safetensors"
    save_file(tensors, path, metadata=meta)
    return path


def only(function, name: str) -> Registry:
    return Registry({name: function})


def read_all(golden: Golden) -> Iterator[Result]:
    for name in golden.names:
        yield Result("read", error(golden[name], golden[name]), 0)


def test_rule_numbers_are_the_published_ones():
    assert rule.raw("a", (2,), 0).dtype == np.float32
    np.testing.assert_array_equal(rule.weight(".gamma", (3, 1), 5), 1 + np.float32(0.1) * rule.raw(".gamma", (3, 1), 5))
    np.testing.assert_array_equal(rule.weight("l.weight", (2, 4), 5), np.float32(0.5) * rule.raw("l.weight", (2, 4), 5))
    np.testing.assert_array_equal(rule.weight("l.bias", (2,), 5), np.float32(0.02) * rule.raw("l.bias", (2,), 5))
    np.testing.assert_array_equal(
        rule.weight("l.bias", (2,), 5, {"l.bias": {"scale": 3.0}}), np.float32(3) * rule.raw("l.bias", (2,), 5)
    )
    picture = rule.image("i", (100, 100, 3), 5)
    assert picture.dtype == np.uint8 and abs(picture.mean() - 128) < 2 and picture.std() > 40


@pytest.mark.parametrize("kind, part", [("vae", None), ("streaming_i2v", "dit"), ("streaming_i2v", "vae")])
def test_weights_match_the_recorded_hash(kind, part):
    assert len(Golden(GOLDENS / f"{kind}.safetensors").weights(part)) > 100


def test_weights_of_another_seed_are_refused(tmp_path):
    def other_seed(tensors, meta):
        meta["seed"] = "1"

    golden = Golden(copy_of("vae", tmp_path, other_seed))
    with pytest.raises(ValueError, match="do not follow the rule"):
        golden.weights()


def test_error_sees_shapes_and_nan():
    assert error(torch.ones(2), torch.ones(3)) == math.inf
    assert error(torch.tensor([math.nan]), torch.tensor([1.0])) == math.inf
    assert error(torch.tensor([1, 250], dtype=torch.uint8), torch.tensor([3, 0], dtype=torch.uint8)) == 250
    assert error(-math.inf, -math.inf) == 0


def test_tensors_nobody_compared_fail_by_name(tmp_path):
    def part(golden: Golden) -> Iterator[Result]:
        yield Result("lufs", error(golden["lufs"], golden["lufs"]), 0)

    results = {r.name: r.ok for r in run_file(copy_of("loudness", tmp_path), only(part, "loudness"))}
    assert results.pop("loudness/lufs")
    assert "loudness/gain" in results and not any(results.values())


def test_crash_fails_the_case_and_spares_the_others(tmp_path):
    def crash(golden: Golden) -> Iterator[Result]:
        raise RuntimeError("no such feature")
        yield

    path = copy_of("schedule", tmp_path)
    results = run_file(path, Registry({"schedule/a": crash, "schedule/b": read_all}))
    assert [(r.name, r.ok) for r in results] == [("schedule/a", False), ("schedule/b/read", True)]
    assert "no such feature" in results[0].line


def test_worst_result_of_a_name_decides(tmp_path):
    def two(golden: Golden) -> Iterator[Result]:
        yield from read_all(golden)
        yield Result("read", 0.5, 0.1)
        yield Result("read", 0.01, 0.1)

    (result,) = run_file(copy_of("schedule", tmp_path), only(two, "schedule"))
    assert (result.error, result.ok) == (0.5, False)


def test_unknown_kind_fails_by_name(tmp_path):
    def rename(tensors, meta):
        meta["case"] = "lip_reading"

    (result,) = run_file(copy_of("schedule", tmp_path, rename), only(read_all, "schedule"))
    assert not result.ok and "lip_reading" in result.name


def test_command_counts_and_exits(tmp_path, capsys):
    copy_of("loudness", tmp_path)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed"

    def louder(tensors, meta):
        tensors["gain"] = tensors["gain"] * 1.001

    copy_of("loudness", tmp_path, louder)
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 2 failed"
    assert [line.split()[0] for line in lines if "FAIL" in line] == ["broken", "loudness/gain"]


def test_command_fails_on_an_empty_folder(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "no *.safetensors" in capsys.readouterr().err


def test_other_sizes_and_seeds_of_a_kind_are_recomputed(tmp_path):
    """A plan of numbers in no recorded file, with the taps written by hand."""

    def shorter(tensors, meta):
        config = json.loads(meta["config"])
        run = {"audio_frames": [8], "frame_num": 9, "motion_frame": 5, "max_frames_num": 100, "final_frames": 8}
        meta["config"] = json.dumps({**config, "runs": {"z": run}})
        for name in [name for name in tensors if name[1] == "."]:
            del tensors[name]
        tensors["z.windows"] = torch.tensor([[0, 9]], dtype=torch.int32)
        line = [0, 0, *range(8), 7, 6, 5]  # 8 frames, then 4 of them backwards (9 - 8 + 3), clamped at both ends
        tensors["z.w0.person1"] = torch.tensor([line[i : i + 5] for i in range(9)], dtype=torch.int32)

    path = copy_of("audio_windows", tmp_path, shorter)
    results = run_file(path, load_cases())
    assert all(r.ok for r in results), [r.line for r in results]
    assert "audio_windows/taps/z" in [r.name for r in results]
