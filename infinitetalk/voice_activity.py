"""The silence gate: where nobody speaks, the model hears the silence after speech, which closes the mouth.

Speech is found by the network of silero-vad (MIT), whose weights come with its wheel; nothing is downloaded. Only the
file of the network is taken from the package: importing the package sets torch to one thread in the whole process.
The network hears the sound in pieces of 32 ms; all of a block but its recurrent layer runs at once, which gives the
package's own probabilities to 1e-4 in a tenth of the time (tests/unit/test_voice_activity.py compares them).

Knows neither the encoder nor the windows. Shapes: L encoder layers, H encoder width, K silence frames.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import torch

from .config import FPS, SAMPLE_RATE
from .errors import InputError
from .feature_file import FeatureFile, speech_rows
from .features import AudioFeatures
from .sound import Sound
from .speakers import Speakers

VERSION = 1  # of all that follows: another number gives other pictures

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
PIECE = 512  # samples per probability, 32 ms
CONTEXT = 64  # samples that the network hears before each piece
BLOCK = 1024  # pieces worked on at once: 33 s of sound, about 20 MB
START, STOP = 0.5, 0.35  # probabilities where speech begins and where it has ended, those of silero-vad
LEAD = 5  # frames kept before speech: lips move 0.1 to 0.3 s before the voice (Chandrasekaran et al. 2009)
HANG = 5  # frames kept after it, 0.2 s: quiet endings of words, and the time that lips take to come to rest
PAUSE = 15  # frames; a shorter pause is part of speech, and a shorter sound is too short for the network to judge
FADE = 3  # frames between speech and silence in which one becomes the other
SETTLED = FPS  # frames of features.silence left out at both ends: the voice that ends, the end of what was encoded

Report = Callable[[int, int], None]


class Detector:
    """Probability of speech, block after block of one sound."""

    def __init__(self):
        network = _load()
        self._spectrum, self._encoder, self._last = network.run_extractors, network.encoder, network.decoder.decoder
        cell = network.decoder.rnn
        # on "meta" no first weights are drawn, which would move the random numbers of the whole process
        self._recurrent = torch.nn.LSTM(cell.weight_ih.shape[1], cell.weight_hh.shape[1], device="meta")
        self._recurrent.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()}, assign=True)
        self._state = None

    @torch.no_grad()
    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Of the n pieces in `samples` [CONTEXT + n * PIECE], which follow those of the call before: [n], 0..1."""
        heard = self._encoder(self._spectrum(samples.unfold(0, CONTEXT + PIECE, PIECE)))
        recalled, self._state = self._recurrent(heard.transpose(1, 2), self._state)
        return self._last(recalled.transpose(1, 2))[:, 0, 0]


def _load():
    """The 16 kHz network of the installed silero-vad, on the CPU."""
    try:
        file = distribution("silero-vad").locate_file("silero_vad/data/silero_vad.jit")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather have another format
            network = torch.jit.load(io.BytesIO(file.read_bytes()), map_location="cpu")._model
        network.run_extractors, network.encoder, network.decoder.rnn, network.decoder.decoder  # noqa: B018
    except (PackageNotFoundError, OSError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"silence gate: the network of silero-vad cannot be loaded ({type(error).__name__}).",
            'Install it: pip install "silero-vad>=6.2.3,<7", or turn silence_gate off.',
        ) from error
    return network.eval()


