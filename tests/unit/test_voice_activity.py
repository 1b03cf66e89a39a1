"""The silence gate on speech with silences put into it, on noise, tones and clips, and what it does to features."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest
import torch

from infinitetalk import voice_activity
from infinitetalk.audio import normalize_loudness, to_mono_16k
from infinitetalk.config import SAMPLE_RATE
from infinitetalk.errors import InputError
from infinitetalk.feature_file import FeatureWriter
from infinitetalk.features import AudioFeatures, window_taps
from infinitetalk.sound import MemorySound, Stretch, spool
from infinitetalk.sound_file import open_sound_file
from infinitetalk.speakers import Speakers
from infinitetalk.timeline import Window
from infinitetalk.voice_activity import (
    GatedSpeech,
    gated,
    mask_of,
    silence_share,
    speech_mask,
    speech_probability,
    with_gate,
)

from .reading import ROOT, alone

FRAME = SAMPLE_RATE // 25
SPEECH = ROOT / "demo" / "assets" / "speech.flac"


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> torch.Tensor:
    """The sample speech as the encoder hears it, [N] at 16 kHz, whole frames."""
    sound = open_sound_file(SPEECH, tmp_path_factory.mktemp("speech") / "a.f32")
    wave = normalize_loudness(to_mono_16k(sound))
    return wave.read(0, wave.samples // FRAME * FRAME)[0]


def sound(wave: torch.Tensor) -> MemorySound:
    return MemorySound(wave[None, None], SAMPLE_RATE)


def heard(wave: torch.Tensor) -> torch.Tensor:
    return speech_mask(sound(wave), len(wave) // FRAME)


def loudness(wave: torch.Tensor) -> torch.Tensor:
    """Root mean square of each frame."""
    return wave.view(-1, FRAME).square().mean(dim=1).sqrt()


def noise(seconds: float, level: float, seed: int = 0) -> torch.Tensor:
    """White noise with `level` dB of full scale."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(round(seconds * SAMPLE_RATE), generator=generator) * 10 ** (level / 20)


