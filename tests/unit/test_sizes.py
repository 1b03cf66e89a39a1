"""Bytes for people: one text for one number, and no other file that makes such a text by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infinitetalk.sizes import size_text

ROOT = Path(__file__).resolve().parents[2]
OWN = re.compile(r"\{[^{}]*(?:1e[369]|10 ?\*\* ?[369]|2 ?\*\* ?[123]0|GIB|MIB)[^{}]*:[^{}]*f\}")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (5000, "5.0 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (253_806_278, "253.8 MB"),
        (999_960_000, "1.0 GB"),
        (16_643_349_018, "16.6 GB"),
        (24 * 2**30, "25.8 GB"),
        (1.5e9, "1.5 GB"),
    ],
)
def test_bytes_are_decimal_with_one_digit(count, text):
    assert size_text(count) == text


def test_nothing_else_writes_bytes_in_its_own_way():
    """Where users compare them: "15.7 GB" of the check beside "14.6 GiB" of the run was the same size."""
    files = [path for folder in ("infinitetalk", "infinitetalk_cli", "nodes") for path in (ROOT / folder).rglob("*.py")]
    found = {
        path.name: OWN.findall(text)
        for path in files
        if path.name != "sizes.py" and OWN.search(text := path.read_text(encoding="utf-8"))
    }
    assert found == {}
