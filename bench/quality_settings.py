"""Rows of `bench quality` that change settings: scales and steps, step caches, weights, and what a window costs.

A row is a function as in quality_rows.py. Knows no goal.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from infinitetalk.settings import CacheConfig

from .quality_cases import Voices, speaking
from .quality_lips import lips, seen
from .quality_rows import STANDARD, Figures
from .quality_studio import Clip, Setting, Studio

STEPS, SCALES = (4, 8, 40), (1.0, 2.0, 4.0)
MANY = 40  # steps that the step caches are judged at
CURVE = "talker.magcache.json"
CACHES = {
    "teacache 0.2": {"cache": CacheConfig("teacache", 0.2)},
    "teacache 0.5": {"cache": CacheConfig("teacache", 0.5)},
    "magcache 0.06": {"cache": CacheConfig("magcache", 0.06, curve=CURVE)},
    "magcache 0.12": {"cache": CacheConfig("magcache", 0.12, curve=CURVE)},
    "easycache 0.05": {"easy_cache": 0.05},
    "easycache 0.2": {"easy_cache": 0.2},
}
KEPT = ("opening", "worst", "latent", "width", "closed", "lags")


def settings(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Every audio scale with every number of steps."""
    cases = speaking(voices, max(2, clips // 2), 1, 1)
    table = {}
    for steps in STEPS:
        for scale in SCALES:
            made = [studio.make(case, replace(STANDARD, steps=steps, audio=scale)) for case in cases]
            table[f"{steps} steps, audio {scale:g}"] = _figures(made, cases)
    worst = min(one["opening"] for one in table.values())
    return {"clips": len(cases), "table": table, "least": worst}


def caches(studio: Studio, voices: Voices, clips: int) -> Figures:
    """The step caches at 40 steps against none: time of the model, what each measure loses, how far pictures differ."""
    cases = speaking(voices, max(2, clips // 3), 1, 1)
    plain = replace(STANDARD, steps=MANY)
    calibrate = replace(plain, cache=CacheConfig("calibrate", curve=CURVE), fresh=True)
    if not (studio.work / "curves" / CURVE).exists():
        studio.make(cases[0], calibrate)
    return {"clips": len(cases), "table": _against(studio, cases, plain, CACHES)}


def weights(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Quantised diffusion models against the file's own precision."""
    cases = speaking(voices, max(2, clips // 2), 1, 1)
    others = {name: {"weights": name} for name in ("fp8_e4m3fn", "int8")}
    return {"clips": len(cases), "table": _against(studio, cases, STANDARD, others)}


def window(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Seconds of one window of a stream, part by part, and of what comes before the first."""
    from infinitetalk.host.reference import make_reference

    case = speaking(voices, 1, 1, 1)[0]
    studio.model(), studio.vae, studio.encoder  # loaded outside of the clock  # noqa: B018
    import torch

    image, clip = torch.from_numpy(case.picture)[None].float() / 255, studio.texts("still")[2]
    begun = time.perf_counter()
    make_reference(image, studio.vae, image.shape[1:3], clip, case.frames)
    before = {"reference": time.perf_counter() - begun}
    line = voices.line(0)
    studio.forget_voices()
    begun = time.perf_counter()
    whole = studio.features(line)
    before["speech"] = time.perf_counter() - begun
    before["speech_seconds"] = len(line.recording) / 16_000
    table = {}
    for steps in (4, 8):
        long = voices.line(0, frames=153)
        seconds = studio.make(replace(case, lines=(long,)), replace(STANDARD, steps=steps, fresh=True)).seconds
        parts = {part: seconds.get(part, 0.0) / 2 for part in ("DiT", "VAE decode", "VAE encode", "whole")}
        parts["rest"] = parts["whole"] - sum(parts[part] for part in ("DiT", "VAE decode", "VAE encode"))
        table[f"{steps} steps"] = parts
    return {"clips": 1, **before, "table": table, "threads": torch.get_num_threads(), "frames": whole.frames}


def _against(studio: Studio, cases: list, plain: Setting, others: dict[str, dict]) -> dict[str, Figures]:
    """`plain`, and each setting that differs from it, by name."""
    base = [studio.make(case, plain) for case in cases]
    table = {"none": _figures(base, cases)}
    for name, changes in others.items():
        made = [studio.make(case, replace(plain, **changes)) for case in cases]
        pairs = zip(made, base, strict=True)
        apart = [np.abs(one.frames.astype(np.int16) - other.frames).mean() for one, other in pairs]
        figures = _figures(made, cases)
        table[name] = {
            **figures,
            "speed_up": table["none"]["dit_seconds"] / figures["dit_seconds"],
            "apart": float(np.mean(apart)),  # of 255
            "skipped": float(np.mean([one.skipped for one in made])),
        }
    return table


def _figures(made: list[Clip], cases: list) -> Figures:
    people = [seen(one.frames, case)[0] for one, case in zip(made, cases, strict=True)]
    figures = {name: value for name, value in lips(people).items() if name in KEPT}
    return {**figures, "dit_seconds": float(np.mean([one.seconds["DiT"] for one in made]))}
