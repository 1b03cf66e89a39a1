"""Features at 25 Hz, the silence after them, and what each window sees."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.audio import to_mono_16k
from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.features import (
    AudioFeatures,
    encode_features,
    normalize_wave,
    split_taps,
    to_25hz,
    window_indices,
    window_taps,
)
from infinitetalk.sound import MemorySound
from infinitetalk.timeline import plan
from infinitetalk.wav2vec import conv_features, layer_outputs

from .test_wav2vec import BASE, build


def conv_power(wave: torch.Tensor) -> torch.Tensor:
    """A convolution stack of one channel: mean power of each 20 ms, so that frames show what they heard."""
    return wave.square()[None].unfold(-1, 400, 320).mean(-1)


def layers_two(x: torch.Tensor) -> list[torch.Tensor]:
    return [x, 2 * x]


def speech(frames: int, silence: int = 4) -> AudioFeatures:
    """Features that hold their own frame number; silence frame i holds -1 - i."""
    own = torch.arange(frames, dtype=torch.float32)[:, None, None]
    sound = MemorySound(torch.zeros(1, 1, frames * 640), 16_000)
    return AudioFeatures(own, -1.0 - torch.arange(silence)[:, None, None], sound, "numbers")


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_normalize_wave():
    wave = 3 + 0.1 * noise(5_000)
    out = normalize_wave(wave)
    assert abs(out.mean()) < 1e-5 and out.var(unbiased=False) == pytest.approx(1, abs=1e-4)
    assert torch.equal(normalize_wave(torch.zeros(100)), torch.zeros(100))
    torch.testing.assert_close(normalize_wave(wave[:10], like=wave), out[:10])


def test_to_25hz_keeps_first_and_last_frame():
    conv = torch.arange(49.0)[None, None].repeat(1, 3, 1)
    out = to_25hz(conv, 25)
    assert out.shape == (1, 25, 3)
    torch.testing.assert_close(out[0, :, 1], torch.linspace(0, 48, 25))


@pytest.mark.parametrize("samples, frames", [(1_600, 2), (16_000, 25), (52_800, 82)])
def test_shapes_and_device(samples, frames):
    found, silence = encode_features(noise(samples).double(), conv_power, layers_two, normalize=False)
    assert found.shape == (frames, 2, 1) and silence.shape == (100, 2, 1)
    assert found.dtype == silence.dtype == torch.float32
    torch.testing.assert_close(found[:, 1], 2 * found[:, 0])


@pytest.mark.parametrize("samples", [1_280, 16_000, 16_600, 400_000, 400_600])
def test_silence_starts_where_the_speech_ends(samples):
    """Quiet from the second frame on; the first still hears what the speech has beyond its last whole frame."""
    found, silence = encode_features(noise(samples), conv_power, layers_two, normalize=False)
    assert found[:, 0].min() > 0.3
    assert (silence[0, 0] > 0.3) == (samples % 640 > 500)
    assert silence[2:, 0].max() == 0


def test_silence_is_heard_at_the_level_of_the_speech():
    """Zeros after a recording with an offset lie below its mean by what normalisation of the speech alone gives."""
    wave = 0.1 + 0.2 * noise(16_000)
    _, silence = encode_features(wave, conv_power, layers_two, normalize=True)
    level = wave.mean().square() / wave.var(unbiased=False)
    torch.testing.assert_close(silence[2:, 0], level.expand(98, 1), rtol=1e-4, atol=0)


def test_silence_of_a_real_encoder_is_not_a_file_of_zeros():
    model = build(BASE)
    found, silence = encode_features(
        noise(16_000), lambda w: conv_features(model, w), lambda x: layer_outputs(model, x), normalize=True
    )
    assert found.shape == (25, 2, 128) and silence.shape == (100, 2, 128)
    assert torch.isfinite(silence).all() and not torch.allclose(silence[0], silence[50], atol=1e-3)


def test_less_than_a_frame_is_refused():
    with pytest.raises(InputError, match="639 samples"):
        encode_features(torch.zeros(639), conv_power, layers_two, normalize=False)


def test_loud_and_stereo_input_reach_the_same_frames():
    wave = noise(44_100)
    mono = to_mono_16k(wave.repeat(2, 1)[None], 44_100)
    found, _ = encode_features(mono, conv_power, layers_two, normalize=True)
    assert found.shape[0] == 25


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