def with_silences(wave: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The speech with 0.4 to 5 s of zeros put into its pauses, and where they are, bool [frames]."""
    level, chance = loudness(wave), random.Random(seed)
    cuts = [0]
    for frame in range(1, len(level) - 1):
        if level[frame - 1 : frame + 2].max() < 0.005 and frame - cuts[-1] > 20:
            cuts.append(frame)
    parts, inserted = [], []
    for begin, end in zip(cuts, [*cuts[1:], len(level)], strict=True):
        silent = chance.choice((10, 15, 20, 25, 40, 75, 125))
        parts += [wave[begin * FRAME : end * FRAME], torch.zeros(silent * FRAME)]
        inserted += [False] * (end - begin) + [True] * silent
    return torch.cat(parts), torch.tensor(inserted)


# ---------------------------------------------------------------- what is speech


def test_the_probabilities_are_those_of_the_library_and_nothing_global_changes(speech, tmp_path):
    """The library's own documented call, in a process of its own, since importing it changes torch's threads."""
    wave = torch.cat((speech[: 5 * SAMPLE_RATE], noise(1, -40), speech[-2 * SAMPLE_RATE - 100 :]))
    torch.save(wave, tmp_path / "wave.pt")
    code = """
import sys, warnings, torch
torch.set_num_threads(2)
from infinitetalk.sound import MemorySound
from infinitetalk.voice_activity import speech_mask
wave = torch.load(sys.argv[1])
random = torch.get_rng_state()
with warnings.catch_warnings():
    warnings.simplefilter("error")
    speech_mask(MemorySound(wave[None, None], 16000), 25)
assert torch.get_num_threads() == 2 and "silero_vad" not in sys.modules and torch.is_grad_enabled()
assert torch.equal(torch.get_rng_state(), random)

warnings.simplefilter("ignore")
from silero_vad import load_silero_vad
wave = torch.nn.functional.pad(wave, (0, -len(wave) % 512))
model = load_silero_vad()
with torch.no_grad():
    torch.save(torch.cat([model(piece, 16000)[0] for piece in wave.split(512)]), sys.argv[2])
"""
    done = alone(code, tmp_path / "wave.pt", tmp_path / "likely.pt")
    assert done.returncode == 0, done.stderr
    theirs = torch.load(tmp_path / "likely.pt")
    detector, ours = voice_activity.Detector(), []
    for first in range(0, len(theirs), 100):  # in blocks, as a long sound is read
        samples = sound(wave).read(first * 512 - 64, min(100, len(theirs) - first) * 512 + 64)[0]
        ours.append(detector(samples))
    assert (torch.cat(ours) - theirs).abs().max() < 1e-4
    assert theirs.max() > 0.95 and theirs.min() < 0.05


@pytest.mark.parametrize("level", [None, -60, -40, -30])
def test_silences_put_into_speech_are_found_and_no_speech_is_lost(speech, level):
    """level: dB of white noise under all of it (the speech has -23 LUFS), None for digital silence."""
    gated_frames = inserted_frames = found = 0
    for seed in range(3):
        clean, inserted = with_silences(speech, seed)
        wave = clean if level is None else clean + noise(len(clean) / SAMPLE_RATE, level, seed)
        silent = ~heard(wave)
        assert not (silent & (loudness(clean) > 0.01)).any()  # not a frame that is loud by itself
        gated_frames += int(silent.sum())
        inserted_frames += int(inserted.sum())
        found += int((silent & inserted).sum())
    # What is missing are the 0.2 s after speech and before it; what is too much are the pauses around the cuts.
    assert found / inserted_frames > 0.8 and found / gated_frames > 0.9


def test_pauses_between_words_are_speech_and_pauses_of_a_second_are_not(speech):
    assert heard(speech)[:-6].all()  # the longest pause in it lasts 0.4 s
    wave = torch.cat((speech[: 3 * SAMPLE_RATE], torch.zeros(SAMPLE_RATE), speech[3 * SAMPLE_RATE :]))
    assert (~heard(wave)[:-6]).sum() >= 12


def test_speech_is_kept_from_before_it_begins_until_after_it_ends(speech):
    wave = torch.cat((torch.zeros(2 * SAMPLE_RATE), speech[: 20 * FRAME], torch.zeros(2 * SAMPLE_RATE)))
    loud = (loudness(wave) > 0.005).nonzero()[:, 0]
    kept = heard(wave).nonzero()[:, 0]
    assert 3 <= loud[0] - kept[0] <= 9 and 3 <= kept[-1] - loud[-1] <= 9
    assert len(kept) == kept[-1] - kept[0] + 1


@cache
def tones() -> dict[str, torch.Tensor]:
    time = torch.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(torch.sin(2 * math.pi * pitch * time) for pitch in (220, 277.18, 329.63)) * 0.1
    note = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    melody = [
        sum(torch.sin(2 * math.pi * pitch * n * note) / n for n in (1, 2, 3, 4)) * torch.exp(-3 * note) * 0.2
        for pitch in (262, 294, 330, 349, 392, 440, 494, 523)
    ]
    clicks = torch.zeros(6 * SAMPLE_RATE).index_fill(0, torch.arange(0, 6 * SAMPLE_RATE, 8000), 0.9)
    return {
        "digital silence": torch.zeros(6 * SAMPLE_RATE),
        "loud noise": noise(6, -26),
        "quiet noise": noise(6, -50),
        "hum": 0.2 * torch.sin(2 * math.pi * 50 * time),
        "trembling chord": chord * (0.6 + 0.4 * torch.sin(4 * math.pi * time)),
        "melody": torch.cat(melody),
        "clicks": clicks,
    }


@pytest.mark.parametrize("name", list(tones()))
def test_what_is_no_voice_is_silence(name):
    wave = tones()[name]
    assert not heard(wave).any()
    assert speech_probability(sound(wave), len(wave) // FRAME).max() < 0.35


@pytest.mark.parametrize("wave", [torch.zeros(1600), noise(0.1, -30), torch.zeros(640), noise(0.56, -20)])
def test_clips_too_short_to_judge_are_speech(wave):
    assert heard(wave).all()


def test_short_clips_of_speech_are_speech(speech):
    for begin in (0.5, 1, 2, 4, 8):
        for length in (0.1, 0.3, 1.0):
            start = int(begin * SAMPLE_RATE)
            wave = speech[start : start + int(length * SAMPLE_RATE)]
            assert heard(wave)[loudness(wave[: len(wave) // FRAME * FRAME]) > 0.01].all()


# ---------------------------------------------------------------- the rule


def test_speech_ends_lower_than_it_begins():
    likely = torch.zeros(60)
    likely[20:24] = torch.tensor([0.4, 0.6, 0.4, 0.36])
    assert mask_of(likely).nonzero()[:, 0].tolist() == list(range(16, 29))  # 21 to 23, 5 before, 5 after
    assert not mask_of(torch.full((60,), 0.49)).any()


def test_pauses_below_six_tenths_of_a_second_are_speech():
    likely = torch.zeros(100)
    likely[[14, 29, 45, 85]] = 1.0  # pauses of 14, 14, 15, 39 and 14 frames
    kept = mask_of(likely)
    silent = (~kept).nonzero()[:, 0].tolist()
    assert silent == [*range(35, 40), *range(51, 80)]
    likely[14] = 0.0  # 29 frames before the first speech
    assert (~mask_of(likely)).nonzero()[:, 0].tolist() == [*range(24), *silent]
    assert mask_of(torch.zeros(14)).all() and not mask_of(torch.zeros(15)).any()


def test_silence_fades_in_and_out_within_three_frames():
    mask = torch.tensor([False] * 5 + [True] * 3 + [False] * 9 + [True])
    expected = [1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert silence_share(mask).tolist() == expected
    assert silence_share(torch.zeros(3, dtype=torch.bool)).tolist() == [1, 1, 1]
    assert silence_share(torch.ones(2, dtype=torch.bool)).tolist() == [0, 0]


# ---------------------------------------------------------------- long sounds


class Watched(Stretch):
    """A sound that is the same speech over and over, of any length, and remembers what was read."""

    def __init__(self, wave: torch.Tensor, samples: int):
        super().__init__(SAMPLE_RATE, 1, samples)
        self.wave, self.reads = wave, []

    def _inside(self, start: int, count: int) -> torch.Tensor:
        self.reads.append((start, count))
        return self.wave[torch.arange(start, start + count) % len(self.wave)][None]


def test_a_long_sound_is_heard_in_pieces_and_the_blocks_cannot_be_seen(speech, monkeypatch):
    """Four minutes: every sample is asked for once, in order, 33 s at a time, and the mask does not depend on that."""
    wave = torch.cat((speech, torch.zeros(SAMPLE_RATE * 2)))
    frames = 4 * 60 * 25
    watched, told = Watched(wave, frames * FRAME), []
    mask = speech_mask(watched, frames, lambda done, total: told.append((done, total)))
    assert max(count for _, count in watched.reads) <= 1024 * 512 + 64
    ends = [start + count for start, count in watched.reads]
    assert [start for start, _ in watched.reads[1:]] == [end - 64 for end in ends[:-1]] and ends[-1] == frames * FRAME
    assert told[-1] == (frames, frames) and len(told) == len(ends)
    monkeypatch.setattr(voice_activity, "BLOCK", 100)
    assert torch.equal(speech_mask(watched, frames), mask)
    assert torch.equal(speech_mask(watched, frames), mask)  # and every time


def test_a_report_can_end_it(speech):
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        speech_mask(sound(speech), 100, cancel)


# ---------------------------------------------------------------- the features


def features(frames: int, wave: torch.Tensor | None = None, seed: int = 0) -> AudioFeatures:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(frames, 2, 4, generator=generator)
    quiet = 100 + torch.arange(100.0)[:, None, None].expand(100, 2, 4)
    heard = torch.zeros(frames * FRAME) if wave is None else wave
    return AudioFeatures(rows, quiet.clone(), sound(heard), f"voice {seed}", sound(heard))


def test_speech_is_untouched_and_silence_is_what_follows_speech_a_second_later():
    plain = features(300)
    mask = torch.zeros(300, dtype=torch.bool)
    mask[100:150] = True
    rows = gated(plain, mask).speech.rows(torch.arange(300))
    assert torch.equal(rows[100:150], plain.speech[100:150])
    silent = torch.cat((rows[:97], rows[153:]))
    assert silent.min() >= 125 and silent.max() <= 174  # of 100 to 199: neither the first second nor the last
    steps = rows[153:].diff(dim=0).abs()
    assert steps.max() == 1  # there and back, never a jump
    expected = torch.lerp(plain.speech[151], torch.full((2, 4), 100.0 + 25 + 98 - 151 + 98), torch.tensor(0.5))
    assert torch.allclose(rows[151], expected)  # half of both on the second frame
    assert plain.speech.abs().max() < 10  # the features that were given are as they were


def test_windows_see_the_same_frames_in_memory_and_on_disk(tmp_path):
    plain = features(200)
    mask = torch.rand(200, generator=torch.Generator().manual_seed(1)) > 0.4
    with FeatureWriter(tmp_path / "a.safetensors", 200, 100, "a") as writer:
        writer.add(plain.speech)
        file = writer.finish(plain.silence)
    stored = AudioFeatures(file, file.silence, plain.sound, plain.identity, plain.wave)
    one, other = gated(plain, mask), gated(stored, mask)
    assert isinstance(other.speech, GatedSpeech) and other.speech.speech is file  # nothing was read
    assert one.speech.shape == (200, 2, 4) and one.frames == other.frames == len(other.speech) == 200
    windows = (Window(0, 0, 81, 0, 81, 0), Window(1, 72, 153, 9, 72, 0), Window(2, 144, 225, 9, 47, 0))
    for tail in ("silence", "mirror"):
        taps = [window_taps(one, window, tail, window.index == 2) for window in windows]
        for window, expected in zip(windows, taps, strict=True):
            assert torch.equal(window_taps(other, window, tail, window.index == 2), expected)
        assert torch.equal(taps[0][76, 2], taps[1][4, 2])  # frame 76 in both
    assert torch.equal(one.speech.rows(torch.arange(200)), other.speech.rows(torch.arange(200)))


def test_few_silence_frames_are_enough():
    plain = features(20)
    short = AudioFeatures(plain.speech, plain.silence[:1], plain.sound, "a", plain.wave)
    rows = gated(short, torch.zeros(20, dtype=torch.bool)).speech.rows(torch.arange(20))
    assert torch.equal(rows, torch.full((20, 2, 4), 100.0))


def test_every_voice_is_gated_by_its_own_sound(speech, tmp_path):
    """One speaks after the other; a third one says nothing and is silent throughout."""
    length = 4 * SAMPLE_RATE
    said, rest = speech[:length], torch.zeros(length)
    waves = torch.cat((said, rest)), torch.cat((rest, said)), torch.cat((rest, rest))
    voices = [features(200, wave, seed) for seed, wave in enumerate(waves)]
    kept = spool([waves[1][None]], SAMPLE_RATE, tmp_path / "a.f32")  # one of them on disk
    voices[1] = AudioFeatures(voices[1].speech, voices[1].silence, kept, "voice 1", kept)
    together = Speakers(tuple(voices), None, voices[0].sound)
    out = with_gate(together)
    shares = [voice.speech.share for voice in out.voices]
    assert shares[0][:80].max() == 0 and shares[0][120:].min() == 1
    assert shares[1][:80].min() == 1 and shares[1][120:180].max() == 0
    assert shares[2].min() == 1
    assert out.sound is together.sound and out.frames == 200
    assert out.identity != together.identity  # they are not the same features any more
    assert len({voice.identity for voice in (*out.voices, *voices)}) == 6
    alone_ = with_gate(voices[0])
    assert torch.equal(alone_.speech.share, shares[0]) and alone_.sound is voices[0].sound


def test_features_without_sound_and_a_missing_network_are_clear_errors(monkeypatch, tmp_path):
    plain = features(10)
    with pytest.raises(InputError, match="hold no sound"):
        with_gate(AudioFeatures(plain.speech, plain.silence, plain.sound, "a"))
    (tmp_path / "silero_vad" / "data").mkdir(parents=True)
    (tmp_path / "silero_vad" / "data" / "silero_vad.jit").write_bytes(b"no network")
    (tmp_path / "silero_vad-6.2.3.dist-info").mkdir()
    (tmp_path / "silero_vad-6.2.3.dist-info" / "METADATA").write_text("Name: silero-vad\nVersion: 6.2.3\n")
    monkeypatch.syspath_prepend(tmp_path)  # a damaged installation before the real one
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        with_gate(plain)
    assert "pip install" in str(caught.value)
    (tmp_path / "silero_vad" / "data" / "silero_vad.jit").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        with_gate(plain)
