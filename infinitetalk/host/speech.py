"""Audio and video files of the host's input folder as sound on disk. The Load Speech node's calls."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..audio import check_sound
from ..errors import InputError
from ..sound import SpooledSound
from ..sound_file import open_sound_file
from .kept import spooled_file


def list_speech() -> list[str]:
    """Names of the audio and video files in the input folder."""
    folder = folder_paths.get_input_directory()
    os.makedirs(folder, exist_ok=True)
    return sorted(folder_paths.filter_files_content_types(os.listdir(folder), ["audio", "video"]))


def find_speech(name: str) -> str:
    """Full path of a file of the input folder; with `name [output]` of the output folder, as the host has it."""
    try:
        path = folder_paths.get_annotated_filepath(name)
    except ValueError as error:  # a name that leads out of the folder
        raise InputError(f"file: {name[:80]!r} is not below the input folder.", "Choose a file of the list.") from error
    if not os.path.isfile(path):
        raise InputError(f"file: {name[:80]} is not in the input folder.", "Upload it, or choose another one.")
    return path


def load_speech(name: str) -> SpooledSound:
    """The sound of a file, decoded once for each state of the file. As check_sound, raises InputError."""
    path = find_speech(name)
    sound = spooled_file(path, lambda source, target: open_sound_file(Path(source), target))
    check_sound(sound)
    return sound
