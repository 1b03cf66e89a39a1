"""AUDIO_ENCODER: the host's own wav2vec2 or ours, run as the reference runs it.

Ours is a `transformers` wav2vec2 of any width, from a folder or a single file, and answers the
host's `encode_audio` too, so the host's nodes take it. Must not know features' use.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
import torchaudio

from ..audio import check_audio, check_sound, normalize_loudness, to_mono_16k
from ..config import SAMPLE_RATE
from ..convolution import ConvStack
from ..digests import digest
from ..encoding import VERSION, WHOLE_SAMPLES, Encoder, encode_features, normalize_wave
from ..errors import InputError
from ..feature_file import FeatureFile, link_features, open_features
from ..features import AudioFeatures, Encoded
from ..run_names import run_folders
from ..sound import MemorySound, Sound, Stretch, is_long, seconds
from ..wav2vec import ENCODER_PARTS, conv_features, hidden_states, layer_outputs, load_wav2vec
from .kept import kept_path, settled

BYTES_PER_SAMPLE = 1200  # working memory of the convolutions of a base model in float32, measured 1.0 kB
FOLDERS = ("audio_encoders", "wav2vec2", "transformers")
_digests: WeakKeyDictionary = WeakKeyDictionary()  # of encoders that were used, see weights_digest


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


def _check_interrupt(*_) -> None:
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


def encode(encoder, audio: dict | Sound, normalize: bool | None) -> AudioFeatures:
    """Features of a host AUDIO or a sound on disk, which is kept for the final video.

    normalize: zero mean and unit variance first; None follows the encoder's own preprocessor file,
    and is off where there is none, as in the host's loader for the base layout. Raises InputError
    for unusable audio before the encoder is loaded. Features of a long recording are written to the host's temp
    folder while they are made, unless a run that was kept holds the same ones.
    """
    if not audio:
        raise InputError("audio: there is no sound; the connected file or video is silent.", "Connect Load Audio.")
    if isinstance(audio, Stretch):
        check_sound(audio)
        sound: Sound = audio
    else:
        check_audio(audio["waveform"], audio["sample_rate"])
        sound = MemorySound(audio["waveform"], audio["sample_rate"])
    parts, own = _parts(encoder)
    normalized = bool(own) if normalize is None else normalize
    made_of = digest(VERSION, weights_digest(encoder), normalized)
    wave = normalize_loudness(settled(to_mono_16k(sound), "heard", sound.digest))

    def run(wave: Sound, told: str) -> Encoded:
        identity = digest(made_of, told)
        found = find_features(identity) if is_long(wave) else None
        if found is not None:
            return Encoded(found, found.silence, identity)
        memory = min(wave.samples, WHOLE_SAMPLES) * BYTES_PER_SAMPLE
        comfy.model_management.load_models_gpu([encoder.patcher], memory_required=memory)
        path = kept_path("features", identity, "safetensors") if is_long(wave) else None
        report = Progress(f"encoding {seconds(wave):.0f} s of speech") if is_long(wave) else _check_interrupt
        with torch.no_grad():
            return Encoded(*encode_features(wave, parts, normalized, path, identity, report), identity)

    encoded = run(wave, f"speech {sound.digest}")
    return AudioFeatures(encoded.speech, encoded.silence, sound, encoded.identity, wave, run)


def weights_digest(encoder) -> str:
    """sha256 of an encoder's weights and of what its tensors do not show; read once for each encoder."""
    if encoder not in _digests:
        model = encoder.model
        heads = [layer.attention.num_heads for layer in model.encoder.layers]
        norm_first = getattr(model.encoder, "do_stable_layer_norm", None) or getattr(
            getattr(model, "config", None), "do_stable_layer_norm", False
        )
        strides = [layer.conv.stride[0] for layer in model.feature_extractor.conv_layers]
        # The host's model has a parameter more, for training, that some files leave as memory was.
        weights = {key: value for key, value in model.state_dict().items() if key.startswith(ENCODER_PARTS)}
        _digests[encoder] = digest(weights, heads, bool(norm_first), strides)
    return _digests[encoder]


def find_features(identity: str) -> FeatureFile | None:
    """Undamaged features of this identity that are on disk already: in the temp folder, or kept with a run.

    Those of a run get a name in the temp folder too where the disk allows it, so that the run can be removed. What
    is a link, or leads out of the output folder, is not looked at.
    """
    kept = kept_path("features", identity, "safetensors")
    output = folder_paths.get_output_directory()
    try:
        folders = run_folders(output)
    except InputError:  # a link in the way; the run itself will tell
        folders = []
    root = Path(output).resolve()
    for path in [kept, *(file for folder in folders for file in sorted(folder.glob("features-*.safetensors")))]:
        if path.is_symlink() or not path.is_file() or (path != kept and not path.resolve().is_relative_to(root)):
            continue
        try:
            file = open_features(path)
            if file.identity != identity:
                continue
            file.verify()
            return file if path == kept else link_features(file, kept)
        except InputError as error:
            logging.warning("InfiniteTalk: %s", str(error).splitlines()[0])
    return None


class Progress:
    """A bar for the work on a long recording, which a cancel ends."""

    def __init__(self, what: str):
        self._bar: comfy.utils.ProgressBar | None = None
        logging.info("InfiniteTalk: %s", what)

    def __call__(self, done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)


def _parts(encoder) -> tuple[Encoder, bool | None]:
    """(its halves, do_normalize) of either kind of encoder."""
    model = getattr(encoder, "model", None)
    if not all(hasattr(model, part) for part in ("feature_extractor", "feature_projection", "encoder")):
        raise InputError(
            f"audio_encoder: {type(model).__name__} is not a wav2vec2.",
            "Load wav2vec2-chinese-base_fp16.safetensors with Load Audio Encoder.",
        )
    own = isinstance(encoder, Wav2VecEncoder)

    def layers(x: torch.Tensor):
        # Index 0 of the host's layers is the input of the first one.
        return layer_outputs(model, x) if own else model.encoder(model.feature_projection(x))[1][1:]

    conv = ConvStack(model.feature_extractor.conv_layers)
    return Encoder(conv, layers, encoder.patcher.load_device), encoder.do_normalize if own else model.do_normalize
