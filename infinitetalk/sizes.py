"""Bytes for people, in one way wherever they stand side by side: decimal, as disks and downloads are sold.

A card of "24 GB" has 24 GiB, which is 25.8 GB here. Knows nothing of what is measured.
"""

from __future__ import annotations

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_ROUNDED_UP = 0.99995  # from here on one decimal shows 1000.0 of the smaller unit


def size_text(count: float) -> str:
    """253.8 MB, 16.6 GB; below 1 kB "999 bytes"."""
    for unit, scale in _UNITS:
        if count >= _ROUNDED_UP * scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"
