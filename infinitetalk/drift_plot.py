"""The drift of a run as one PNG: four measures over time, the worst window of each marked.

Drawn with matplotlib on a figure of its own: no pyplot, so nothing is kept after the call and no other user of
matplotlib in the process is touched. Knows how the measures are called, not how they are made.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from .disk import explained, write_whole
from .drift import MEASURES, summary
from .errors import InputError

# panel: what its axis says, and the measures in it with their colours (of Okabe and Ito, told apart by all)
PANELS = (
    ("colour distance\n(dE in CIELAB)", (("colour_spread", "distribution", "#0072B2"), ("colour", "mean", "#E69F00"))),
    ("sharpness\n(1 = reference)", (("sharpness_ratio", "variance of the Laplacian", "#009E73"),)),
    (
        "seam\n(1 = ordinary step)",
        (("seam_ratio", "all steps", "#D55E00"), ("seam_group_ratio", "steps between latent frames", "#56B4E9")),
    ),
    ("motion frames\n(levels of 255)", (("motion", "mean difference", "#CC79A7"),)),
)
SINGLE = 60  # windows up to which each has a mark of its own
BINS = 300  # above, so many groups of windows: their median as a line in the band of least to most
INCHES, DPI = (10.0, 8.0), 120


def plot(records: Sequence[dict[str, float]], path: str | Path) -> Path:
    """Draw the `drift.measure` of each window, 1 to any number, to a PNG of 1200 x 960 pixels at `path`.

    The file appears whole or not at all; an older one is replaced. Raises InputError when the disk is the cause, or
    when matplotlib cannot be loaded.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:  # only this needs it, and it is loaded only here
        raise InputError(
            f"drift plot: matplotlib cannot be loaded ({error}).", 'Install it: pip install "matplotlib>=3.9,<4".'
        ) from error
    path = Path(path)
    records = sorted(records, key=lambda record: record["window"])
    found = summary(records)
    divisor, unit = _unit(records[-1]["begin"] if records else 0.0)
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    windows = "1 window" if len(records) == 1 else f"{len(records)} windows"
    figure.suptitle(f"Drift of {windows}", fontsize=12)
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, (title, lines) in zip(panels, PANELS, strict=True):
        axes.set_ylabel(title, fontsize=9)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        for name, label, colour in lines:
            one = [(record["begin"] / divisor, record[name]) for record in records if name in record]
            _draw(axes, name, one, label, colour)
        _finish(axes, lines, found["measures"], {record["window"]: record["begin"] / divisor for record in records})
    panels[-1].set_xlabel(f"time of the window's first frame ({unit})", fontsize=9)
    picture = io.BytesIO()
    canvas.print_png(picture)
    with explained(path):
        write_whole(path, picture.getvalue())
    return path


def _unit(seconds: float) -> tuple[float, str]:
    """(seconds of one unit, its name) so that the axis has numbers people can read."""
    if seconds <= 180:
        return 1.0, "s"
    return (60.0, "min") if seconds <= 3 * 3600 else (3600.0, "h")


def _draw(axes, name: str, points: Sequence[tuple[float, float]], label: str, colour: str) -> None:
    if not points:
        return
    if len(points) <= 2 * BINS:
        marker = "o" if len(points) <= SINGLE else None
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker=marker, markersize=3.5, label=label)
        return
    edges = [len(points) * n // BINS for n in range(BINS + 1)]
    groups = [sorted(points[a:b], key=lambda point: point[1]) for a, b in zip(edges, edges[1:], strict=False)]
    times = [points[(a + b) // 2][0] for a, b in zip(edges, edges[1:], strict=False)]
    lowest, middle, highest = ([group[at][1] for group in groups] for at in (0, len(groups[0]) // 2, -1))
    axes.fill_between(times, lowest, highest, color=colour, alpha=0.25, linewidth=0)
    axes.plot(times, middle, color=colour, linewidth=1.2, label=f"{label} (median)")


def _finish(axes, lines, measures: dict, times: dict[int, float]) -> None:
    """The value without drift, the worst window of the panel's first measure, the axis's range, the legend."""
    name = lines[0][0]
    ideal = MEASURES[name][2]
    axes.axhline(ideal, color="black", linewidth=0.8, linestyle=":")
    if name not in measures:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured: no window continues another", transform=axes.transAxes, ha="center")
        return
    low, high = axes.dataLim.intervaly
    # a range below what can be seen would turn rounding into mountains
    low, high = min(low, ideal - 0.3 if ideal else 0.0), max(high, ideal + (0.3 if ideal else 1.0))
    axes.set_ylim(low - 0.15 * (high - low), high + 0.25 * (high - low))
    worst, window = measures[name]["worst"], measures[name]["worst_window"]
    first, last = min(times.values()), max(times.values())
    left, below = times[window] > (first + last) / 2, worst < ideal
    axes.plot([times[window]], [worst], "o", markersize=9, markerfacecolor="none", markeredgecolor="black")
    axes.annotate(
        f"window {window}: {worst:.2f}",
        (times[window], worst),
        xytext=(-8 if left else 8, -8 if below else 8),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top" if below else "bottom",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
    )
    if first == last:
        axes.set_xticks([first])
    axes.legend(loc="upper left" if left else "upper right", fontsize=7, framealpha=0.8, ncols=len(lines))
