"""What `bench quality` found beside the goals, as lines and as a table in Markdown. Knows no model and no clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Measure:
    """One figure of a row. key: its name there, with slashes into what is nested; goal: (">=", 0.9) or None."""

    row: str
    key: str
    label: str
    goal: tuple[str, float] | None = None
    form: str = ".3f"
    unit: str = ""

    def of(self, results: Results) -> Any:
        """The figure in the results, None where it is not."""
        found: Any = results.get(self.row, {})
        for part in self.key.split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def met(self, value: Any) -> bool | None:
        """Whether the goal is met; None without a goal or a value."""
        if self.goal is None or value is None:
            return None
        least, limit = self.goal[0] == ">=", self.goal[1]
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, float) and math.isnan(one) for one in values):
            return False
        return all(one >= limit if least else abs(one) <= limit for one in values)

    def text(self, value: Any) -> str:
        """A figure as people read it."""
        if value is None:
            return "not run"
        if isinstance(value, list):
            return ", ".join(format(one, self.form) for one in value)
        if self.form.endswith("%"):
            return f"{100 * value:{self.form[:-1]}f} %"
        return f"{value:{self.form}}{' ' + self.unit if self.unit else ''}"


SHARE = ".1%"
MEASURES = (
    Measure("drawn", "opening", "drawn clips, no model: mouth opening", (">=", 0.99)),
    Measure("drawn", "width", "drawn clips: mouth width"),
    Measure("drawn", "corrected_worst", "drawn clips after colour correction: mouth opening, worst clip"),
    Measure("vae", "kept", "VAE alone: mouth opening, per frame", (">=", 0.97)),
    Measure("vae", "kept_worst", "VAE alone: worst clip"),
    Measure("vae", "kept_width", "VAE alone: mouth width"),
    Measure("vae", "psnr", "VAE alone: PSNR over 81 frames", (">=", 30.0), ".1f", "dB"),
    Measure("vae", "first", "VAE alone: PSNR of frame 0", (">=", 30.0), ".1f", "dB"),
    Measure("vae", "drift", "VAE alone: PSNR lost from the first 20 frames to the last", ("<=", 0.5), ".2f", "dB"),
    Measure("sync", "opening", "lip-sync, held-out voices and faces: per frame", (">=", 0.93)),
    Measure("sync", "latent", "lip-sync: per latent frame that is made", (">=", 0.97)),
    Measure("sync", "latent_all", "lip-sync: per latent frame, with the given picture"),
    Measure("sync", "worst", "lip-sync: worst clip, per frame", (">=", 0.80)),
    Measure("sync", "lags", "lip-sync: best lag of each clip, frames", ("<=", 1), "d"),
    Measure("sync", "other", "lip-sync: with the speech of another clip", ("<=", 0.15)),
    Measure("sync", "width", "mouth width against its truth", (">=", 0.7)),
    Measure("sync", "closed", "mouth shut in pauses, of all silent frames", (">=", 0.98), SHARE),
    Measure("silence", "closed", "mouth shut in noise, music and long pauses", (">=", 0.98), SHARE),
    Measure("human", "opening", "real human speech: per frame", (">=", 0.90)),
    Measure("human", "worst", "real human speech: worst clip"),
    Measure("human", "closed", "real human speech: mouth shut in pauses", None, SHARE),
    Measure("two", "own", "two people at once: own voice", (">=", 0.90)),
    Measure("two", "own_worst", "two people at once: worst mouth"),
    Measure("two", "other", "two people at once: the other's voice", ("<=", 0.15)),
    Measure("idle", "opening", "two people, one idle: the speaker", (">=", 0.90)),
    Measure("idle", "idle_closed", "two people, one idle: idle mouth shut", (">=", 0.98), SHARE),
    Measure("three", "own", "three people at once: own voice", (">=", 0.80)),
    Measure("three", "other", "three people at once: the others' voices"),
    Measure("minute", "colour_trend", "60 s, face's colours: last 10 s over first 10 s", ("<=", 1.2), ".2f"),
    Measure("minute", "shape_trend", "60 s, face's shape: last 10 s over first 10 s", ("<=", 1.2), ".2f"),
    Measure("minute", "drift", "60 s, colour drift with correction, worst second", ("<=", 2.0), ".2f", "dE"),
    Measure("minute_uncorrected", "drift", "60 s, colour drift without correction", None, ".2f", "dE"),
    Measure(
        "minute", "seam_made", "60 s, seams as made, against ordinary borders of latent frames", ("<=", 1.3), ".2f"
    ),
    Measure("minute", "seam", "60 s, seams in the finished file", None, ".2f"),
    Measure("minute_drawn", "seam", "60 s drawn, no model: seams in the finished file, by its key frames", None, ".2f"),
    Measure("minute_drawn", "colour_trend", "60 s drawn, one face: colours, last 10 s over first 10 s", None, ".2f"),
    Measure("minute", "opening", "60 s, lip-sync: per frame"),
    Measure("minute", "closed", "60 s, mouth shut in pauses", (">=", 0.98), SHARE),
    Measure("minute", "worst_window", "60 s, lip-sync: worst window"),
    Measure("dubbing", "table/SDEdit 0.3/camera", "dubbing, SDEdit 0.3: camera follows the source", (">=", 0.8)),
    Measure("dubbing", "table/SDEdit 0.5/camera", "dubbing, SDEdit 0.5: camera follows the source"),
    Measure("dubbing", "table/SDEdit 0.7/camera", "dubbing, SDEdit 0.7: camera follows the source"),
    Measure("dubbing", "table/from noise/camera", "dubbing from noise: camera follows the source"),
    Measure("dubbing", "table/SDEdit 0.3/opening", "dubbing, SDEdit 0.3: the new speech"),
    Measure("dubbing", "table/SDEdit 0.3/source_speech", "dubbing, SDEdit 0.3: the source's own speech"),
    Measure("settings", "least", "audio scales 1, 2, 4 at 4, 8, 40 steps: the least lip-sync", (">=", 0.88)),
)
TABLES = {  # row -> (title, columns as (key, heading, form))
    "settings": (
        "Audio scale and steps",
        (("opening", "per frame", ".3f"), ("worst", "worst clip", ".3f"), ("latent", "per latent frame", ".3f"),
         ("width", "width", ".3f"), ("closed", "shut in pauses", SHARE)),
    ),
    "caches": (
        "Step caches, 40 steps, audio scale 2",
        (("speed_up", "DiT faster", ".2f"), ("skipped", "forwards skipped", ".0f"), ("opening", "per frame", ".3f"),
         ("worst", "worst clip", ".3f"), ("width", "width", ".3f"), ("closed", "shut in pauses", SHARE),
         ("apart", "pixels apart, of 255", ".2f")),
    ),
    "weights": (
        "Quantised diffusion model",
        (("speed_up", "DiT faster", ".2f"), ("opening", "per frame", ".3f"), ("worst", "worst clip", ".3f"),
         ("width", "width", ".3f"), ("closed", "shut in pauses", SHARE), ("apart", "pixels apart, of 255", ".2f")),
    ),
    "dubbing": (
        "Video dubbing, moving camera",
        (("camera", "camera", ".3f"), ("opening", "new speech", ".3f"), ("source_speech", "source's speech", ".3f"),
         ("drift", "colours from the source, dE", ".2f")),
    ),
    "window": (
        "Seconds of a window of 81 frames, 128x128",
        (("DiT", "DiT", ".1f"), ("VAE decode", "VAE decode", ".1f"), ("VAE encode", "VAE encode", ".1f"),
         ("rest", "rest", ".2f"), ("whole", "whole", ".1f")),
    ),
    "anchor": (
        "Colours pulled to, source whose light fades",
        (("mean", "from the source, dE", ".2f"), ("end", "at the end, dE", ".2f")),
    ),
    "pan_and_zoom": (
        "Twenty seconds from one picture",
        (("worst", "worst second, dE", ".2f"), ("end", "last 5 s, dE", ".2f"), ("sharpness", "sharpness", ".2f")),
    ),
}  # fmt: skip


def judge(row: str, figures: dict[str, Any]) -> list[str]:
    """A line for each measure of a row, with its goal."""
    if "not_run" in figures:
        return [f"  not run: {figures['not_run']}"]
    lines = []
    for measure in MEASURES:
        if measure.row == row:
            value = measure.of({row: figures})
            lines.append(f"  {measure.label:<62} {measure.text(value)}{_verdict(measure, value)}")
    return [*lines, f"  in {figures['seconds']:.0f} s, {figures['processor_seconds']:.0f} s of the processor"]


def table(results: Results) -> str:
    """All rows that are there, in Markdown."""
    lines = ["| measure | found | goal | clips |", "|---|---|---|---|"]
    for measure in MEASURES:
        figures = results.get(measure.row)
        if figures is not None:
            value = measure.of(results)
            wanted = "" if measure.goal is None else f"{measure.goal[0]} {measure.text(measure.goal[1])}"
            mark = {True: " (met)", False: " (missed)", None: ""}[measure.met(value)]
            lines.append(f"| {measure.label} | {measure.text(value)} | {wanted}{mark} | {figures.get('clips', '')} |")
    for row, (title, columns) in TABLES.items():
        if "table" in results.get(row, {}):
            lines += ["", f"{title}, {results[row]['clips']} clips:", ""]
            lines.append("| | " + " | ".join(heading for _, heading, _ in columns) + " |")
            lines.append("|---" * (len(columns) + 1) + "|")
            for name, figures in results[row]["table"].items():
                cells = [_cell(figures.get(key), form) for key, _, form in columns]
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def missed(results: Results) -> list[str]:
    """Labels of the goals that the rows which are there do not meet."""
    return [measure.label for measure in MEASURES if measure.met(measure.of(results)) is False]


def _verdict(measure: Measure, value: Any) -> str:
    met = measure.met(value)
    if met is None:
        return ""
    return f"   goal {measure.goal[0]} {measure.text(measure.goal[1])}: {'met' if met else 'MISSED'}"


def _cell(value: Any, form: str) -> str:
    return "" if value is None else Measure("", "", "", None, form).text(value)
