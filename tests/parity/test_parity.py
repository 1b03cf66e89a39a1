"""Every recorded case this library must reproduce, by name, from the golden files kept in `goldens/`.

A name stands for all results that are it or begin with it and "/" or ".".
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from .registry import Result, load_cases, run_file

GOLDENS = Path(__file__).parent / "goldens"
REQUIRED = (
    "audio_features",
    "loudness",
    "audio_windows/plan",
    "audio_windows/taps",
    "audio_windows/split",
    "audio_windows/proj",
    "audio_cross_attention",
    "dit_forward",
    "speaker_map",
    "two_speaker_mix",
    "guidance/vanilla",
    "guidance/apg",
    "schedule",
    "teacache",
    "buckets",
    "colour",
    "vae",
    "streaming_i2v",
    "streaming_v2v",
    "streaming_two",
)


@functools.cache
def results_of(kind: str) -> tuple[Result, ...]:
    return tuple(run_file(GOLDENS / f"{kind}.safetensors", load_cases()))


def test_every_case_module_can_be_imported():
    assert not load_cases().broken


@pytest.mark.parametrize("name", REQUIRED)
def test_matches_the_reference(name: str):
    found = results_of(name.split("/")[0])
    results = [result for result in found if f"{result.name}/".startswith((f"{name}/", f"{name}."))]
    assert results, f"no result is called {name}"
    failed = [result.line for result in results if not result.ok]
    assert not failed, "\n".join(failed)
