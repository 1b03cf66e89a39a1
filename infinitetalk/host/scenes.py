"""Scenes of a host VIDEO with the host's progress bar, through which cancel reaches the search."""

from __future__ import annotations

from typing import Any

import comfy.utils

from ..scenes import Scenes, check_detection, find_scenes
from .source import open_source

STEP = 10  # frames between two messages to the browser


def detect(video: Any, detector: str, threshold: float, min_seconds: float) -> Scenes:
    """find_scenes() on a VIDEO. Raises InputError before anything is decoded, and the host's interrupt on cancel."""
    check_detection(detector, threshold, min_seconds)
    source = open_source(video)
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        if done % STEP == 0 or done == total:
            bar.update_absolute(done, total)

    return find_scenes(source, detector, threshold, min_seconds, report)
