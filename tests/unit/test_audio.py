"""Checks, resampling and loudness of plain waveforms."""

from __future__ import annotations

import math

import pyloudnorm
import pytest
import torch

from infinitetalk.audio import check_audio, check_sound, loudness_gain, normalize_loudness, to_mono_16k
from infinitetalk.errors import InputError
from infinitetalk.sound import MemorySound, Sound, spool


def tone(frequency: float, rate: int, seconds: float, amplitude: float = 0.5) -> torch.Tensor:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (amplitude * torch.sin(2 * math.pi * frequency * time)).float()


def sound(wave: torch.Tensor, rate: int = 16_000) -> MemorySound:
    return MemorySound(wave[None] if wave.ndim == 2 else wave[None, None], rate)


def whole(given: Sound) -> torch.Tensor:
    return given.read(0, given.samples)[0]


def voice(rate: int = 16_000, seconds: float = 2.0, seed: int = 0) -> torch.Tensor:
    """Noise in syllables: loudness gating has something to do."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(round(seconds * rate), generator=generator)
    return 0.1 * noise * (tone(3.0, rate, seconds, 1.0) > -0.3)


@pytest.mark.parametrize("shape, rate", [((1, 1, 1600), 16_000), ((1, 2, 9600), 96_000), ((1, 1, 4410), 44_100)])
def test_good_audio(shape, rate):
    check_audio(torch.zeros(shape), rate)


BAD = {
    "missing": (None, 16_000, "no samples"),
    "empty": (torch.zeros(1, 1, 0), 16_000, "no samples"),
    "no channel": (torch.zeros(1, 0, 800), 16_000, "no samples"),
    "flat": (torch.zeros(16_000), 16_000, r"\[16000\]"),
    "batch": (torch.zeros(3, 1, 16_000), 16_000, "batch of 3"),
    "surround": (torch.zeros(1, 8, 16_000), 16_000, "8 channels"),
    "whole numbers": (torch.zeros(1, 1, 16_000, dtype=torch.int16), 16_000, "int16"),
    "8 kHz": (torch.zeros(1, 1, 16_000), 8_000, "8000 Hz"),
    "192 kHz": (torch.zeros(1, 1, 192_000), 192_000, "192000 Hz"),
    "short": (torch.zeros(1, 1, 1599), 16_000, "0.100 s .1599 samples"),
    "NaN": (torch.full((1, 1, 16_000), math.nan), 16_000, "16000 of its 16000"),
    "infinite": (torch.tensor([0.0, math.inf]).repeat(8_000)[None, None], 16_000, "8000 of its 16000"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_audio_is_named_with_its_numbers_and_a_remedy(name):
    waveform, rate, problem = BAD[name]
    with pytest.raises(InputError, match=problem) as caught:
        check_audio(waveform, rate)
    assert caught.value.problem.startswith("audio: ") and len(caught.value.remedy) > 10


def test_16k_mono_is_left_alone():
    wave = voice()
    torch.testing.assert_close(whole(to_mono_16k(sound(wave))), wave, rtol=0, atol=0)


def test_stereo_is_the_mean():
    left, right = voice(seed=1), voice(seed=2)
    mono = whole(to_mono_16k(sound(torch.stack((left, right)).double())))
    assert mono.dtype == torch.float32
    torch.testing.assert_close(mono, (left + right) / 2)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_speech_and_drops_what_16k_cannot_hold(rate):
    seconds = 0.5
    for frequency in (110.0, 1_000.0, 7_200.0):
        out = whole(to_mono_16k(sound(tone(frequency, rate, seconds), rate)))
        assert out.shape == (round(seconds * rate) * 16_000 // rate,)
        inner = slice(400, -400)  # the filter rings at the cut ends
        torch.testing.assert_close(out[inner], tone(frequency, 16_000, seconds)[inner], rtol=0, atol=2e-4)
    for frequency in (7_980.0, 8_020.0, 8_300.0):  # nothing folds back from above 8 kHz
        assert whole(to_mono_16k(sound(tone(frequency, rate, seconds), rate)))[400:-400].abs().max() < 2e-4


@pytest.mark.parametrize("amplitude", [0.01, 0.05, 1.0, 8.0])
def test_loudness_lands_on_the_target(amplitude):
    wave = amplitude * voice()
    lufs, gain = loudness_gain(sound(wave))
    out = whole(normalize_loudness(sound(wave)))
    assert gain == pytest.approx(10 ** ((-23 - lufs) / 20))
    torch.testing.assert_close(out, wave * gain)
    assert pyloudnorm.Meter(16_000).integrated_loudness(out.double().numpy()) == pytest.approx(-23, abs=0.01)


@pytest.mark.parametrize("samples, amplitude", [(16_000, 0.0), (16_000, 1e-6), (1_600, 0.0)])
def test_silence_is_left_alone(samples, amplitude):
    wave = amplitude * voice()[:samples]
    lufs, gain = loudness_gain(sound(wave))
    assert lufs == -math.inf and gain == 1.0
    assert torch.equal(whole(normalize_loudness(sound(wave))), wave)


@pytest.mark.parametrize("samples", [1_600, 3_000, 6_399])
def test_a_clip_under_one_block_is_as_loud_as_its_long_version(samples):
    """A steady sound is as loud in 0.1 s as in 2 s; zero padding would find up to 6 LU less."""
    noise = 0.1 * torch.randn(32_000, generator=torch.Generator().manual_seed(3))
    whole, _ = loudness_gain(sound(noise))
    short, _ = loudness_gain(sound(noise[:samples]))
    assert short == pytest.approx(whole, abs=0.7)


def test_one_block_is_measured_as_it_is():
    wave = voice(seconds=0.4)
    lufs, _ = loudness_gain(sound(wave))
    assert lufs == pytest.approx(pyloudnorm.Meter(16_000).integrated_loudness(wave.double().numpy()))


def test_a_recording_on_disk_is_checked_like_one_in_memory(tmp_path):
    wave = voice(seconds=40)[None]
    wave[0, 600_000] = math.nan
    with pytest.raises(InputError, match="1 of its 640000 samples are NaN"):
        check_sound(spool([wave], 16_000, tmp_path / "a.f32"))
    check_sound(spool([wave[:, :600_000]], 16_000, tmp_path / "a.f32"))
    with pytest.raises(InputError, match="3 channels"):
        check_sound(spool([torch.zeros(3, 16_000)], 16_000, tmp_path / "a.f32"))


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_resampling_in_pieces_is_what_it_is_in_one(rate):
    mono = to_mono_16k(sound(torch.stack((voice(rate, seed=1), voice(rate, seed=2))), rate))
    together = whole(mono)
    for count in (1, 777, 16_000):
        starts = range(-count, mono.samples + count, max(count, 331))
        for start in list(starts)[:60]:
            expected = torch.nn.functional.pad(together, (count, 2 * count))[start + count : start + 2 * count]
            torch.testing.assert_close(mono.read(start, count)[0], expected, rtol=0, atol=1e-6)
