"""Ours against the reference: recomputes recorded golden tensors with this library.

`python -m tests.parity DIR` runs every golden file of a folder; `pytest tests/parity` the ones kept beside it.
A new recompute function goes into a `case_*.py` module of this package, see `registry.py`.
"""
