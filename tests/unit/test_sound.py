"""Sound in pieces: memory, disk, one after the other; the digest; and that reading takes no memory along."""

from __future__ import annotations

import os

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.sound import (
    Amplified,
    Chain,
    MemorySound,
    Resampled,
    as_channels,
    at_rate,
    is_long,
    pieces,
    reopen,
    seconds,
    spool,
)

from .reading import alone


def noise(samples: int, channels: int = 2, seed: int = 0) -> torch.Tensor:
    return 0.2 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


def cut(wave: torch.Tensor, length: int) -> list[torch.Tensor]:
    return list(wave.split(length, dim=1))


@pytest.fixture(params=["memory", "disk", "chain"])
def sound(request, tmp_path):
    wave = noise(5_000)
    if request.param == "memory":
        return MemorySound(wave[None], 16_000)
    if request.param == "disk":
        return spool(cut(wave, 777), 16_000, tmp_path / "s")
    return Chain([(MemorySound(part[None], 16_000), part.shape[1]) for part in cut(wave, 1_300)], 16_000, 2)


@pytest.mark.parametrize("start, count", [(0, 5_000), (4_990, 30), (-20, 50), (-9, 5), (6_000, 7), (1_234, 0)])
def test_any_stretch_is_the_sound_or_silence(sound, start, count):
    padded = torch.nn.functional.pad(noise(5_000), (100, 3_000))
    assert torch.equal(sound.read(start, count), padded[:, start + 100 : start + 100 + count])
    assert (sound.rate, sound.channels, sound.samples) == (16_000, 2, 5_000)


def test_what_is_read_can_be_written_to(sound):
    sound.read(0, 5_000).zero_()
    assert torch.equal(sound.read(0, 5_000), noise(5_000))


def test_equal_sounds_have_equal_digests_whatever_they_are(sound):
    assert sound.digest == MemorySound(noise(5_000)[None], 16_000).digest
    others = [noise(5_000, seed=1), noise(4_999), noise(5_000)[:1], noise(5_000).flip(0)]
    known = {MemorySound(wave[None], 16_000).digest for wave in others}
    known.add(MemorySound(noise(5_000)[None], 22_050).digest)
    assert len(known) == 5 and sound.digest not in known


def test_pieces_are_the_whole(sound):
    assert torch.equal(torch.cat(list(pieces(sound, 999)), dim=1), noise(5_000))


def test_other_types_and_devices_are_read_as_float32():
    wave = noise(100).double()
    assert torch.equal(MemorySound(wave[None], 16_000).read(0, 100), wave.float())


def test_a_spool_is_found_again_when_it_is_whole(tmp_path):
    made = spool(cut(noise(500), 90), 44_100, tmp_path / "s")
    again = reopen(tmp_path / "s")
    assert (again.rate, again.channels, again.samples, again.digest) == (44_100, 2, 500, made.digest)
    assert torch.equal(made.mapped()[0], noise(500)) and made.mapped().shape == (1, 2, 500)
    os.truncate(tmp_path / "s", 3_999)
    assert reopen(tmp_path / "s") is None and reopen(tmp_path / "nothing") is None
    with pytest.raises(OSError, match="less than the 500 samples"):
        made.read(0, 500)


def test_a_spool_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield noise(10)
        raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        spool(broken(), 16_000, tmp_path / "s")
    with pytest.raises(ValueError, match="no sound"):
        spool([], 16_000, tmp_path / "s")
    with pytest.raises(InputError, match="cannot be written"):
        spool([noise(10)], 16_000, tmp_path / "missing" / "s")
    assert os.listdir(tmp_path) == []


def test_a_chain_gives_every_part_its_exact_length():
    one, two = MemorySound(noise(1_000, 1)[None], 16_000), MemorySound(noise(8_000, 2, 1)[None], 48_000)
    chain = Chain([(one, 1_200), (None, 50), (two, 2_000)], 16_000, 1)
    assert chain.samples == 3_250
    whole = chain.read(0, chain.samples)
    assert torch.equal(whole[:, :1_000], noise(1_000, 1)) and not whole[:, 1_000:1_250].any()
    tail = as_channels(at_rate(two, 16_000), 1)
    assert tail.samples == 2_667 and torch.equal(whole[:, 1_250:], tail.read(0, 2_000))
    assert torch.equal(chain.read(900, 700), whole[:, 900:1_600])


@pytest.mark.parametrize(("rate", "target"), [(16_000, 48_000), (44_100, 48_000), (48_000, 44_100), (22_050, 16_000)])
def test_resampling_keeps_a_tone_and_does_not_depend_on_the_pieces(rate, target):
    time = torch.arange(rate, dtype=torch.float64) / rate
    sound = MemorySound((0.5 * torch.sin(2 * torch.pi * 440 * time)).float()[None, None], rate)
    resampled = Resampled(sound, target)
    whole = resampled.read(0, resampled.samples)
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(target, dtype=torch.float64) / target)
    inner = slice(600, target - 600)  # the filter rings at the cut ends
    torch.testing.assert_close(whole[0, inner], expected.float()[inner], rtol=0, atol=2e-4)
    assert (torch.cat(list(pieces(resampled, 1_237)), dim=1) - whole).abs().max() < 1e-6


def test_a_gain_is_applied_where_it_is_read():
    sound = Amplified(MemorySound(noise(100)[None], 16_000), 0.25)
    assert torch.equal(sound.read(-5, 20)[:, 5:], noise(100)[:, :15] * 0.25)


def test_what_is_long():
    assert not is_long(MemorySound(torch.zeros(1, 1, 60 * 8_000), 8_000))
    assert is_long(MemorySound(torch.zeros(1, 1, 60 * 8_000 + 1), 8_000))
    assert seconds(MemorySound(torch.zeros(1, 2, 12_000), 8_000)) == 1.5


def test_an_hour_is_read_in_the_memory_of_a_piece(tmp_path):
    code = """
import sys, psutil, torch
from infinitetalk.loudness import integrated_loudness
from infinitetalk.audio import to_mono_16k
from infinitetalk.sound import pieces, spool
process = psutil.Process()
tone = torch.sin(torch.arange(48_000) * 0.05).expand(2, -1) * 0.1
sound = spool((tone for _ in range(60)), 48_000, sys.argv[1])
def work(sound):
    mono = to_mono_16k(sound)
    integrated_loudness(spool(pieces(mono), 16_000, sys.argv[1] + ".16k"))
    assert len(sound.digest) == 64
    return process.memory_info().rss / 2**20
early = work(sound)
late = work(spool((tone for _ in range(600)), 48_000, sys.argv[1]))
print(early, late)
"""
    early, late = map(float, alone(code, tmp_path / "s").stdout.split())
    assert late - early < 30  # ten minutes of stereo at 48 kHz are 230 MB
