"""AUDIO_ENCODER: the host's own wav2vec2 or ours, run as the reference runs it.

Ours is a `transformers` wav2vec2 of any width, from a folder or a single file, and answers the
host's `encode_audio` too, so the host's nodes take it. Must not know features' use.
"""

from __future__ import annotations

import os

import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch
import torchaudio

from ..audio import check_audio, normalize_loudness, to_mono_16k
from ..config import SAMPLE_RATE
from ..errors import InputError
from ..features import AudioFeatures, encode_features, normalize_wave
from ..sound import MemorySound
from ..wav2vec import conv_features, hidden_states, layer_outputs, load_wav2vec

BYTES_PER_SAMPLE = 1200  # working memory of the convolutions of a base model in float32, measured 1.0 kB
FOLDERS = ("audio_encoders", "wav2vec2", "transformers")


def list_encoders() -> list[str]:
    """Single files, and folders that hold a config.json, below the host's audio encoder folders."""
    names: dict[str, None] = {}
    for root in _roots():
        for folder, subfolders, files in os.walk(root, followlinks=True):
            relative = os.path.relpath(folder, root).replace(os.sep, "/")
            if "config.json" in files:
                names[relative] = None
                subfolders.clear()
                continue
            names.update(
                (name if relative == "." else f"{relative}/{name}", None)
                for name in sorted(files)
                if name.endswith(".safetensors")
            )
    return sorted(names)


def find_encoder(name: str) -> str:
    """Full path of a name that `list_encoders` gave."""
    for root in _roots():
        path = os.path.normpath(os.path.join(root, name))
        if path.startswith(os.path.normpath(root) + os.sep) and os.path.exists(path):
            return path
    raise InputError(
        f"audio_encoder: {name} is not in models/audio_encoders, models/wav2vec2 or models/transformers.",
        "Put the wav2vec2 file or folder there and press R to refresh the lists.",
    )


def _roots() -> list[str]:
    known = folder_paths.folder_names_and_paths
    roots = [path for name in FOLDERS if name in known for path in folder_paths.get_folder_paths(name)]
    roots += [os.path.join(folder_paths.models_dir, name) for name in FOLDERS if name not in known]
    return [root for root in roots if os.path.isdir(root)]


def _check_interrupt(module, args) -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


class Wav2VecEncoder:
    """A managed wav2vec2 with the attributes the host expects of an AUDIO_ENCODER."""

    def __init__(self, path: str):
        self.model, self.do_normalize = load_wav2vec(path)
        for module in self.model.modules():  # as the host's own layers do: a cancel reaches a long recording
            module.register_forward_pre_hook(_check_interrupt)
        self.load_device = comfy.model_management.text_encoder_device()
        self.model_sample_rate = SAMPLE_RATE
        # In a module of its own: the host writes `device` on what it manages, transformers' models forbid it.
        managed = torch.nn.Module()
        managed.add_module("wav2vec2", self.model)
        self.patcher = comfy.model_patcher.ModelPatcher(
            managed, load_device=self.load_device, offload_device=comfy.model_management.text_encoder_offload_device()
        )

    def encode_audio(self, audio: torch.Tensor, sample_rate: int) -> dict:
        """What the host's Audio Encoder Encode calls: all hidden states at 50 Hz of [1, C, T] audio."""
        comfy.model_management.load_model_gpu(self.patcher)
        audio = torchaudio.functional.resample(audio, sample_rate, SAMPLE_RATE)
        wave = audio.mean(dim=1).to(self.load_device)
        if self.do_normalize:
            wave = normalize_wave(wave)
        states = hidden_states(self.model, conv_features(self.model, wave).transpose(1, 2))
        return {"encoded_audio": states[-1], "encoded_audio_all_layers": tuple(states), "audio_samples": audio.shape[2]}


def encode(encoder, audio: dict, normalize: bool | None) -> AudioFeatures:
    """Features of a host AUDIO, which is kept for the final video.

    normalize: zero mean and unit variance first; None follows the encoder's own preprocessor file,
    and is off where there is none, as in the host's loader for the base layout. Raises InputError
    for unusable audio before the encoder is loaded.
    """
    if not audio:
        raise InputError("audio: there is no sound; the connected file or video is silent.", "Connect Load Audio.")
    check_audio(audio["waveform"], audio["sample_rate"])
    conv, layers, own = _functions(encoder)
    wave = normalize_loudness(to_mono_16k(audio["waveform"].detach().float().cpu(), audio["sample_rate"]))

    def run(wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        comfy.model_management.load_models_gpu([encoder.patcher], memory_required=len(wave) * BYTES_PER_SAMPLE)
        with torch.no_grad():
            return encode_features(
                wave.to(encoder.patcher.load_device), conv, layers, bool(own) if normalize is None else normalize
            )

    sound = MemorySound(audio["waveform"], audio["sample_rate"])
    return AudioFeatures(*run(wave), sound, MemorySound(wave[None, None], SAMPLE_RATE).digest, wave, run)


def _functions(encoder):
    """(wave -> convolution features, convolution features -> layer outputs, do_normalize) of either kind of encoder."""
    model = getattr(encoder, "model", None)
    if isinstance(encoder, Wav2VecEncoder):
        return (lambda wave: conv_features(model, wave)), (lambda x: layer_outputs(model, x)), encoder.do_normalize
    if not all(hasattr(model, part) for part in ("feature_extractor", "feature_projection", "encoder")):
        raise InputError(
            f"audio_encoder: {type(model).__name__} is not a wav2vec2.",
            "Load wav2vec2-chinese-base_fp16.safetensors with Load Audio Encoder.",
        )

    def layers(x: torch.Tensor):
        return model.encoder(model.feature_projection(x))[1][1:]

    # The host's loader gives channels last and drops the input of the first layer at index 0.
    return (lambda wave: model.feature_extractor(wave).transpose(1, 2)), layers, model.do_normalize
