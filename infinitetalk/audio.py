"""Speech as the audio encoder wants it: checked, mono, 16 kHz, at -23 LUFS.

Works on sound of any length, in pieces. Knows nothing of the encoder, of frames or of the host.

Shapes: C channels (1 or 2), T samples at the source's rate, N samples at 16 kHz.
"""

from __future__ import annotations

import math

import torch

from .config import SAMPLE_RATE
from .errors import InputError
from .loudness import integrated_loudness
from .sound import Amplified, MemorySound, Remixed, Resampled, Sound, pieces, seconds

MIN_SECONDS = 0.1
MAX_CHANNELS = 2
MIN_RATE, MAX_RATE = 16_000, 96_000
TARGET_LUFS = -23.0
LOUDNESS_BLOCK = 6_400  # samples of one 0.4 s gating block of BS.1770 at 16 kHz


def check_audio(waveform: torch.Tensor, sample_rate: int) -> None:
    """Refuse audio that no talking video can be made from.

    waveform: float [1, C, T], -1..1. sample_rate: Hz. Raises InputError for audio that is missing, empty, not
    float, not finite, a batch, shorter than 0.1 s, of more than two channels, or outside 16 to 96 kHz.
    """
    if not isinstance(waveform, torch.Tensor) or waveform.numel() == 0:
        raise InputError("audio: there are no samples in it.", "Connect a recording with speech, 0.1 s or longer.")
    if waveform.ndim != 3:
        raise InputError(
            f"audio: the waveform has shape {list(waveform.shape)}, not [1, channels, samples].",
            "Connect an AUDIO output, for instance of Load Audio.",
        )
    if waveform.shape[0] != 1:
        raise InputError(f"audio: it is a batch of {waveform.shape[0]} recordings.", "Connect one recording at a time.")
    if not waveform.is_floating_point():
        raise InputError(
            f"audio: its samples are {str(waveform.dtype).removeprefix('torch.')}, not float.",
            "Convert whole numbers to float in -1..1, for 16-bit audio by dividing by 32768.",
        )
    check_sound(MemorySound(waveform, sample_rate))


def check_format(channels: int, rate: int, label: str = "audio") -> None:
    """Refuse more than two channels and rates outside 16 to 96 kHz; label: the input, for errors."""
    if channels > MAX_CHANNELS:
        raise InputError(
            f"{label}: it has {channels} channels, at most {MAX_CHANNELS} can be read.",
            "Mix it down to stereo or mono before it comes here.",
        )
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(
            f"{label}: its sample rate is {rate} Hz, outside {MIN_RATE} to {MAX_RATE} Hz.",
            "Resample the recording to 16, 44.1 or 48 kHz (below 16 kHz the sounds that shape the lips are missing).",
        )


def check_sound(sound: Sound) -> None:
    """The same for a recording that is read in pieces: two channels, 16 to 96 kHz, 0.1 s, finite numbers."""
    check_format(sound.channels, sound.rate)
    if sound.samples < MIN_SECONDS * sound.rate:
        raise InputError(
            f"audio: it lasts {seconds(sound):.3f} s ({sound.samples} samples at {sound.rate} Hz), "
            f"shorter than {MIN_SECONDS} s.",
            "Give at least 0.1 s of speech.",
        )
    bad = sum(piece.numel() - int(torch.isfinite(piece).sum()) for piece in pieces(sound))
    if bad:
        raise InputError(
            f"audio: {bad} of its {sound.samples * sound.channels} samples are NaN or infinite.",
            "Export the recording again; the step that made it went wrong.",
        )


class _Mono16k(Resampled):
    """Not a sample more than there was sound: N = T * 16000 // rate."""

    def __init__(self, sound: Sound):
        super().__init__(sound, SAMPLE_RATE)
        self.samples = sound.samples * SAMPLE_RATE // sound.rate


def to_mono_16k(sound: Sound) -> Sound:
    """The mean of the channels at 16 kHz, N = T * 16000 // rate samples; computed where it is read.

    The reference resamples with soxr's "HQ". The filter here is a Kaiser-windowed sinc set to the same pass band
    (flat to 7.3 kHz, nothing above 8 kHz): on speech at 22.05, 44.1 and 48 kHz it stays 72 dB below the signal from
    soxr's result (largest difference 2.5e-4 of full scale), torchaudio's default filter only 28 to 31 dB. Read in
    pieces it is bit for bit what it is in one.
    """
    mono = sound if sound.channels == 1 else Remixed(sound, 1)
    return mono if sound.rate == SAMPLE_RATE else _Mono16k(mono)


def loudness_gain(wave: Sound, target: float = TARGET_LUFS) -> tuple[float, float]:
    """Integrated loudness (ITU-R BS.1770-4, gated) of a mono sound at 16 kHz, in LUFS, and the gain to the target.

    When everything lies below the gate (the loudness is minus infinity, or beyond 100 in size as the reference
    asks it) the gain is 1. A clip shorter than one gating block of 0.4 s, which the measure is not defined for, is
    played forwards and backwards in turn until the block is full, and that is measured: it has the clip's own
    power and no jumps, while padding with zeros would call the clip quieter than it is.
    """
    if wave.samples < LOUDNESS_BLOCK:
        samples = wave.read(0, wave.samples)
        there_and_back = torch.cat((samples, samples.flip(1)), dim=1)
        repeated = there_and_back.repeat(1, math.ceil(LOUDNESS_BLOCK / there_and_back.shape[1]))
        wave = MemorySound(repeated[None, :, :LOUDNESS_BLOCK], wave.rate)
    lufs = integrated_loudness(wave)
    if not abs(lufs) <= 100:
        return lufs, 1.0
    return lufs, 10.0 ** ((target - lufs) / 20.0)


def normalize_loudness(wave: Sound, target: float = TARGET_LUFS) -> Sound:
    """The sound at `target` LUFS: measured in one pass, changed where it is read."""
    _, gain = loudness_gain(wave, target)
    return wave if gain == 1.0 else Amplified(wave, gain)
