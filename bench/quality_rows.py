"""Rows of `bench quality` made of clips of one window: the VAE alone, lip-sync, several people.

A row is a function of the studio, the voices and the number of clips, and gives figures by name. What the figures
mean stands in quality_lips.py. Knows no goal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from infinitetalk.audio import loudness_gain
from infinitetalk.colour import match_colour
from infinitetalk.sound import MemorySound
from talker.measure import mouth
from talker.sync import correlation, within_latents
from talker.truth import mouth_of_sound

from .quality_cases import SAMPLES, SPOKEN, WINDOW, Case, Line, Voices, scenes, speaking
from .quality_lips import closed, lips, seen, together
from .quality_studio import Setting, Studio

Figures = dict[str, Any]
Row = Callable[[Studio, Voices, int], Figures]
STANDARD = Setting()
EDGE = 20  # frames: those at the end against those at the start


def drawn(studio: Studio, voices: Voices, clips: int) -> Figures:
    """What perfect clips score: the measures' own limit."""
    cases = speaking(voices, clips, 1, 1)
    alone = [seen(case.video, case)[0] for case in cases]
    graded = lips([seen(_corrected(case.video, case.picture), case)[0] for case in cases])
    pairs = [seen(case.video, case) for case in speaking(voices, max(1, clips // 2), 2, 2)]
    figures = {"own": together(pairs)["own"], "beside": together(pairs)["other"]}
    return {**lips(alone), **figures, "corrected": graded["opening"], "corrected_worst": graded["worst"]}


def vae(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Drawn clips through the VAE and back."""
    from infinitetalk.host.vae import WanVae

    codec, people, rows, noises = WanVae(studio.vae), [], [], []
    for case in speaking(voices, clips, 1, 1):
        true = case.video
        back = codec.decode(codec.encode(torch.from_numpy(true).float() / 255))
        back = (back.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        noises.append(np.square(back.astype(np.float32) - true).mean(axis=(1, 2, 3)))
        person = seen(back, case)[0]
        known = mouth(true, case.boxes[0])
        rows.append([
            correlation(person.mouth.opening, known.opening),
            correlation(within_latents(person.mouth.opening), within_latents(known.opening)),
            correlation(person.mouth.width, known.width),
        ])  # fmt: skip
        people.append(person)
    rows, noises = np.array(rows), np.array(noises)
    levels = {"psnr": noises, "first": noises[:, :1], "start": noises[:, :EDGE], "end": noises[:, -EDGE:]}
    quality = {name: float(np.mean([_psnr(clip.mean()) for clip in part])) for name, part in levels.items()}
    return {
        **quality,
        "drift": quality["start"] - quality["end"],
        "kept": float(rows[:, 0].mean()),
        "kept_worst": float(rows[:, 0].min()),
        "kept_within": float(rows[:, 1].mean()),
        "kept_width": float(rows[:, 2].mean()),
        "psnr_by_frame": [_psnr(level) for level in noises.mean(axis=0)],
        **{name: value for name, value in lips(people).items() if name in ("clips", "opening", "worst", "closed")},
    }


def sync(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Lip-sync of held-out voices and faces at the standard setting."""
    cases = speaking(voices, clips, 1, 1)
    people = [seen(studio.make(case, STANDARD).frames, case)[0] for case in cases]
    curves = [{"true": one.opening.tolist(), "seen": (one.mouth.opening / one.unit).tolist()} for one in people[:3]]
    return {**lips(people), "curves": curves}


def silence(studio: Studio, voices: Voices, clips: int, gate: bool = False) -> Figures:
    """Mouths where nobody speaks: noise, music and pauses."""
    setting = replace(STANDARD, silence_gate=gate)
    lines = voices.silences(clips)
    cases = [Case(scene, (line,)) for scene, line in zip(scenes(len(lines), 1, 3), lines, strict=True)]
    return {**closed([seen(studio.make(case, setting).frames, case)[0] for case in cases]), "clips": len(cases)}


def gate(studio: Studio, voices: Voices, clips: int) -> Figures:
    """The same with the silence gate on, and what it costs lip-sync."""
    cases = speaking(voices, clips, 1, 1)
    setting = replace(STANDARD, silence_gate=True)
    people = [seen(studio.make(case, setting).frames, case)[0] for case in cases]
    quiet = silence(studio, voices, clips, gate=True)
    return {**lips(people), "quiet_closed": quiet["closed"], "quiet_silent": quiet["silent"]}


def human(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Lip-sync of real people's speech."""
    lines = human_lines(clips)
    cases = [Case(scene, (line,)) for scene, line in zip(scenes(len(lines), 1, 4), lines, strict=True)]
    people = [seen(studio.make(case, STANDARD).frames, case)[0] for case in cases]
    return {**lips(people), "recordings": sorted({line.name for line in lines})}


def human_lines(count: int) -> list[Line]:
    """`count` stretches of freely licensed recordings, by voices in turn. Raises NotFetched where there are none."""
    import subprocess

    from .human_speech import VOICES, NotFetched, pieces

    try:
        recordings = [pieces(voice, -(-count // len(VOICES))) for voice in VOICES]
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise NotFetched(f"the recordings could not be fetched: {error}") from error
    lines = []
    for n in range(count):
        piece = recordings[n % len(VOICES)][n // len(VOICES)]
        gain = loudness_gain(MemorySound(piece.wave[None, None], 25 * SAMPLES))[1]
        opening, width = (each.numpy() for each in mouth_of_sound(piece.wave * gain))
        fits = [at for at in range(len(opening) - WINDOW) if (opening[at : at + WINDOW] > 0).mean() >= SPOKEN]
        start = fits[(n * 37) % len(fits)] if fits else 0
        part = slice(start, start + WINDOW)
        name = f"{piece.voice.package}: {', '.join(piece.prompts)}"
        lines.append(Line(piece.wave, name, start, opening[part], width[part]))
    return lines


def two(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Two people who speak at once."""
    return _beside(studio, speaking(voices, clips, 2, 5))


def three(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Three people who speak at once."""
    return _beside(studio, speaking(voices, max(2, clips // 2), 3, 6))


def idle(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Two people of whom one says nothing, the left and the right one in turn."""
    cases = speaking(voices, clips, 2, 7, idle=True)
    everybody = [seen(studio.make(case, STANDARD).frames, case) for case in cases]
    speaks = [one for people in everybody for one in people if one.speaks]
    listens = [one for people in everybody for one in people if not one.speaks]
    beside = [
        correlation(quiet.mouth.opening, loud.opening) for quiet, loud in zip(listens, speaks, strict=True)
    ]  # of the idle mouth with the voice that it must not follow
    figures = {name: value for name, value in lips(speaks).items() if name in ("clips", "opening", "worst", "lags")}
    return {**figures, "idle_closed": closed(listens)["closed"], "idle_follows": float(np.mean(beside))}


def _beside(studio: Studio, cases: list[Case]) -> Figures:
    return together([seen(studio.make(case, STANDARD).frames, case) for case in cases])


def _corrected(video: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """uint8 [F, H, W, 3] as the sampler's colour correction leaves it."""
    frames, reference = (torch.from_numpy(each).float() / 255 for each in (video, picture))
    return (match_colour(frames, reference) * 255).round().to(torch.uint8).numpy()


def _psnr(error: float) -> float:
    """dB of a mean squared error in 8-bit levels."""
    return float(10 * np.log10(255**2 / max(error, 1e-6)))
