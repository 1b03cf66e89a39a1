"""A real ComfyUI for tests: a Server over a base folder of its own, with helpers to make inputs and read outputs.

The pack is linked into the base folder, so the server runs this checkout; models are links to the small models.
"""

from __future__ import annotations

import copy
import io
import json
import urllib.parse
import wave
from pathlib import Path

import av
import numpy as np
from PIL import Image

from demo.base import make_base
from infinitetalk_cli.client import output_files
from infinitetalk_cli.server import PACK, Server
from tests.host.small_workflow import on_random_model


class ServerUnderTest(Server):
    """Use as a context manager; `url`, `base`, `log`, `object_info`, `queue`, `save` and `upload` come from Server."""

    def __init__(self, comfyui: Path, base: Path, *models: Path, arguments: list[str] | None = None):
        super().__init__(comfyui, make_base(base, *models), arguments)

    def workflow(self, name: str | None = None) -> dict:
        """A fresh copy of a shipped workflow in API format; without a name the small one, on the random small model."""
        if name is None:
            return on_random_model(self.workflow("infinitetalk_small"))
        return json.loads((PACK / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))

    def put(self, name: str, data: bytes) -> str:
        """Write a file into the input folder; returns its name for LoadImage, LoadAudio and the like."""
        (self.base / "input" / name).write_bytes(data)
        return name

    def put_image(self, name: str, pixels: np.ndarray) -> str:
        """Write pixels [H, W], [H, W, 3] or [H, W, 4] uint8 as a PNG input file."""
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        return self.put(name, data.getvalue())

    def put_speech(self, name: str, sound: np.ndarray, sample_rate: int = 16_000) -> str:
        """Write sound [T] or [T, C] in -1..1 as a WAV input file of 16 bits."""
        samples = np.atleast_2d(sound.T).T
        data = io.BytesIO()
        with wave.open(data, "wb") as file:
            file.setnchannels(samples.shape[1])
            file.setsampwidth(2)
            file.setframerate(sample_rate)
            file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        return self.put(name, data.getvalue())

    def video(self, history: dict, folder: Path) -> Path:
        """The one saved mp4 of a finished prompt, copied into `folder`."""
        files = [file for file in output_files(history) if file["type"] == "output"]
        assert len(files) == 1 and files[0]["filename"].endswith(".mp4"), files
        path = folder / files[0]["filename"]
        self.save(files[0], path)
        return path

    def view(self, file: dict) -> bytes:
        """The bytes of one of output_files."""
        query = {key: file[key] for key in ("filename", "subfolder", "type")}
        return self.request(f"/view?{urllib.parse.urlencode(query)}")


def node_of(prompt: dict, class_type: str) -> str:
    """The id of the only node of a class in a workflow."""
    (found,) = [node for node, entry in prompt.items() if entry["class_type"] == class_type]
    return found


def changed(prompt: dict, class_type: str, **inputs) -> dict:
    """A copy of a workflow with inputs of the only node of a class replaced."""
    prompt = copy.deepcopy(prompt)
    prompt[node_of(prompt, class_type)]["inputs"].update(inputs)
    return prompt


def read_video(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Every frame [F, H, W, 3] uint8 and every sound sample [C, T] (empty without sound) of a video file."""
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)] if container.streams.audio else []
    return frames, np.concatenate(sound, axis=1) if sound else np.zeros((0, 0), np.float32)
