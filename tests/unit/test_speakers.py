"""When each speaker is heard, what is encoded again, and the mix for the video."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.features import AudioFeatures, Encoded
from infinitetalk.sound import MemorySound, Sound, spool
from infinitetalk.speakers import MAX_START, Speaker, Speakers, arrange, begins, join
from infinitetalk.timeline import feature_frames

A, B, C = (torch.full((length,), value) for length, value in ((6400, 0.1), (9600, 0.2), (3200, 0.3)))


def sound(wave: torch.Tensor | None, rate: int = 16_000) -> MemorySound | None:
    return None if wave is None else MemorySound(wave[None, None], rate)


def whole(given: Sound) -> torch.Tensor:
    samples = given.read(0, given.samples)
    return samples[0] if len(samples) == 1 else samples


def arranged(waves: list, order: str) -> list[torch.Tensor]:
    return [whole(one) for one in arrange([sound(wave) for wave in waves], order)]


def encoder(log: list):
    def encode(wave: Sound, made_of: str) -> Encoded:
        log.append(whole(wave))
        frames = feature_frames(wave.samples)
        return Encoded(torch.ones(frames, 2, 3) * log[-1].max(), torch.zeros(4, 2, 3), made_of)

    return encode


def voice(wave: torch.Tensor, log: list | None = None, rate: int = 16_000, channels: int = 1) -> AudioFeatures:
    first = encoder([])(sound(wave), f"{len(wave)} of {wave[0]}")
    played = wave.repeat_interleave(rate // 16_000).expand(1, channels, -1) * 3  # louder than what the model hears
    encode = encoder([] if log is None else log)
    return AudioFeatures(first.speech, first.silence, MemorySound(played, rate), first.identity, sound(wave), encode)


def test_together_is_padded_with_silence_to_the_longest():
    one, two, three = arranged([A, B, None], "para")
    assert torch.equal(one, torch.cat((A, torch.zeros(3200)))) and torch.equal(two, B) and not three.any()
    assert len(three) == len(B)


def test_one_after_the_other():
    one, two, three = arranged([A, B, C], "add")
    assert torch.equal(one, torch.cat((A, torch.zeros(12800))))
    assert torch.equal(two, torch.cat((torch.zeros(6400), B, torch.zeros(3200))))
    assert torch.equal(three, torch.cat((torch.zeros(16000), C)))


def test_a_silent_speaker_takes_no_time():
    one, two, three = arranged([A, None, B], "add")
    assert len(one) == len(two) == 16000 and not two.any() and torch.equal(three[6400:], B)


def test_a_start_of_its_own_leaves_the_order_to_the_others():
    assert begins([100, 50, 30], "add", [None, 500, None]) == [0, 500, 100]
    assert begins([100, 50, 30], "para", [None, 500, 7]) == [0, 500, 7]


@pytest.mark.parametrize("waves", [[None, None], [None], [torch.zeros(0)]])
def test_nobody_speaking_is_refused(waves):
    with pytest.raises(InputError, match="none of the . speakers has a voice"):
        arranged(waves, "para")


def test_an_unknown_order_is_refused():
    with pytest.raises(InputError, match="order: 'mix' is unknown"):
        arranged([A, B], "mix")


@pytest.mark.parametrize("start", [-0.1, float("nan"), float("inf"), MAX_START + 1])
def test_a_start_that_is_no_time_is_refused(start):
    with pytest.raises(InputError, match="start: "):
        Speaker(start=start)


def test_a_voice_that_stays_as_it_is_keeps_its_features():
    log: list = []
    long, short = voice(B, log), voice(A, log)
    voices, _ = join([Speaker(long), Speaker(short)], "para")
    assert voices[0] is long and voices[1] is not short and len(log) == 1
    assert torch.equal(log[0], arranged([B, A], "para")[1])
    assert voices[0].frames == voices[1].frames == feature_frames(len(B))


def test_silent_speakers_hear_zeros_through_the_encoder_once():
    log: list = []
    voices, mix = join([Speaker(), Speaker(voice(A, log)), Speaker()], "para")
    assert len(log) == 1 and not log[0].any() and len(log[0]) == len(A)
    assert voices[0] is voices[2] and mix is voices[1].sound


def test_one_voice_alone_is_untouched():
    one = voice(A)
    voices, mix = join([Speaker(one)], "add")
    assert voices == (one,) and mix is one.sound


def test_a_late_start_moves_model_and_sound_alike():
    voices, mix = join([Speaker(voice(A, rate=48_000), start=1.0)], "para")
    assert voices[0].frames == feature_frames(16_000 + len(A)) and mix.rate == 48_000
    assert not whole(mix)[:48_000].any() and mix.samples == 48_000 + 3 * len(A)


def test_the_mix_is_the_recordings_as_they_came():
    """Highest rate and channel count, own loudness, own times."""
    _, mix = join([Speaker(voice(A)), Speaker(voice(B / 2, rate=48_000, channels=2))], "add")
    waveform = mix.read(0, mix.samples)
    assert mix.rate == 48_000 and waveform.shape == (2, 3 * (len(A) + len(B)))
    assert waveform[0, 5000:15000].allclose(torch.tensor(0.3), atol=1e-2)
    assert waveform[:, 3 * len(A) + 10 :].allclose(torch.tensor(0.3), atol=1e-2)


def test_a_mix_that_would_clip_is_turned_down():
    _, mix = join([Speaker(voice(B)), Speaker(voice(B))], "para")
    assert whole(mix).abs().max().item() == pytest.approx(1.0)


def test_features_without_sound_are_refused_by_name():
    bare = AudioFeatures(torch.zeros(10, 2, 3), torch.zeros(4, 2, 3), sound(torch.zeros(6400)), "bare")
    with pytest.raises(InputError, match=r"speaker 2 \(Bo\): its features hold no sound"):
        join([Speaker(voice(A)), Speaker(bare, name="Bo")], "para")


def test_features_without_encoder_are_refused_only_when_silence_must_be_added():
    bare = AudioFeatures(torch.zeros(10, 2, 3), torch.zeros(4, 2, 3), sound(A), "bare", sound(A))
    assert len(join([Speaker(bare), Speaker(bare)], "para")[0]) == 2
    with pytest.raises(InputError, match="speaker 1: silence must be added"):
        join([Speaker(bare), Speaker(bare)], "add")


def test_speakers_stand_in_for_features():
    one = voice(A)
    both = Speakers((one, one), torch.zeros(3, 2, 2), one.sound)
    assert both.frames == one.frames and one.voices == (one,) and one.regions is None


def test_the_identity_follows_from_who_says_what_when_and_where():
    def identity(order: str, start: float | None = None, regions: torch.Tensor | None = None) -> str:
        voices, mix = join([Speaker(voice(A), start=start), Speaker(voice(B))], order)
        return Speakers(voices, regions, mix).identity

    known = [identity("para"), identity("add"), identity("para", 0.5), identity("para", regions=torch.zeros(3, 2, 2))]
    assert len(set(known)) == 4 and identity("add") == known[1]


def test_voices_on_disk_give_what_voices_in_memory_give(tmp_path):
    random = torch.randn(2, 40_000, generator=torch.Generator().manual_seed(0)) * 0.2
    kept = [voice(random[0], rate=48_000), voice(random[1, :30_000])]
    spooled = []
    for n, one in enumerate(kept):
        wave = spool([one.wave.read(0, one.wave.samples)], 16_000, tmp_path / f"wave{n}")
        heard = spool([one.sound.read(0, one.sound.samples)], one.sound.rate, tmp_path / f"sound{n}")
        spooled.append(AudioFeatures(one.speech, one.silence, heard, one.identity, wave, one.encode))
    for order in ("para", "add"):
        (voices, mix), (others, mapped) = (
            join([Speaker(one, start=0.3 if order == "add" else None) for one in given], order)
            for given in (kept, spooled)
        )
        assert mix.digest == mapped.digest and mix.rate == 48_000
        for one, other in zip(voices, others, strict=True):
            assert torch.equal(one.speech, other.speech) and one.identity == other.identity
