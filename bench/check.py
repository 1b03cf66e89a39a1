"""The check of a workflow with files of the published sizes: how many seconds?

python3 dev.py bench check
The files have full headers and are holes otherwise. Goal: two seconds for 30 GB.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from tests.host.full_files import infinitetalk_shapes, published, sparse_file, wan_shapes
from tests.inprocess import use_host
from tests.unit.test_check_scene import write_wave
from tests.unit.workflow import graph

from .report import Report

SECONDS = 2.0


def main() -> int:
    use_host()
    import folder_paths
    from comfy_execution.graph import DynamicPrompt

    from infinitetalk.host.machine import this_machine
    from infinitetalk.host.model_files import register_folders
    from infinitetalk.host.preflight import look_over

    report = Report("check")
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        folder_paths.models_dir = folder
        for name in ("diffusion_models", "model_patches", "vae", "text_encoders", "clip_vision", "audio_encoders"):
            (models / name).mkdir()
            folder_paths.folder_names_and_paths[name] = ([str(models / name)], folder_paths.supported_pt_extensions)
        register_folders()
        folder_paths.set_input_directory(folder)
        write_wave(models / "speech.wav", 60.0)
        Image.new("RGB", (640, 640)).save(models / "face.png")
        published(models)
        sparse_file(models / "diffusion_models" / "base.safetensors", wan_shapes(), "F16")
        sparse_file(models / "model_patches" / "adapter.safetensors", infinitetalk_shapes(), "F32")
        size = sum(path.stat().st_size for path in models.rglob("*.safetensors"))
        prompt = DynamicPrompt(dict(graph({"encoder": {"audio_encoder": "wav2vec.safetensors"}}).nodes))
        for name, machine in (("with the probe of this machine's speed", None), ("without", this_machine(False))):
            start = time.perf_counter()
            found = look_over(prompt, machine=machine)
            report.figure(f"{size / 1e9:.0f} GB of files, {name}", time.perf_counter() - start, "s", SECONDS)
    print(found.text())
    return report.verdict()


if __name__ == "__main__":
    sys.exit(main())
