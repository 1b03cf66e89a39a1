"""The reference's JSON, read and checked: what is to be seen, who speaks, where they are.

Knows files by their names and existence, not by their contents.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from infinitetalk.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".flv", ".wmv", ".mpeg", ".mpg")
SOUNDS = (".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", *VIDEOS)
ORDERS = ("para", "add")
PERSONS = 8  # regions of the speakers' node
KEYS = ("prompt", "cond_video", "cond_audio", "audio_type", "bbox", "video_audio")
BOX = "Write pixels: [first row, first column, last row, last column]; the reference counts rows with x."
SILENT = (None, "None")  # "None" is what the reference takes


@dataclass(frozen=True)
class Person:
    """Who may speak.

    name: its key in the file. voice: None for a person who keeps silent. box: whole pixels [row, column, row, column],
    or None. frames: whole video frames that the voice lasts, where that counts (media.inspect); otherwise 0.
    """

    name: str
    voice: Path | None
    box: tuple[int, ...] | None
    frames: int = 0


@dataclass(frozen=True)
class Job:
    """source: the picture or video. order: "para" or "add". soundtrack: what is heard instead of the speech."""

    prompt: str | None
    source: Path
    persons: tuple[Person, ...]
    order: str
    soundtrack: Path | None

    @property
    def is_video(self) -> bool:
        return self.source.suffix.lower() in VIDEOS

    @property
    def has_regions(self) -> bool:
        """Whether the speech must be bound to regions."""
        return len(self.persons) > 1 or self.persons[0].box is not None


def read_job(path: Path, with_prompt: bool = True) -> Job:
    """The job of a JSON file. InputError for anything that is missing, unknown or of another type.

    Names of files are looked for from the current folder, as in the reference, then from the JSON's own.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"--input_json: there is no file {path}.", "Give the path of a JSON file.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"--input_json: {path} cannot be read as JSON ({error}).", "Correct the file.") from error
    if not isinstance(data, dict):
        raise InputError(
            f"--input_json: {path} is not one object, it is {kind(data)}.",
            f"Write one object with {', '.join(KEYS[:3])}.",
        )
    if "tts_audio" in data:
        raise InputError(
            "tts_audio: there is no speech synthesis.", "Record the speech and name its file in cond_audio."
        )
    unknown = [key for key in data if key not in KEYS]
    if unknown:
        raise InputError(f"{unknown[0]}: this key is unknown.", f"The keys are {', '.join(KEYS)}.")
    prompt = data.get("prompt")
    if with_prompt or prompt is not None:
        text(prompt, "prompt")
    order = data.get("audio_type", "para")
    persons = read_persons(data, path.parent)
    if len(persons) > 1 and "audio_type" not in data:
        raise InputError(
            f"audio_type: missing with {len(persons)} persons.", 'Write "para" (together) or "add" (one by one).'
        )
    if order not in ORDERS:
        raise InputError(f"audio_type: {order!r} is unknown.", 'Write "para" (together) or "add" (one by one).')
    source = find_file(data.get("cond_video"), "cond_video", PICTURES + VIDEOS, path.parent)
    soundtrack = data.get("video_audio")
    if soundtrack is not None:
        soundtrack = find_file(soundtrack, "video_audio", SOUNDS, path.parent)
    return Job(prompt, source, persons, order, soundtrack)


def read_persons(data: dict, folder: Path) -> tuple[Person, ...]:
    """The persons of cond_audio in order, each with its box of bbox."""
    voices, boxes = data.get("cond_audio"), data.get("bbox")
    if not isinstance(voices, dict) or not voices:
        raise InputError(
            f"cond_audio: it is {kind(voices)}.", 'Write {"person1": "voice.wav"}, then person2 and so on.'
        )
    if len(voices) > PERSONS:
        raise InputError(f"cond_audio: {len(voices)} persons are more than the {PERSONS} possible.", "Name fewer.")
    names = [f"person{number}" for number in range(1, len(voices) + 1)]
    strangers = [name for name in voices if name not in names]
    if strangers:
        raise InputError(f"cond_audio: {strangers[0]!r} is no name of a person here.", f"Use {', '.join(names)}.")
    if boxes is not None and (not isinstance(boxes, dict) or sorted(boxes) != sorted(voices)):
        found = ", ".join(boxes) if isinstance(boxes, dict) else kind(boxes)
        raise InputError(f"bbox: it has {found or 'nobody'}.", f"Write a box for each of {', '.join(names)}.")
    files = {
        name: None if voices[name] in SILENT else find_file(voices[name], f"cond_audio {name}", SOUNDS, folder)
        for name in names
    }
    if not any(files.values()):
        raise InputError("cond_audio: everybody is silent.", "Name a voice for one person.")
    return tuple(Person(name, files[name], read_box(boxes[name], name) if boxes else None) for name in names)


def read_box(box: object, name: str) -> tuple[int, ...]:
    """The whole pixels of a box: [first row, first column, row after the last, column after the last]."""
    numbers = isinstance(box, list) and all(type(n) in (int, float) and math.isfinite(n) for n in box)
    if not numbers or len(box) != 4:
        raise InputError(f"bbox {name}: {json.dumps(box)} is not four numbers.", "Write [row, column, row, column].")
    if box[0] < 0 or box[1] < 0:
        raise InputError(f"bbox {name}: {json.dumps(box)} starts outside the picture.", BOX)
    top, left, bottom, right = pixels = tuple(int(number) for number in box)  # as the reference cuts them off
    if bottom <= top or right <= left:
        raise InputError(f"bbox {name}: {json.dumps(box)} holds no whole pixel.", BOX)
    return pixels


def find_file(name: object, key: str, kinds: tuple[str, ...], folder: Path) -> Path:
    text(name, key)
    path = next((path for path in (Path(name), folder / name) if path.is_file()), None)
    if path is None:
        raise InputError(f"{key}: there is no file {name}.", "Give a path from the current folder or from the JSON's.")
    if path.suffix.lower() not in kinds:
        raise InputError(f"{key}: {name} has the ending {path.suffix or '(none)'}.", f"Use {' '.join(kinds)}.")
    return path


def text(value: object, key: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key}: it is {kind(value)}.", "Write a text in quotes.")


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "missing"
    if isinstance(value, str) and not value.strip():
        return "empty"
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)] if value not in ({}, []) else "empty"
