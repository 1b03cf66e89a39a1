"""Speech as the audio encoder wants it: checked, mono, 16 kHz, at -23 LUFS.

Works on plain waveforms. Knows nothing of the encoder, of frames or of the host.

Shapes: B batch (1), C channels (1 or 2), T samples at the source's rate, N samples at 16 kHz.
"""

from __future__ import annotations

import math

import pyloudnorm
import torch
import torchaudio

from .config import SAMPLE_RATE
from .errors import InputError

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
    batch, channels, samples = waveform.shape
    if batch != 1:
        raise InputError(f"audio: it is a batch of {batch} recordings.", "Connect one recording at a time.")
    if channels > MAX_CHANNELS:
        raise InputError(
            f"audio: it has {channels} channels, at most {MAX_CHANNELS} can be read.",
            "Mix it down to stereo or mono before it comes here.",
        )
    if not waveform.is_floating_point():
        raise InputError(
            f"audio: its samples are {str(waveform.dtype).removeprefix('torch.')}, not float.",
            "Convert whole numbers to float in -1..1, for 16-bit audio by dividing by 32768.",
        )
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise InputError(
            f"audio: its sample rate is {sample_rate} Hz, outside {MIN_RATE} to {MAX_RATE} Hz.",
            "Resample the recording to 16, 44.1 or 48 kHz (below 16 kHz the sounds that shape the lips are missing).",
        )
    if samples < MIN_SECONDS * sample_rate:
        raise InputError(
            f"audio: it lasts {samples / sample_rate:.3f} s ({samples} samples at {sample_rate} Hz), "
            f"shorter than {MIN_SECONDS} s.",
            "Give at least 0.1 s of speech.",
        )
    finite = torch.isfinite(waveform)
    if not finite.all():
        bad = finite.numel() - int(finite.sum())
        raise InputError(
            f"audio: {bad} of its {finite.numel()} samples are NaN or infinite.",
            "Export the recording again; the step that made it went wrong.",
        )


def to_mono_16k(waveform: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """The mean of the channels at 16 kHz: [1, C, T] at sample_rate Hz -> float32 [N], N = T * 16000 // rate.

    The reference resamples with soxr's "HQ". The filter here is a Kaiser-windowed sinc set to the same pass band
    (flat to 7.3 kHz, nothing above 8 kHz): on speech at 22.05, 44.1 and 48 kHz it stays 72 dB below the signal from
    soxr's result (largest difference 2.5e-4 of full scale), torchaudio's default filter only 28 to 31 dB.
    """
    mono = waveform[0].float().mean(dim=0)
    if sample_rate == SAMPLE_RATE:
        return mono
    resampled = torchaudio.functional.resample(
        mono,
        sample_rate,
        SAMPLE_RATE,
        lowpass_filter_width=90,
        rolloff=0.957,
        resampling_method="sinc_interp_kaiser",
        beta=12.0,
    )
    return resampled[: mono.shape[0] * SAMPLE_RATE // sample_rate]  # not a sample more than there was sound


def loudness_gain(wave: torch.Tensor, target: float = TARGET_LUFS) -> tuple[float, float]:
    """Integrated loudness (ITU-R BS.1770-4, gated) of float [N] at 16 kHz, in LUFS, and the gain to the target.

    When everything lies below the gate (the loudness is minus infinity, or beyond 100 in size as the reference
    asks it) the gain is 1. A clip shorter than one gating block of 0.4 s, which the measure is not defined for, is
    played forwards and backwards in turn until the block is full, and that is measured: it has the clip's own
    power and no jumps, while padding with zeros would call the clip quieter than it is.
    """
    samples = wave.detach().cpu().double()
    if len(samples) < LOUDNESS_BLOCK:
        there_and_back = torch.cat((samples, samples.flip(0)))
        samples = there_and_back.repeat(math.ceil(LOUDNESS_BLOCK / len(there_and_back)))[:LOUDNESS_BLOCK]
    lufs = float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples.numpy()))
    if not abs(lufs) <= 100:
        return lufs, 1.0
    return lufs, 10.0 ** ((target - lufs) / 20.0)


def normalize_loudness(wave: torch.Tensor, target: float = TARGET_LUFS) -> torch.Tensor:
    """The waveform [N] at `target` LUFS, same dtype and device; may exceed 1, nothing is clipped."""
    _, gain = loudness_gain(wave, target)
    return wave if gain == 1.0 else wave * gain
