"""The features that each window sees, of features in memory and on disk."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.config import WindowConfig
from infinitetalk.feature_file import save_features
from infinitetalk.features import AudioFeatures, split_taps, window_indices, window_taps
from infinitetalk.sound import MemorySound
from infinitetalk.timeline import plan


def speech(frames: int, silence: int = 4) -> AudioFeatures:
    """Features that hold their own frame number; silence frame i holds -1 - i."""
    own = torch.arange(frames, dtype=torch.float32)[:, None, None]
    sound = MemorySound(torch.zeros(1, 1, frames * 640), 16_000)
    return AudioFeatures(own, -1.0 - torch.arange(silence)[:, None, None], sound, "numbers")


def test_indices_inside_the_speech_are_the_neighbours():
    first, second = plan(100, WindowConfig(17, 9))[:2]
    for tail in ("silence", "mirror"):
        index = window_indices(100, first, tail, is_last=False)
        assert index[0].tolist() == [0, 0, 0, 1, 2] and index[5].tolist() == [3, 4, 5, 6, 7]
        assert torch.equal(window_indices(100, second, tail, is_last=False)[:, 2], torch.arange(8, 25))


def test_silence_follows_the_speech_and_its_last_frame_is_held():
    (window,) = plan(10, WindowConfig(17, 9))
    middle = window_taps(speech(10), window)[:, 2, 0, 0]
    assert middle.tolist() == [*range(10), -1, -2, -3, -4, -4, -4, -4]


def test_mirror_runs_backwards_in_the_last_window_only():
    (window,) = plan(14, WindowConfig(17, 9))
    last = window_taps(speech(14), window, "mirror", is_last=True)
    assert last[:, 2, 0, 0].tolist() == [*range(14), 13, 12, 11]
    assert last[-1, :, 0, 0].tolist() == [13, 12, 11, 10, 9]
    held = window_taps(speech(14), window, "mirror", is_last=False)
    assert held[:, 2, 0, 0].tolist() == [*range(14), 13, 13, 13]


def test_mirror_of_very_short_speech_ends_on_its_first_frame():
    (window,) = plan(3, WindowConfig(17, 9))
    assert window_taps(speech(3), window, "mirror")[:, 2, 0, 0].tolist() == [0, 1, 2, 2, 1, *[0] * 12]


@pytest.mark.parametrize("tail", ["silence", "mirror"])
def test_clip_of_long_speech_looks_past_its_end_into_the_speech(tail):
    (window,) = plan(60, WindowConfig(17, 9), mode="clip")
    assert window_taps(speech(60), window, tail)[-1, :, 0, 0].tolist() == [14, 15, 16, 17, 18]


@pytest.mark.parametrize("tail", ["silence", "mirror"])
@pytest.mark.parametrize("total", [1, 2, 16, 17, 18, 33, 100])
def test_every_window_is_full_whatever_the_length(total, tail):
    windows = plan(total, WindowConfig(17, 9))
    for window in windows:
        taps = window_taps(speech(total), window, tail, is_last=window is windows[-1])
        assert taps.shape == (17, 5, 1, 1) and taps.dtype == torch.float32
        shown = taps[window.motion : window.motion + window.keep, 2, 0, 0]
        assert shown.tolist() == list(range(window.start + window.motion, window.start + window.motion + window.keep))


def test_features_are_not_changed_by_windows():
    features = speech(10)
    (window,) = plan(10, WindowConfig(17, 9))
    window_taps(features, window).zero_()
    assert torch.equal(features.speech, speech(10).speech) and torch.equal(features.silence, speech(10).silence)


@pytest.mark.parametrize("frames", [5, 17, 81])
def test_split_gives_each_latent_frame_its_taps(frames):
    frame, tap = torch.meshgrid(torch.arange(frames), torch.arange(5), indexing="ij")
    first, latter = split_taps(torch.stack((frame, tap), -1))
    assert first.tolist() == [[[0, tap] for tap in range(5)]]
    assert latter.shape == ((frames - 1) // 4, 8, 2)
    for group, taps in enumerate(latter.tolist()):
        start = 1 + 4 * group
        before, after = [[start, tap] for tap in (0, 1, 2)], [[start + 3, tap] for tap in (2, 3, 4)]
        assert taps == [*before, [start + 1, 2], [start + 2, 2], *after]


@pytest.mark.parametrize("tail", ["silence", "mirror"])
def test_windows_of_features_on_disk_are_those_of_features_in_memory(tmp_path, tail):
    kept = speech(37)
    file = AudioFeatures(save_features(kept, tmp_path / "a"), kept.silence, kept.sound, kept.identity)
    assert file.frames == 37
    windows = plan(37, WindowConfig(17, 9))
    for window in windows:
        last = window is windows[-1]
        assert torch.equal(window_taps(file, window, tail, last), window_taps(kept, window, tail, last))
