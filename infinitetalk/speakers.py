"""Several speakers as one input of a run: when each one is heard, what the model hears of each, what the video plays.

Every speaker's recording keeps the loudness normalisation it got on its own; silence is added around it and the
whole is encoded again, so that the encoder hears a voice begin and end. Knows neither pictures nor the host; the
encoder comes with the features.

Waves are mono at 16 kHz, what the model hears; sounds are at a recording's own rate. Neither is read as a whole.
Source of `arrange`: audio_prepare_multi of the public InfiniteTalk implementation (two speakers of equal length).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .config import SAMPLE_RATE
from .errors import InputError
from .features import AudioFeatures, Encode
from .regions import Region
from .sound import Amplified, Chain, Sound, Stretch, as_channels, at_rate, pieces

ORDERS = ("para", "add")
MAX_SPEAKERS = 8
BY_ORDER = -1.0  # a start that leaves it to the order
MAX_START = 36_000.0  # seconds, ten hours: what a plan is made for


@dataclass(frozen=True)
class Speaker:
    """One person of the picture.

    features: of the recording, None for somebody who says nothing; region: where the person is, None for its
    share of the picture; start: seconds, None for the order's; name: for messages and the preview.
    """

    features: AudioFeatures | None = None
    region: Region | None = None
    name: str = ""
    start: float | None = None

    def __post_init__(self):
        if self.start is not None and not (math.isfinite(self.start) and 0 <= self.start <= MAX_START):
            raise InputError(
                f"start: {self.start} is not a time of 0 to {MAX_START:g} seconds.", "Use -1 to start by the order."
            )


@dataclass(frozen=True)
class Speakers:
    """Features of a run with several voices of equal length, in place of one speaker's `AudioFeatures`.

    regions: uint8 [N+1, rows, columns], each voice's tokens and then the background's, or None when one voice
    speaks for the whole picture. sound: the mix for the video.
    """

    voices: tuple[AudioFeatures, ...]
    regions: torch.Tensor | None
    sound: Sound

    @property
    def identity(self) -> str:
        """sha256 of what determines the voices and who is where."""
        content = hashlib.sha256("|".join(voice.identity for voice in self.voices).encode())
        if self.regions is not None:
            content.update(str(list(self.regions.shape)).encode() + self.regions.contiguous().numpy().tobytes())
        return content.hexdigest()

    @property
    def frames(self) -> int:
        """Video frames of the conversation."""
        return self.voices[0].frames


def begins(lengths: Sequence[int], order: str, starts: Sequence[int | None] = ()) -> list[int]:
    """First sample of every speaker. lengths: in samples, 0 for a silent one; starts: samples, None for the order's.

    "para": all begin at once; "add": each begins where the one before ends. A speaker with a start of its own is
    not part of the order: nobody waits for its end.
    """
    if order not in ORDERS:
        raise InputError(f"order: {order!r} is unknown.", f"Use one of {', '.join(ORDERS)}.")
    found, turn = [], 0
    for length, start in zip(lengths, starts or [None] * len(lengths), strict=True):
        found.append(turn if start is None else start)
        if start is None and order == "add":
            turn += length
    return found


def arrange(waves: Sequence[Sound | None], order: str, starts: Sequence[int | None] = ()) -> tuple[Sound, ...]:
    """Every speaker's mono wave at 16 kHz with silence around it, all of one length; None stands for silence.

    Raises InputError when nobody speaks.
    """
    lengths = [0 if wave is None else wave.samples for wave in waves]
    if not any(lengths):
        raise InputError(
            f"speakers: none of the {len(waves)} speakers has a voice.",
            "Connect the features of at least one InfiniteTalk Audio Encode.",
        )
    first = begins(lengths, order, starts)
    total = max(begin + length for begin, length in zip(first, lengths, strict=True) if length)
    arranged: list[Sound] = []
    for wave, length, begin in zip(waves, lengths, first, strict=True):
        parts = [(None, begin), (wave, length), (None, total - begin - length)] if length else [(None, total)]
        arranged.append(wave if wave is not None and length == total else Chain(parts, SAMPLE_RATE, 1))
    return tuple(arranged)


def join(speakers: Sequence[Speaker], order: str) -> tuple[tuple[AudioFeatures, ...], Sound]:
    """(voices of equal length, the mix for the video).

    A voice that the arrangement leaves as it is keeps its features; silent ones hear zeros through the encoder.
    Raises InputError when nobody speaks or a voice has to be encoded again and cannot.
    """
    waves = [None if speaker.features is None else _wave(speaker, n) for n, speaker in enumerate(speakers)]
    starts = [None if speaker.start is None else round(speaker.start * SAMPLE_RATE) for speaker in speakers]
    arranged = arrange(waves, order, starts)
    first = begins([0 if wave is None else wave.samples for wave in waves], order, starts)
    total = arranged[0].samples
    encode = next(speaker.features.encode for speaker in speakers if speaker.features is not None)
    silent = None
    voices = []
    for n, (speaker, wave, whole) in enumerate(zip(speakers, waves, arranged, strict=True)):
        if wave is not None and wave.samples == total:
            voices.append(speaker.features)
            continue
        if wave is not None:
            made_of = f"{speaker.features.identity} from {first[n]} of {total}"
            voices.append(_encoded(whole, speaker.features.encode, made_of, n))
            continue
        if silent is None:
            silent = _encoded(whole, encode, f"silence of {total}", n)
        voices.append(silent)
    return tuple(voices), _mix(speakers, first, total)


def title(number: int, speaker: Speaker) -> str:
    """How messages call the speaker at index `number`."""
    return f"speaker {number + 1}" + (f" ({speaker.name})" if speaker.name else "")


def _wave(speaker: Speaker, number: int) -> Sound:
    if speaker.features.wave is None:
        raise InputError(
            f"{title(number, speaker)}: its features hold no sound that could be arranged.",
            "Connect the features of InfiniteTalk Audio Encode.",
        )
    return speaker.features.wave


def _encoded(wave: Sound, encode: Encode | None, made_of: str, number: int) -> AudioFeatures:
    if encode is None:
        raise InputError(
            f"speaker {number + 1}: silence must be added to its sound, and its features hold no encoder.",
            "Connect the features of InfiniteTalk Audio Encode.",
        )
    encoded = encode(wave, made_of)
    return AudioFeatures(encoded.speech, encoded.silence, wave, encoded.identity, wave, encode)


def _mix(speakers: Sequence[Speaker], first: Sequence[int], total: int) -> Sound:
    """The recordings as they came, at their times, added up at the highest rate and channel count among them.

    The loudness normalisation is for the model's ears alone. Where the sum would clip, all of it is turned down.
    """
    heard = [
        (speaker.features.sound, begin) for speaker, begin in zip(speakers, first, strict=True) if speaker.features
    ]
    if len(heard) == 1 and heard[0][1] == 0:
        return heard[0][0]
    rate = max(sound.rate for sound, _ in heard)
    channels = max(sound.channels for sound, _ in heard)
    placed = [
        (as_channels(at_rate(sound, rate), channels), round(begin * rate / SAMPLE_RATE)) for sound, begin in heard
    ]
    mixed = Mix(placed, rate, channels, round(total * rate / SAMPLE_RATE))
    loudest = max(piece.abs().max().item() for piece in pieces(mixed))
    return mixed if loudest <= 1.0 else Amplified(mixed, 1.0 / loudest)


class Mix(Stretch):
    """Sounds added up, each from its own first sample on; at least `samples` long. All of one rate and channels."""

    def __init__(self, placed: Sequence[tuple[Sound, int]], rate: int, channels: int, samples: int):
        super().__init__(rate, channels, max(samples, *(begin + sound.samples for sound, begin in placed)))
        self._placed = list(placed)

    def _inside(self, start: int, count: int) -> torch.Tensor:
        result = torch.zeros(self.channels, count)
        for sound, begin in self._placed:
            result += sound.read(start - begin, count)
        return result
