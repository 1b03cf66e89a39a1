"""Fixtures for every test: the ComfyUI under test, the small models, one running server, and a browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import dev
from demo import small_model, talking_model
from tests.host.server import ServerUnderTest


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of the ComfyUI to test on; `python3 dev.py test` makes one and names it in COMFYUI_PATH."""
    folder = Path(os.environ.get("COMFYUI_PATH") or dev.PINNED_HOST)
    if not (folder / "main.py").is_file():
        pytest.exit(f"There is no ComfyUI in {folder}: start the tests with python3 dev.py test", returncode=1)
    return folder


@pytest.fixture(scope="session")
def small_models() -> Path:
    """A models folder with the random small model (see demo/small_model.py). Tests must not write into it."""
    folder = dev.DEV / "small_model"
    small_model.make(folder)
    return folder


@pytest.fixture(scope="session")
def talking_models() -> Path:
    """The models folder with the small model that talks (see demo/talking_model.py). Tests must not write into it."""
    return talking_model.MODELS


@pytest.fixture(scope="session")
def server(comfyui: Path, small_models: Path, talking_models: Path, tmp_path_factory: pytest.TempPathFactory):
    """One real ComfyUI with this pack and both small models for the whole session; see tests/host/server.py."""
    with ServerUnderTest(comfyui, tmp_path_factory.mktemp("base"), small_models, talking_models) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium-like browser for Playwright's executable_path."""
    path = dev.find_chromium()
    if path is None:
        pytest.exit("There is no Chromium: start the tests with python3 dev.py test", returncode=1)
    return path
