"""What tests of the check share: a host whose folders hold every file of a workflow, and a look over the workflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from infinitetalk.check.cost import Machine
from infinitetalk.check.report import Report
from tests.host.full_files import published, sparse_file
from tests.unit.test_check_scene import write_wave
from tests.unit.workflow import graph

CARD = Machine("a card of 24 GB", 24 * 10**9, 23 * 10**9, 64 * 10**9, 60 * 10**9, 10**12, 150e12, 100e12, 20e9)
TYPES = ("diffusion_models", "model_patches", "vae", "text_encoders", "clip_vision", "audio_encoders", "loras")


@pytest.fixture
def look(tmp_path, monkeypatch):
    """look(changes, **nodes) -> the report on a workflow whose files are all there."""
    import folder_paths
    from comfy_execution.graph import DynamicPrompt

    from infinitetalk.host.model_files import register_folders
    from infinitetalk.host.preflight import look_over

    models = tmp_path / "models"
    known = dict(folder_paths.folder_names_and_paths)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    for name in TYPES:
        (models / name).mkdir(parents=True)
        known[name] = ([str(models / name)], folder_paths.supported_pt_extensions)
    register_folders()
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    write_wave(tmp_path / "speech.wav", 10.0)
    Image.new("RGB", (640, 640)).save(tmp_path / "face.png")
    published(models)
    named = {"encoder": {"audio_encoder": "wav2vec.safetensors"}}

    def look(changes: dict[str, dict] | None = None, **nodes) -> Report:
        made = graph({**named, **(changes or {})}, **nodes)
        return look_over(DynamicPrompt(dict(made.nodes)), machine=CARD)

    look.models = models
    return look


def put(look, folder: str, name: str, shapes: dict, kind: str = "F16", vectors: str | None = None) -> Path:
    return sparse_file(look.models / folder / name, shapes, kind, vectors)


def only_problem(report: Report) -> tuple[str, str]:
    assert len(report.problems) == 1, report.text()
    return report.problems[0].what, report.problems[0].remedy
