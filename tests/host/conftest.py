"""Fixtures for tests that use ComfyUI's modules in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.host.looks import look  # noqa: F401  # a fixture
from tests.inprocess import ROOT, use_host


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


@pytest.fixture(scope="module")
def pack(host) -> dict:
    """The pack's nodes by id, loaded by ComfyUI as a custom node."""
    import nodes

    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    return nodes.NODE_CLASS_MAPPINGS


@pytest.fixture
def temp(tmp_path, host):
    from tests.host.machine import folders

    with folders(tmp_path):
        yield tmp_path
