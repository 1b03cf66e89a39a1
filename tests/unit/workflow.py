"""A small workflow in API format for tests of the check: one sampler with everything before it, to be changed."""

from __future__ import annotations

import copy

from infinitetalk.check.graph import Graph

NODES = {
    "model": ("InfiniteTalkLoadModel", {"model": "base.safetensors", "adapter": "adapter.safetensors"}),
    "vae": ("VAELoader", {"vae_name": "vae.safetensors"}),
    "text": ("CLIPLoader", {"clip_name": "umt5.safetensors", "type": "wan"}),
    "prompt": ("CLIPTextEncode", {"text": "a woman speaks", "clip": ["text", 0]}),
    "clip": ("CLIPVisionLoader", {"clip_name": "clip.safetensors"}),
    "picture": ("LoadImage", {"image": "face.png"}),
    "speech": ("LoadAudio", {"audio": "speech.wav"}),
    "encoder": ("InfiniteTalkLoadAudioEncoder", {"audio_encoder": "wav2vec"}),
    "features": ("InfiniteTalkAudioEncode", {"audio": ["speech", 0], "audio_encoder": ["encoder", 0]}),
    "reference": (
        "InfiniteTalkReference",
        {"image": ["picture", 0], "vae": ["vae", 0], "size": "480p", "width": 640, "height": 640,
         "clip_vision": ["clip", 0]},
    ),
    "guidance": ("InfiniteTalkGuidance", {"text_scale": 5.0, "audio_scale": 4.0}),
    "schedule": ("InfiniteTalkSchedule", {"steps": 40, "shift": 7.0}),
    "kind": ("KSamplerSelect", {"sampler_name": "euler"}),
    "sampler": (
        "InfiniteTalkSampler",
        {"model": ["model", 0], "vae": ["vae", 0], "positive": ["prompt", 0], "negative": ["prompt", 0],
         "features": ["features", 0], "reference": ["reference", 0], "sampler": ["kind", 0],
         "sigmas": ["schedule", 0], "guidance": ["guidance", 0], "frames_per_window": 81, "motion_frames": 9},
    ),
}  # fmt: skip


def graph(changes: dict[str, dict] | None = None, **nodes: tuple[str, dict]) -> Graph:
    """NODES with some inputs changed (None takes one away) and some nodes added or replaced."""
    made = {
        node: {"class_type": kind, "inputs": copy.deepcopy(inputs)}
        for node, (kind, inputs) in {**NODES, **nodes}.items()
    }
    for node, inputs in (changes or {}).items():
        made[node]["inputs"].update(inputs)
        made[node]["inputs"] = {key: value for key, value in made[node]["inputs"].items() if value is not None}
    return Graph(made)
