"""Rows of `bench quality` in which length is the matter: a minute from one picture, video dubbing, what drifts.

A row is a function as in quality_rows.py. Knows no goal.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from infinitetalk.config import StreamConfig
from infinitetalk.segment import write_segment
from infinitetalk.source import VideoSource
from talker.flow import flow_correlation
from talker.lasting import colour_drift, identity, seams, trend
from talker.measure import head_box
from talker.motion import CAMERAS
from talker.scene import person_boxes, search_boxes
from talker.sync import correlation

from .quality_cases import FPS, Case, Voices, scenes
from .quality_lips import seen
from .quality_rows import STANDARD, Figures
from .quality_studio import Clip, Setting, Studio, read_frames

MINUTE = 60 * FPS  # frames
DUBBED = 153  # frames: two windows
FADING, DIMMED = 225, 0.75  # frames of a source whose light fades, three windows; how much is left at its end
STILL = 20 * FPS  # frames of a picture that is panned over
WINDOW = StreamConfig().window
STRENGTHS = {"from noise": 1.0, "SDEdit 0.7": 0.7, "SDEdit 0.5": 0.5, "SDEdit 0.3": 0.3}
EACH = 10  # seconds at the start and at the end that are compared


def minute(studio: Studio, voices: Voices, clips: int) -> Figures:
    """A minute of image-to-video of several people, one at a time: identity, colours, seams and lips."""
    return _minutes(studio, voices, max(1, clips // 4), STANDARD)


def minute_uncorrected(studio: Studio, voices: Voices, clips: int) -> Figures:
    """The same without colour correction, of fewer people."""
    return _minutes(studio, voices, max(1, clips // 12), replace(STANDARD, colour=0.0))


def minute_drawn(studio: Studio, voices: Voices, clips: int) -> Figures:
    """What a perfect minute scores, written window by window as a run writes it: the limit of measure and encoder."""
    case = _minute(voices, 0)
    video, parts = case.video, []
    with tempfile.TemporaryDirectory() as folder:
        for begin, end in itertools.pairwise((0, *_borders(MINUTE), MINUTE)):
            write_segment(video[begin:end], Path(folder) / f"{begin}.mp4")
            parts.append(read_frames(Path(folder) / f"{begin}.mp4"))
    return _pooled([_lasting(np.concatenate(parts), case)])


def _minute(voices: Voices, face: int) -> Case:
    return Case(scenes(face + 1, 1, 8)[-1], (voices.long_line(3 * face, MINUTE),))


def _borders(frames: int) -> np.ndarray:
    """First new frame of every window but the first."""
    return np.arange(WINDOW.frames, frames - FPS, WINDOW.frames - WINDOW.motion)


def _minutes(studio: Studio, voices: Voices, faces: int, setting: Setting) -> Figures:
    rows = []
    for face in range(faces):
        case = _minute(voices, face)
        clip = studio.make(case, setting)
        told = [one for one in clip.drift["windows"] if "seam" in one]  # measured by the run, before the encoder
        seam = float(np.mean([one["seam"] for one in told]) / np.mean([one["group_step"] for one in told]))
        rows.append({**_lasting(clip.frames, case), "seam_made": seam})
    return _pooled(rows)


def _pooled(rows: list[Figures]) -> Figures:
    """Means over the people; each one's curves stay beside them."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if isinstance(rows[0][name], float)}
    trends = {
        f"{kind}_trend": trend(np.array([row[f"face_{kind}"] for row in rows]), EACH) for kind in ("colour", "shape")
    }
    return {**means, **trends, "drift": max(row["drift"] for row in rows), "clips": len(rows), "each": rows}


def _lasting(frames: np.ndarray, case: Case) -> Figures:
    mouth_box, person = case.boxes[0], seen(frames, case)[0]
    face = identity(frames, mouth_box, case.people[0])
    colours = colour_drift(frames, [mouth_box])
    borders = _borders(len(frames))
    steps, score = seams(frames, borders, [mouth_box]), person.score
    windows = [correlation(person.mouth.opening[at : at + 72], person.opening[at : at + 72]) for at in (0, *borders)]
    return {
        "face_colour": face.colour.tolist(),
        "face_shape": face.shape.tolist(),
        "drift": float(colours.max()),
        "drift_end": float(colours[-EACH:].mean()),
        "colours": colours.tolist(),
        "seam": float(steps.plain.mean()),
        "seam_worst": float(steps.plain.max()),
        "seam_steady": float(steps.steady.mean()),
        "opening": score.opening,
        "latent": score.latent,
        "closed": score.closed,
        "lag": float(score.lag),
        "worst_window": float(np.nanmin(windows)),
        "windows": [float(one) for one in windows],
    }


