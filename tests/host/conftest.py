"""Fixtures for tests that use ComfyUI's modules in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inprocess import use_host


@pytest.fixture(scope="session")
def host(comfyui: Path) -> Path:
    """Put the host on sys.path, on the CPU and with plain attention; import `comfy` only in tests that ask for this."""
    use_host()
    return comfyui


@pytest.fixture(scope="session")
def machine(host: Path, small_models: Path):
    """The small model in this process; see tests/host/machine.py."""
    from tests.host.machine import Machine

    return Machine(small_models)
