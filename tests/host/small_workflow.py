"""Shipped workflows with the files, sizes and embeddings of small models, in place of those they name."""

from __future__ import annotations

from pathlib import Path

from demo import small_model

SMALL = {
    "InfiniteTalkLoadModel": {"model": Path(small_model.DIT).name, "adapter": Path(small_model.ADAPTER).name},
    "VAELoader": {"vae_name": Path(small_model.VAE).name},
    "AudioEncoderLoader": {"audio_encoder": Path(small_model.WAV2VEC_FOLDER).name},
    "InfiniteTalkLoadAudioEncoder": {"audio_encoder": Path(small_model.WAV2VEC_FOLDER).name},
    "InfiniteTalkLoadEmbeds": {"embeds": Path(small_model.EMBEDS).name},
    "LoraLoaderModelOnly": {"lora_name": "small_lora.safetensors"},
    "LoadAudio": {"audio": "workflow.wav"},
    "InfiniteTalkLoadSpeech": {"file": "workflow.wav"},
}
SHORT = {
    "InfiniteTalkReference": {"size": "custom", "width": 96, "height": 64, "window_frames": 17},
    "InfiniteTalkVideoReference": {"size": "custom", "width": 96, "height": 64},
    "InfiniteTalkSchedule": {"steps": 1},
    "InfiniteTalkSampler": {"frames_per_window": 17},
}
ENCODERS = ("CLIPLoader", "CLIPTextEncode", "ConditioningZeroOut", "CLIPVisionLoader")  # no small ones exist
MODEL_NODES = ("InfiniteTalkLoadModel", "VAELoader", "InfiniteTalkLoadAudioEncoder", "InfiniteTalkLoadEmbeds")


def on_random_model(prompt: dict) -> dict:
    """The small workflow with the random model's files in place of the talking one's, which take longer."""
    inputs = {name: SMALL[name] for name in MODEL_NODES} | {"InfiniteTalkSchedule": {"steps": 4}}
    for entry in prompt.values():
        entry["inputs"].update(inputs.get(entry["class_type"], {}))
    return prompt


def for_small_model(prompt: dict) -> dict:
    """A workflow with the random model's files, the smallest sizes, and its embeddings in place of what it has not."""
    return fitted(prompt, {**SMALL, **SHORT}, Path(small_model.EMBEDS).name)


def fitted(prompt: dict, inputs: dict[str, dict], embeds: str) -> dict:
    """A workflow with `inputs` of nodes by their class, and a file of embeddings in place of the encoders."""
    gone = {node for node, entry in prompt.items() if entry["class_type"] in ENCODERS}
    outputs = {"positive": ["900", 0], "negative": ["900", 1], "clip_vision": ["900", 2]}
    for entry in prompt.values():
        entry["inputs"].update(inputs.get(entry["class_type"], {}))
        for name, value in list(entry["inputs"].items()):
            if isinstance(value, list) and value[0] in gone and name in outputs:
                entry["inputs"].pop(name)
                entry["inputs"]["clip_vision_output" if name == "clip_vision" else name] = outputs[name]
        if entry["class_type"] == "AudioEncoderLoader":
            entry["class_type"] = "InfiniteTalkLoadAudioEncoder"
            entry["inputs"].pop("audio_encoder_name")
    loader = {"class_type": "InfiniteTalkLoadEmbeds", "inputs": {"embeds": embeds}}
    return {**{node: entry for node, entry in prompt.items() if node not in gone}, "900": loader}
