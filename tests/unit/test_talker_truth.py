"""The rule of the drawn mouth, on sounds whose answer is plain."""

from __future__ import annotations

import pytest
import torch

from talker.truth import SAMPLES, energy_of, measures, mouth, mouth_of_sound

RATE = 16_000


def tone(hertz: float, decibels: float, seconds: float = 2.0) -> torch.Tensor:
    """A sine of so much power, in dB of full scale."""
    time = torch.arange(int(seconds * RATE)) / RATE
    return 10 ** (decibels / 20) * 2**0.5 * torch.sin(2 * torch.pi * hertz * time)


def test_one_pair_of_values_a_frame():
    opening, width = mouth_of_sound(torch.randn(10 * SAMPLES + 639) * 0.1)
    assert opening.shape == width.shape == (10,)
    assert opening.dtype == width.dtype == torch.float32
    assert 0 <= opening.min() and opening.max() <= 1 and 0 <= width.min() and width.max() <= 1


def test_silence_and_soft_noise_keep_the_mouth_shut():
    assert mouth_of_sound(torch.zeros(RATE))[0].max() == 0
    assert mouth_of_sound(torch.randn(RATE) * 10 ** (-46 / 20))[0].max() == 0


def test_louder_opens_wider_up_to_one():
    openings = [mouth_of_sound(tone(500, level))[0][10].item() for level in (-60, -36, -30, -25, -21, -10)]
    assert openings[0] == 0 and openings[-1] == pytest.approx(1)
    assert openings == sorted(openings)
    assert 0.4 < openings[3] < 0.8


def test_level_is_the_power_of_the_sound():
    assert measures(tone(500, -20))[0] == pytest.approx(torch.full((50,), -20.0), abs=0.01)


@pytest.mark.parametrize("hertz", [50, 6500])
def test_hum_and_hiss_open_no_mouth(hertz):
    assert mouth_of_sound(tone(hertz, -22))[0].max() == 0


def test_bright_sounds_are_wide_and_dark_ones_round():
    dark, bright = tone(300, -22) + tone(900, -30), tone(300, -22) + tone(2300, -30)
    assert mouth_of_sound(dark)[1].max() < 0.2
    assert mouth_of_sound(bright)[1].min() > 0.8


def test_the_mouth_follows_within_a_frame_or_two_and_is_shut_where_it_is_silent():
    wave = torch.zeros(3 * RATE)
    wave[RATE : 2 * RATE] = tone(500, -22, 1.0)
    opening, _ = mouth_of_sound(wave)
    assert opening[:23].max() == 0 and opening[52:].max() == 0
    assert opening[27:48].min() > 0.6
    assert opening[24].item() == pytest.approx(opening[50].item(), abs=0.02)  # as soon as it is late: no lag


def test_a_shut_mouth_keeps_its_width():
    wave = torch.cat((torch.zeros(RATE), tone(2300, -25, 1.0), torch.zeros(RATE), tone(800, -25, 1.0)))
    opening, width = mouth_of_sound(wave)
    assert opening[60] == 0 and width[60] > 0.9 and width[95] < 0.1
    assert width[0] == width[20] > 0.9  # before the first word it is ready for it
    assert (mouth_of_sound(torch.zeros(RATE))[1] == 0.5).all()


def test_frames_cut_and_lengthen():
    wave = tone(500, -22)
    opening, width = mouth_of_sound(wave)
    longer, held = mouth_of_sound(wave, 60)
    assert torch.equal(longer[:50], opening) and longer[50:].max() == 0 and (held[50:] == width[-1]).all()
    assert len(mouth_of_sound(wave, 20)[0]) == len(mouth_of_sound(wave, 20)[1]) == 20


def test_a_batch_is_its_waves():
    waves = torch.stack([tone(500, -30) + tone(1200, -30), 0.05 * torch.randn(2 * RATE), torch.zeros(2 * RATE)])
    together = mouth(*measures(waves))
    for n, wave in enumerate(waves):
        for both, alone in zip(together, mouth_of_sound(wave), strict=True):
            assert torch.allclose(both[n], alone, atol=1e-6)


def test_energy_is_slow_and_of_the_same_range():
    opening = torch.zeros(2, 200)
    opening[:, 80:120:2] = 1.0
    energy = energy_of(opening)
    assert energy.shape == opening.shape and 0 <= energy.min() and energy.max() <= 1
    assert energy[:, 100].min() > 0.35 and energy[:, :40].max() < 0.01
    assert energy.diff().abs().max() < 0.05
