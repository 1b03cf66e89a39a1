"""Any stretch of a recording at another rate, computed from just the samples that reach it.

The filter is finite, so a stretch found in pieces is the stretch of the whole: blocks are cut where both rates meet,
at multiples of rate / gcd, and overlap by the filter's reach. Knows no files and no sounds, only a way to read.

Shapes: C channels; samples of the source at `rate`, of the result at `target` Hz.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torchaudio

Read = Callable[[int, int], torch.Tensor]  # (start, count) -> float32 [C, count], zeros where there is no sound

# A Kaiser-windowed sinc, flat to 7.3 kHz and silent above 8 kHz at 16 kHz; see audio.py for what it was set by.
ZERO_CROSSINGS, ROLLOFF, BETA = 90, 0.957, 12.0


class Resampler:
    """From `rate` to `target` Hz."""

    def __init__(self, rate: int, target: int):
        common = math.gcd(rate, target)
        self._orig, self._new = rate // common, target // common
        self._filter = torchaudio.transforms.Resample(
            rate,
            target,
            lowpass_filter_width=ZERO_CROSSINGS,
            rolloff=ROLLOFF,
            resampling_method="sinc_interp_kaiser",
            beta=BETA,
            dtype=torch.float32,
        )
        reach = math.ceil(ZERO_CROSSINGS * self._orig / (min(self._orig, self._new) * ROLLOFF))
        self._margin = math.ceil(reach / self._orig)  # blocks

    def span(self, read: Read, start: int, count: int) -> torch.Tensor:
        """Samples start..start + count of the result, float32 [C, count], of what `read` gives."""
        first, last = start // self._new, -(-(start + count) // self._new)  # blocks of `new` samples of the result
        begin = first - self._margin
        source = read(begin * self._orig, (last + self._margin - begin) * self._orig)
        skip = start - begin * self._new
        return self._filter(source)[:, skip : skip + count]