def speech_probability(sound: Sound, frames: int, report: Report | None = None) -> torch.Tensor:
    """How likely somebody speaks, float32 [frames], 0..1 at 25 frames per second: the most likely piece of each frame.

    sound: 16 kHz, read in blocks. report: called with (frames heard, frames) after each; an exception of it ends
    the search.
    """
    detector, total = Detector(), -(-frames * SAMPLES_PER_FRAME // PIECE)
    likely = torch.zeros(total)
    for first in range(0, total, BLOCK):
        count = min(BLOCK, total - first)
        samples = sound.read(first * PIECE - CONTEXT, count * PIECE + CONTEXT).mean(dim=0)
        likely[first : first + count] = detector(samples)
        if report:
            report(min((first + count) * PIECE // SAMPLES_PER_FRAME, frames), frames)
    begin = torch.arange(frames) * SAMPLES_PER_FRAME
    first, last = begin // PIECE, (begin + SAMPLES_PER_FRAME - 1) // PIECE  # of 512 samples, two at most
    return torch.maximum(likely[first], likely[last])


def speech_mask(sound: Sound, frames: int, report: Report | None = None) -> torch.Tensor:
    """Where somebody speaks: bool [frames], 25 a second. Arguments as in speech_probability.

    Speech begins where the probability reaches 0.5 and ends where it falls below 0.35. 0.2 s before and after it are
    speech too, and so is every pause of less than 0.6 s, also all of a sound that is shorter.
    """
    return mask_of(speech_probability(sound, frames, report))


def mask_of(likely: torch.Tensor) -> torch.Tensor:
    """The rule of speech_mask on probabilities [frames]."""
    frames = len(likely)
    known = torch.where((likely >= START) | (likely < STOP), torch.arange(frames), 0).cummax(0).values
    spoken = (likely[known] >= START).numpy()
    mask = np.ones(frames, bool)
    for begin, end in _runs(~spoken):
        if end - begin >= PAUSE:
            mask[begin + HANG if begin else 0 : end - LEAD if end < frames else frames] = False
    return torch.from_numpy(mask)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first, behind the last) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def silence_share(mask: torch.Tensor) -> torch.Tensor:
    """How much of each frame is silence, float32 [frames]: 0 in speech, 1/4, 2/4, 3/4 beside it, then 1."""
    frames = len(mask)
    places, never = torch.arange(frames), 2 * FADE + 2
    before = torch.where(mask, places, -never).cummax(0).values
    after = torch.where(mask, places, frames + never).flip(0).cummin(0).values.flip(0)
    nearest = torch.minimum(places - before, after - places)
    return (nearest / (FADE + 1)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class GatedSpeech:
    """Speech features whose silent frames are those of silence. Nothing is copied: a row is made when it is read.

    speech: [frames, L, H], in memory or on disk. quiet: [Q, L, H]. share: see silence_share.
    """

    speech: torch.Tensor | FeatureFile
    quiet: torch.Tensor
    share: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.speech.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Features of the frames in `index`, int64 [...] of 0..frames-1: float32 [..., L, H], memory of its own.

        A silent frame is one of `quiet` by its own number, there and back, so that it is the same in every window
        and never jumps.
        """
        rows = speech_rows(self.speech, index)
        share = self.share[index]
        silent = share > 0
        way = max(1, 2 * (len(self.quiet) - 1))
        place = index[silent] % way
        quiet = self.quiet[torch.minimum(place, way - place).clamp(max=len(self.quiet) - 1)]
        rows[silent] = torch.lerp(rows[silent], quiet, share[silent][:, None, None])
        return rows


def gated(features: AudioFeatures, mask: torch.Tensor) -> AudioFeatures:
    """The features with silence wherever mask [frames] is False.

    The silence is features.silence beyond its first second, when the voice that ended is no longer heard in it, and
    without its last one.
    """
    kept = len(features.silence)
    first = min(SETTLED, kept - 1)
    quiet = features.silence[first : max(kept - SETTLED, first + 1)]
    identity = hashlib.sha256(f"{features.identity} gated {VERSION}".encode()).hexdigest()
    speech = GatedSpeech(features.speech, quiet, silence_share(mask))
    return replace(features, speech=speech, identity=identity)


def check_gate(features: AudioFeatures | Speakers) -> None:
    """Refuse features whose sound is not known, and a silero-vad that cannot be loaded, before a run begins."""
    if any(voice.wave is None for voice in features.voices):
        raise InputError(
            "silence gate: the features hold no sound that could be listened to.",
            "Connect the features of InfiniteTalk Audio Encode, or turn silence_gate off.",
        )
    _load()


def with_gate(features: AudioFeatures | Speakers, report: Report | None = None) -> AudioFeatures | Speakers:
    """The features of a run with every voice gated by its own sound, as the encoder heard it.

    report: as in speech_probability, for each voice. Raises as check_gate.
    """
    check_gate(features)
    if isinstance(features, Speakers):
        return replace(features, voices=tuple(with_gate(voice, report) for voice in features.voices))
    return gated(features, speech_mask(features.wave, features.frames, report))
