"""Packages that only some commands need, imported where they are used. Knows no package by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from infinitetalk.errors import InputError


@contextmanager
def needed() -> Iterator[None]:
    """Around what imports a package: InputError where this Python lacks it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name}: this package is not there for {sys.executable}.", "Run this with the Python of ComfyUI."
        ) from error
