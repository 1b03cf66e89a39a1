"""The presets are the published settings, and each misfit of preset and inputs is told once."""

from __future__ import annotations

import pytest

from infinitetalk.presets import NAMES, PRESETS, warnings

REFERENCE, FUSION, LIGHT = "reference 480p", "FusionX 8 steps", "LightX2V 4 steps"


@pytest.mark.parametrize(
    ("name", "steps", "shift", "text", "audio"),
    [
        ("reference 480p", 40, 7, 5, 4),
        ("reference 720p", 40, 11, 5, 4),
        ("FusionX 8 steps", 8, 2, 1, 2),
        ("LightX2V 4 steps", 4, 2, 1, 2),
    ],
)
def test_the_presets_are_the_published_settings(name, steps, shift, text, audio):
    preset = PRESETS[name]
    assert (preset.steps, preset.shift, preset.guidance.text, preset.guidance.audio) == (steps, shift, text, audio)
    assert tuple(PRESETS) == NAMES


@pytest.mark.parametrize(
    ("name", "lora", "seconds", "still", "told"),
    [
        (REFERENCE, False, 600, True, []),
        (REFERENCE, None, None, None, []),
        (REFERENCE, True, None, None, ["A LoRA is loaded"]),
        (FUSION, True, 60, True, []),
        (FUSION, None, None, True, []),
        (FUSION, False, 60, True, ["The FusionX LoRA is not loaded"]),
        (FUSION, True, 60.04, True, ["colours shift beyond 60 s from one picture"]),
        (FUSION, True, 61, None, ["colours shift beyond 60 s if the reference is one picture"]),
        (FUSION, True, 600, False, []),
        (FUSION, False, 600, True, ["The FusionX LoRA is not loaded", "The speech is 600 s long"]),
        (LIGHT, True, 600, True, []),
        (LIGHT, False, 600, True, ["The LightX2V LoRA is not loaded: 4 steps"]),
        (LIGHT, None, 600, True, []),
    ],
)
def test_warnings(name, lora, seconds, still, told):
    found = warnings(PRESETS[name], lora, seconds, still)
    assert len(found) == len(told)
    for text, part in zip(found, told, strict=True):
        assert part in text


def test_warnings_say_what_to_do():
    missing, long = warnings(PRESETS[FUSION], False, 100, True)
    assert "LoraLoaderModelOnly" in missing and "merged" in missing
    assert "Pan and Zoom" in long and "LightX2V" in long
