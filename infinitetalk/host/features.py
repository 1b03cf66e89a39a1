"""The features of a run in its folder, from which all its windows read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import disk
from ..errors import InputError
from ..feature_file import load_features, save_features
from ..features import AudioFeatures
from ..run_folder import RunFolder


def kept_features(folder: RunFolder, features: Any) -> Any:
    """The features as the run's folder holds them; a new run's are put there first.

    Encoding may differ in its last bits from process to process: all windows of a run read the same files.
    """
    voices = tuple(_kept(folder, voice, number) for number, voice in enumerate(features.voices, start=1))
    return voices[0] if isinstance(features, AudioFeatures) else replace(features, voices=voices)


def _kept(folder: RunFolder, voice: AudioFeatures, number: int) -> AudioFeatures:
    path = folder.path / f"features-{number}.safetensors"
    if path.exists():
        try:
            return load_features(voice, path)
        except InputError as error:
            folder.log(f"{path.name} is made again: {error.problem}")
    with disk.explained(path):
        save_features(voice, path)
    return load_features(voice, path)
