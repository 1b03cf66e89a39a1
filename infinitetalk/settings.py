"""Guidance and step cache of a run as frozen values that check themselves.

Knows numbers and words only: no torch, no host, no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class GuidanceConfig:
    """Text and audio guidance scales, each 0 or more; 1 switches that guidance off.

    Reference defaults: text 5, audio 4; with a distillation LoRA text 1, audio 2.
    """

    text: float = 5.0
    audio: float = 4.0

    def __post_init__(self):
        for name, value in (("text scale", self.text), ("audio scale", self.audio)):
            if not (isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 100):
                raise InputError(f"{name}: {value!r} is outside 0 to 100.", "Use 5 (text) and 4 (audio), or 1 for off.")

    @property
    def branches(self) -> tuple[str, ...]:
        """The model calls of one step.

        Three as the reference makes them, two when the text scale is 1 (as the reference) or the
        audio scale is 1 (the third then cancels out exactly), one when both are 1.
        """
        text, audio = math.isclose(self.text, 1.0), math.isclose(self.audio, 1.0)
        if text:
            return ("cond",) if audio else ("cond", "drop_audio")
        return ("cond", "drop_text") if audio else ("cond", "drop_text", "uncond")
