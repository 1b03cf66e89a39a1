"""The one error type for bad input. Knows nothing else."""

from __future__ import annotations


class InputError(ValueError):
    """A value from the user that cannot work.

    The text has two lines: which input with which numbers, and what to do about it.
    """

    def __init__(self, problem: str, remedy: str):
        super().__init__(f"{problem}\n{remedy}")
        self.problem = problem
        self.remedy = remedy
