"""Features of speech at 25 a second, in memory or on disk, and those that each window sees.

Knows no encoder, no checkpoint and no host; encoding.py makes them.

Shapes: N samples at 16 kHz, F video frames, L encoder layers, H encoder width, K silence frames.
Source of the rules: the audio path of the public InfiniteTalk implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .config import VAE_TIME
from .feature_file import FeatureFile, speech_rows
from .sound import Sound
from .timeline import Window

TAPS = (-2, -1, 0, 1, 2)  # feature frames around a video frame
MIRROR_FRAMES = 3  # frames the reference appends beyond the end of its last window


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a wave; see AudioFeatures."""

    speech: torch.Tensor | FeatureFile
    silence: torch.Tensor
    identity: str


# (wave, what determines it) -> features; the second is part of their identity, in place of the wave's own bits,
# which differ between machines in the last place.
Encode = Callable[[Sound, str], Encoded]


@dataclass(frozen=True)
class AudioFeatures:
    """What a run needs of one speaker's recording.

    speech: float32 [frames, L, H] on the CPU or in a file, 25 a second. silence: [K, L, H], the frames that follow
    when the speech is over, as the encoder hears them in context. sound: the recording as it came, for the finished
    video. identity: sha256 of what determines speech and silence. wave: what the encoder heard, mono at 16 kHz and
    its loudness normalised; encode: the encoder. Several speakers need both, because a voice between silences is
    encoded as a whole.
    """

    speech: torch.Tensor | FeatureFile
    silence: torch.Tensor
    sound: Sound
    identity: str
    wave: Sound | None = None
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
    taps = speech_rows(features.speech, index.clamp(max=features.frames - 1))
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
