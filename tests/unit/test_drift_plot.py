"""The drift plot: a readable PNG for any number of windows, written whole or not at all, without global state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infinitetalk.drift_plot import plot
from infinitetalk.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def records(count: int) -> list[dict[str, float]]:
    names = ("colour", "colour_spread", "sharpness_ratio")
    continued = ("seam_ratio", "seam_group_ratio", "motion")
    return [
        {"window": n + 1, "begin": n * 2.88} | dict.fromkeys(names + (continued if n else ()), 1 + n % 7 / 10)
        for n in range(count)
    ]


def ink(path: Path) -> np.ndarray:
    """Share of coloured pixels (neither black, white nor grey) in each quarter of the height."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    coloured = picture.max(axis=2) - picture.min(axis=2) > 60
    return np.array([quarter.mean() for quarter in np.array_split(coloured, 4)])


@pytest.mark.parametrize("count", [0, 1, 2, 61, 601, 12500])
def test_any_number_of_windows_makes_a_picture_of_one_size(count, tmp_path):
    path = plot(records(count), tmp_path / "drift.png")
    assert Image.open(path).size == (1200, 960)
    assert [entry.name for entry in tmp_path.iterdir()] == ["drift.png"]
    drawn = ink(path) > 1e-4
    assert drawn.tolist() == [count > 0] * 2 + [count > 1] * 2  # one window continues nothing


def test_the_curve_is_where_the_values_are(tmp_path):
    """A run that gets worse has its line low on the left and high on the right of the first panel."""
    rising = [record | {"colour_spread": record["begin"] / 100} for record in records(200)]
    picture = np.asarray(Image.open(plot(rising, tmp_path / "drift.png")).convert("RGB")).astype(int)
    rows, columns = np.nonzero(abs(picture[:240] - (0x00, 0x72, 0xB2)).sum(axis=2) < 20)
    line = columns > 450  # right of the legend
    assert np.corrcoef(rows[line], columns[line])[0, 1] < -0.99


def test_an_older_plot_is_replaced_and_a_closed_folder_is_one_clear_error(tmp_path):
    path = tmp_path / "drift.png"
    path.write_bytes(b"old")
    assert Image.open(plot(records(3), path)).size == (1200, 960)
    with pytest.raises(InputError, match="cannot be written"):
        plot(records(3), tmp_path / "drift.png" / "below.png")


def test_matplotlib_is_loaded_only_to_plot_and_nothing_of_it_is_kept(tmp_path):
    code = (
        "import sys, infinitetalk.drift, infinitetalk.drift_plot as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"p.plot([{{'window': 1, 'begin': 0.0, 'colour': 1.0, 'colour_spread': 2.0}}], {str(tmp_path / 'a.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (tmp_path / "a.png").is_file()
