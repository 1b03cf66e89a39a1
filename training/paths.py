"""Paths on the command lines of the trainings: what has to be there is looked for before anything is made.

Knows argparse, no training.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def existing(text: str) -> Path:
    """A file or folder that is there, as argparse's type. Its error names the path and who makes such files."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} is not there: training/README.md says which step makes it.")
    return path
