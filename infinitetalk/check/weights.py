"""The model files before a sampler: what each is, and whether they fit together. From headers; knows no host.

The loaders are ComfyUI's own, ours, and those of the GGUF pack; what other nodes load is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..model.adapter import AdapterShape
from ..model.kinds import WANTED, Kind, identify
from ..model.layouts import BaseShape, check_fit, read_adapter, read_base
from .graph import Graph
from .report import Report

LOADERS: dict[str, dict[str, str]] = {  # class -> widget -> role
    "InfiniteTalkLoadModel": {"model": "model", "adapter": "adapter"},
    "InfiniteTalkApplyAdapter": {"adapter": "adapter"},
    "InfiniteTalkLoadAudioEncoder": {"audio_encoder": "audio_encoder"},
    "UNETLoader": {"unet_name": "model"},
    "UnetLoaderGGUF": {"unet_name": "model"},
    "UnetLoaderGGUFAdvanced": {"unet_name": "model"},
    "ModelPatchLoader": {"name": "adapter"},
    "LoraLoaderModelOnly": {"lora_name": "lora"},
    "LoraLoader": {"lora_name": "lora"},
    "VAELoader": {"vae_name": "vae"},
    "CLIPLoader": {"clip_name": "text_encoder"},
    "CLIPLoaderGGUF": {"clip_name": "text_encoder"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "AudioEncoderLoader": {"audio_encoder_name": "audio_encoder"},
}


@dataclass(frozen=True)
class Opened:
    """A file and its header. shapes: key -> shape."""

    path: Path
    bytes: int
    shapes: Mapping[str, tuple[int, ...]]


Open = Callable[[str, str, str], Opened]  # role, name, label -> the file; raises InputError
