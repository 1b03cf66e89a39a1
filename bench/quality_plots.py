"""Plots of what `bench quality` found. Knows no model and no clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  # the backend comes first

FPS = 25
BLUE, ORANGE, GREY = "#2f6db3", "#d9822b", "#8a8a8a"


def draw(results: dict[str, dict[str, Any]], folder: Path) -> list[Path]:
    """A PNG for each plot whose rows are there; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {"lip_sync": (_curves, ("sync",)), "long": (_long, ("minute",)), "settings": (_settings, ("settings",))}
    made = []
    for name, (plot, needed) in plots.items():
        if all("not_run" not in results.get(row, {"not_run": ""}) for row in needed):
            figure = plot(results)
            made.append(folder / f"quality_{name}.png")
            figure.savefig(made[-1], dpi=110, bbox_inches="tight")
            pyplot.close(figure)
    return made


def _curves(results: dict[str, dict[str, Any]]):
    """Measured mouths over true ones, of three clips."""
    curves = results["sync"]["curves"]
    figure, axes = pyplot.subplots(len(curves), 1, figsize=(9, 1.7 * len(curves)), sharex=True, squeeze=False)
    for axis, curve, r in zip(axes[:, 0], curves, results["sync"]["openings"], strict=False):
        seconds = np.arange(len(curve["true"])) / FPS
        most = max(max(curve["seen"]), 1e-3)
        axis.fill_between(seconds, np.array(curve["true"]), color=GREY, alpha=0.35, lw=0, label="true opening")
        axis.plot(
            seconds, np.array(curve["seen"]) / most * max(curve["true"]), color=BLUE, lw=1.4, label="in the video"
        )
        axis.set_ylabel(f"r = {r:.2f}")
        axis.set_yticks([])
    axes[0, 0].legend(loc="upper right", fontsize=8, frameon=False)
    axes[-1, 0].set_xlabel("seconds")
    return figure


def _long(results: dict[str, dict[str, Any]]):
    """Face and colours over a minute, with and without correction, and lip-sync window by window."""
    figure, axes = pyplot.subplots(3, 1, figsize=(9, 6.5))
    kinds = (("minute", BLUE, "with correction"), ("minute_uncorrected", ORANGE, "without"))
    for row, colour, label in kinds:
        for n, one in enumerate(results.get(row, {}).get("each", [])):
            named = label if n == 0 else None
            axes[0].plot(one["face_colour"], color=colour, lw=1.2, label=named)
            axes[1].plot(one["colours"], color=colour, lw=1.2, label=named)
            axes[2].plot(range(1, len(one["windows"]) + 1), one["windows"], "o-", color=colour, ms=3, lw=1, label=named)
    titles = ("face against its first second, dE", "mean colour against the first second, dE", "lip-sync, r per window")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, frameon=False)
    axes[1].axhline(2, color=GREY, lw=0.8, ls="--")
    axes[1].set_xlabel("seconds")
    axes[2].set_xlabel("window")
    figure.tight_layout()
    return figure


def _settings(results: dict[str, dict[str, Any]]):
    """Lip-sync by steps and audio scale."""
    table = results["settings"]["table"]
    figure, axis = pyplot.subplots(figsize=(6, 3))
    scales = sorted({name.split("audio ")[1] for name in table}, key=float)
    steps = sorted({int(name.split(" ")[0]) for name in table})
    for scale, colour in zip(scales, (BLUE, ORANGE, GREY), strict=False):
        mean = [table[f"{count} steps, audio {scale}"]["opening"] for count in steps]
        worst = [table[f"{count} steps, audio {scale}"]["worst"] for count in steps]
        axis.plot(range(len(steps)), mean, "o-", color=colour, label=f"audio scale {scale}")
        axis.plot(range(len(steps)), worst, "o:", color=colour, ms=3, lw=1)
    axis.set_xticks(range(len(steps)), steps)
    axis.set_xlabel("steps")
    axis.set_ylabel("lip-sync, r (dotted: worst clip)")
    axis.legend(fontsize=8, frameon=False)
    return figure
