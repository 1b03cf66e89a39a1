"""The rule that remakes a golden file's weights and inputs from their names, shapes and the file's seed.

Every number comes from numpy's legacy generator seeded with crc32(key) + seed, in float32, so no golden file has
to hold them. Knows numpy only.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def raw(key: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """Standard normal float32 numbers that depend on the key, the shape and the seed alone."""
    generator = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    return generator.standard_normal(tuple(shape)).astype(np.float32)


def weight(key: str, shape: Sequence[int], seed: int, overrides: Mapping[str, dict] | None = None) -> np.ndarray:
    """A model weight: gains around 1, other 1-D vectors small, the rest scaled by its fan-in.

    key: the state-dict key of the reference's own module, without prefix. overrides: {key: {"scale": x}}.
    """
    normal = raw(key, shape, seed)
    if overrides and key in overrides:
        return np.float32(overrides[key]["scale"]) * normal
    if key.endswith((".gamma", ".weight_g")) or (len(shape) == 1 and key.endswith("weight")):
        return np.float32(1.0) + np.float32(0.1) * normal
    if len(shape) >= 2:
        return normal * np.float32(1.0 / np.sqrt(int(np.prod(shape[1:]))))
    return normal * np.float32(0.02)


def inp(key: str, shape: Sequence[int], seed: int, scale: float = 1.0) -> np.ndarray:
    """A float32 input tensor."""
    return raw(key, shape, seed) * np.float32(scale)


def image(key: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """An 8-bit picture or video: normal around 128 with deviation 50."""
    return np.clip(np.rint(128.0 + 50.0 * raw(key, shape, seed).astype(np.float64)), 0, 255).astype(np.uint8)


def sha256(weights: Mapping[str, np.ndarray]) -> str:
    """Hash over the float32 bytes, C order, of all weights in sorted key order."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(np.ascontiguousarray(weights[key], dtype=np.float32).tobytes())
    return digest.hexdigest()
