"""Speech at 25 features a second, what a silence sounds like after it, and the features each window sees.

The encoder comes in as two functions, so that any wav2vec2 can be used:
    conv: wave [1, N] -> [1, C, T], the convolution stack
    layers: [1, T, C] -> one [1, T, H] per layer, the transformer
Knows no checkpoint, no window plan and no host.

Shapes: N samples at 16 kHz, F video frames, L encoder layers, H encoder width, K silence frames.
Source of the rules: the audio path of the public InfiniteTalk implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .config import FPS, SAMPLE_RATE, VAE_TIME
from .errors import InputError
from .sound import Sound
from .timeline import Window, feature_frames

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
SILENCE_FRAMES = 4 * FPS  # a window's overhang is at most its length, 81 frames, and two taps
CONTEXT_FRAMES = 10 * FPS  # speech that the encoder hears before that silence
TAPS = (-2, -1, 0, 1, 2)  # feature frames around a video frame
MIRROR_FRAMES = 3  # frames the reference appends beyond the end of its last window

Conv = Callable[[torch.Tensor], torch.Tensor]
Layers = Callable[[torch.Tensor], Sequence[torch.Tensor]]
Encode = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class AudioFeatures:
    """What a run needs of one speaker's recording.

    speech: float32 [frames, L, H] on the CPU, 25 a second. silence: [K, L, H], the frames that follow when the
    speech is over, as the encoder hears them in context. sound: the recording as it came, for the finished video.
    identity: sha256 of what determines speech and silence. wave: what the encoder heard, float32 [N] at 16 kHz and its
    loudness normalised; encode: the encoder, wave -> (speech, silence). Several speakers need both, because a
    voice between silences is encoded as a whole.
    """

    speech: torch.Tensor
    silence: torch.Tensor
    sound: Sound
    identity: str
    wave: torch.Tensor | None = None
    encode: Encode | None = None

    @property
    def frames(self) -> int:
        """Video frames of the speech."""
        return self.speech.shape[0]

    @property
    def voices(self) -> tuple[AudioFeatures, ...]:
        """Itself: one voice, as `speakers.Speakers` has several."""
        return (self,)

    @property
    def regions(self) -> None:
        """One voice speaks for the whole picture."""
        return None


def normalize_wave(wave: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """Zero mean and unit variance over the whole waveform [N] (biased variance, epsilon 1e-7).

    like: the waveform to take mean and variance of, if another.
    """
    like = wave if like is None else like
    return (wave - like.mean()) / torch.sqrt(like.var(unbiased=False) + 1e-7)


def to_25hz(conv: torch.Tensor, frames: int) -> torch.Tensor:
    """Convolution features [1, C, T] resampled in time to [1, frames, C], linearly, first and last frame kept."""
    return torch.nn.functional.interpolate(conv, size=frames, mode="linear", align_corners=True).transpose(1, 2)


def encode_features(
    wave: torch.Tensor, conv: Conv, layers: Layers, normalize: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Speech features [frames, L, H] and silence features [K, L, H], float32 on the CPU.

    wave: [N] at 16 kHz on the encoder's device, loudness already normalised. normalize: give the encoder the
    waveform at zero mean and unit variance. The convolution features are brought to 25 Hz before the
    transformer, which therefore runs at the video's rate. The silence is encoded behind the last 10 s of the
    speech, so that it starts as the encoder hears a voice end, not as a file of zeros begins.
    """
    frames = feature_frames(wave.shape[-1])
    if frames < 1:
        raise InputError(f"audio: {wave.shape[-1]} samples at 16 kHz are less than one frame.", "Give at least 0.1 s.")
    context = min(frames, CONTEXT_FRAMES)
    total = context + SILENCE_FRAMES
    followed = wave.new_zeros(total * SAMPLES_PER_FRAME)
    last = wave[(frames - context) * SAMPLES_PER_FRAME :]
    followed[: len(last)] = last
    if normalize:
        wave, followed = normalize_wave(wave), normalize_wave(followed, like=wave)
    return _encode(wave, frames, conv, layers), _encode(followed, total, conv, layers)[context:].clone()


def _encode(wave: torch.Tensor, frames: int, conv: Conv, layers: Layers) -> torch.Tensor:
    outputs = layers(to_25hz(conv(wave[None]), frames))
    stacked = torch.empty(frames, len(outputs), outputs[0].shape[-1])
    for i, output in enumerate(outputs):
        stacked[:, i] = output[0]
    return stacked


def window_indices(frames: int, window: Window, tail: str = "silence", is_last: bool = True) -> torch.Tensor:
    """The feature frame at each video frame and tap of a window: int64 [F, 5].

    frames: length of the speech. Before the speech the first frame is held. After it, with tail "silence", index
    frames + i stands for silence frame i. With "mirror" the last frame is held, but in the last window the speech
    runs backwards from its end, for window.end - frames + 3 frames and at most its whole length, and what that
    ends on is held: the reference's rule. is_last: the window is the run's last one; it matters only to a speaker
    who ends before the first speaker does.
    """
    index = torch.arange(window.start, window.end)[:, None] + torch.tensor(TAPS)
    if tail == "silence":
        return index.clamp(min=0)
    appended = 0
    if is_last and frames <= window.end:
        appended = min(window.end - frames + MIRROR_FRAMES, frames)
    index = index.clamp(0, frames + appended - 1)
    return torch.where(index < frames, index, 2 * frames - 1 - index)


def window_taps(features: AudioFeatures, window: Window, tail: str = "silence", is_last: bool = True) -> torch.Tensor:
    """The features of a window, float32 [F, 5, L, H]; silence beyond its K frames holds the last one."""
    index = window_indices(features.frames, window, tail, is_last)
    taps = features.speech[index.clamp(max=features.frames - 1)]
    after = index >= features.frames
    taps[after] = features.silence[(index[after] - features.frames).clamp(max=len(features.silence) - 1)]
    return taps


def split_taps(taps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The taps of each latent frame: [F, 5, ...] -> first [1, 5, ...] and latter [(F-1)/4, 8, ...].

    The first latent frame stands for the first video frame and takes all its taps. Each later one stands for four:
    taps 0-2 of the first of them, the middle tap of the second and third, taps 2-4 of the fourth.
    """
    middle = len(TAPS) // 2
    groups = taps[1:].unflatten(0, (-1, VAE_TIME))
    latter = torch.cat(
        (groups[:, 0, : middle + 1], groups[:, 1 : VAE_TIME - 1, middle], groups[:, VAE_TIME - 1, middle:]), dim=1
    )
    return taps[:1], latter