def dubbing(studio: Studio, voices: Voices, clips: int) -> Figures:
    """A drawn source video whose camera moves, dubbed with other speech: from noise, by SDEdit, by the prompt."""
    moves = [1, 2, 3, 4] * max(1, clips // 12)
    table: dict[str, list[Figures]] = {}
    for n, (scene, camera) in enumerate(zip(scenes(len(moves), 1, 9, moves), moves, strict=True)):
        source = Case(scene, (voices.line(n, 1, DUBBED),))
        case = Case(scene, (voices.line(n + 5, 2, DUBBED),))
        shown = source.video
        reference = studio.video_reference(shown)
        settings = {name: replace(STANDARD, source_strength=share) for name, share in STRENGTHS.items()}
        settings["camera in the prompt"] = replace(STANDARD, prompt=CAMERAS[camera])
        for name, setting in settings.items():
            frames = studio.make(case, setting, reference).frames
            person, before = seen(frames, case)[0], source.truth[0][0]
            table.setdefault(name, []).append({
                "camera": flow_correlation(frames, shown, _heads(case)),
                "opening": person.score.opening,
                "source_speech": correlation(person.mouth.opening, before),
                "drift": float(colour_drift(frames, source=shown).max()),
            })  # fmt: skip
    means = {name: {key: float(np.mean([one[key] for one in rows])) for key in rows[0]} for name, rows in table.items()}
    return {"clips": len(moves), "table": means, "each": table, "cameras": [CAMERAS[one] for one in moves]}


def _heads(case: Case) -> np.ndarray:
    """Where the heads are in each frame, [P, F, 4], with the camera that the scene has."""
    times = torch.arange(case.frames) / FPS
    mouths, people = (boxes(case.scene, times)[0].numpy() for boxes in (search_boxes, person_boxes))
    return np.stack([head_box(one.T, other.T).T for one, other in zip(mouths, people, strict=True)])


def anchor(studio: Studio, voices: Voices, clips: int) -> Figures:
    """What colours are pulled to when the light of the source fades: nothing, the first frame, each window's own."""
    scene = scenes(1, 1, 10)[0]
    light = np.linspace(1, DIMMED, FADING, dtype=np.float32)[:, None, None, None]
    source = (Case(scene, (voices.line(0, 3, FADING),)).video * light).round().astype(np.uint8)
    reference = studio.video_reference(source)
    case = Case(scene, (voices.line(6, 3, FADING),))
    table = {}
    for name, changes in {
        "none": {"colour": 0.0},
        "first": {"colour_reference": "first"},
        "window": {"colour_reference": "window"},
    }.items():
        frames = studio.make(case, replace(STANDARD, **changes), reference).frames
        away = colour_drift(frames, source=source)
        table[name] = {"mean": float(away.mean()), "end": float(away[-1])}
    return {"clips": 1, "table": table}


def pan_and_zoom(studio: Studio, voices: Voices, clips: int) -> Figures:
    """Twenty seconds from one picture, at rest and slowly zoomed, each with and without colour correction."""
    from infinitetalk.host.panzoom import pan_and_zoom as moving
    from infinitetalk.host.reference import make_video_reference
    from infinitetalk.panzoom import Move

    scene = scenes(1, 1, 11)[0]
    case = Case(scene, (voices.line(1, 4, STILL),))
    picture = torch.from_numpy(case.picture)[None].float() / 255
    path = Path(moving(picture, Move(), STILL, 12))
    shown, clip = read_frames(path), studio.texts("still")[2]
    zoomed = make_video_reference(VideoSource(path), studio.vae, picture.shape[1:3], clip)
    table = {}
    for name, reference, source in (("at rest", None, None), ("pan and zoom", zoomed, shown)):
        for colour in (0.0, 1.0):
            made = studio.make(case, replace(STANDARD, colour=colour), reference)
            table[f"{name}, correction {colour:g}"] = _drifted(made, source)
    return {"clips": 1, "table": table}


def _drifted(made: Clip, source: np.ndarray | None) -> Figures:
    """Colour distance to the first second, or to the source's own; sharpness by the run's report."""
    colours = colour_drift(made.frames, source=source)
    sharp = made.drift["summary"]["measures"]["sharpness_ratio"]
    return {"worst": float(colours.max()), "end": float(colours[-5:].mean()), "sharpness": sharp["last"]}
