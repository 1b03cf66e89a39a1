"""The synthetic corpus and the speech encoder that learns from it, each against the product's own code."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from functools import partial

import numpy as np
import pytest
import torch

from infinitetalk.audio import TARGET_LUFS, loudness_gain
from infinitetalk.convolution import ConvStack
from infinitetalk.encoding import Encoder, encode_features
from infinitetalk.loudness import integrated_loudness
from infinitetalk.sound import MemorySound
from infinitetalk.wav2vec import layer_outputs, load_wav2vec
from talker.truth import SAMPLES, mouth_of_sound
from training import speech
from training.acoustics import evened, throat
from training.espeak import TEST_VARIANTS, TRAIN_VARIANTS, Voice, say
from training.excerpts import excerpts, gain_to_target
from training.sentences import SHARED, TEST, TRAIN, allowed, languages
from training.speech import Corpus, make_corpus
from training.train_wav2vec import encode_batch, load_encoder, main, new_encoder, save_encoder


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(100, seed=7, workers=2)


@pytest.fixture(scope="module")
def speaker(corpus):
    """`say` in a process of its own; here it would spoil later corpora."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        yield partial(pool.apply, say)


def sound(wave: torch.Tensor) -> MemorySound:
    return MemorySound(wave[None, None], 16_000)


def same(one: Corpus, other: Corpus) -> bool:
    names = ("wave", "level", "centroid", "starts")
    return one.voices == other.voices and all(torch.equal(getattr(one, n), getattr(other, n)) for n in names)


def test_a_corpus_depends_on_its_seed_alone(corpus):
    assert same(corpus, make_corpus(100, seed=7, workers=1))
    assert not same(corpus, make_corpus(100, seed=8, workers=2))


def test_pieces_are_as_the_product_hears_them(corpus):
    assert len(corpus) >= 2
    for n in range(len(corpus)):
        piece = corpus.piece(n)
        assert 20 * 25 <= len(piece.opening) == len(piece.width) <= 75 * 25
        assert len(piece.wave) == SAMPLES * len(piece.opening)
        assert integrated_loudness(sound(piece.wave)) == pytest.approx(TARGET_LUFS, abs=0.1)


def test_speech_fills_the_range_of_the_mouth_and_leaves_pauses(corpus):
    opening, width = corpus.opening, corpus.width
    speaks = opening > 0
    assert 0.55 < speaks.float().mean() < 0.9
    assert 0.35 < opening[speaks].median() < 0.6
    assert 0.75 < opening[speaks].quantile(0.95) < 0.97
    assert width[speaks].std() > 0.15
    assert abs(torch.corrcoef(torch.stack((opening[speaks], width[speaks])))[0, 1]) < 0.5


def test_the_truth_is_that_of_the_speech_without_what_else_is_heard(corpus):
    """Where there is little else it is what the sound as a whole says."""
    piece = corpus.piece(0)
    heard, _ = mouth_of_sound(piece.wave)
    assert torch.corrcoef(torch.stack((heard, piece.opening)))[0, 1] > 0.8
    assert (heard > 0)[piece.opening > 0.1].float().mean() > 0.98


def test_noise_and_music_leave_the_mouth_shut():
    corpus = make_corpus(900, seed=4, workers=2)
    heard = torch.cat([mouth_of_sound(corpus.piece(n).wave)[0] for n in range(len(corpus))])
    assert 0.001 < ((heard > 0.1) & (corpus.opening == 0)).float().mean() < 0.15


def test_a_corpus_is_kept(corpus, tmp_path):
    corpus.save(tmp_path / "speech.safetensors")
    assert same(Corpus.load(tmp_path / "speech.safetensors"), corpus)


def test_the_splits_share_no_voice_and_no_words():
    assert not set(TRAIN_VARIANTS) & set(TEST_VARIANTS)
    assert not set(TRAIN) & set(TEST)
    assert len(languages("train")) >= 12 and set(languages("test")) == {*TEST, *SHARED}
    assert "en-us" not in languages("train")
    for language in SHARED:
        for phrases in (text.split("|") for text in (TRAIN | TEST)[language]):
            train, test = (allowed(phrases, language, split) for split in ("train", "test"))
            assert train and test and sorted(train + test) == sorted(phrases) and not set(train) & set(test)


@pytest.mark.parametrize("language", sorted(TRAIN | TEST))
def test_every_language_is_spoken(language, speaker):
    wave = speaker((Voice(language, "m3", 160, 50, 50), (TRAIN | TEST)[language][0].split("|")[0]))
    assert wave.dtype.name == "float32" and 0.4 * 16_000 < len(wave) < 8 * 16_000
    assert 0.02 < abs(wave).max() <= 1.01


@pytest.mark.parametrize("variant", [*TRAIN_VARIANTS, *TEST_VARIANTS])
def test_every_variant_speaks(variant, speaker):
    assert len(speaker((Voice("en", variant, 200, 50, 50), "Good morning!"))) > 0.3 * 16_000


def test_an_unknown_voice_is_refused(speaker):
    with pytest.raises(ValueError, match="no voice xx"):
        speaker((Voice("xx", "m3", 160, 50, 50), "a"))


def test_a_voice_that_breaks_down_speaks_again(monkeypatch, tmp_path):
    whole = make_corpus(40, seed=7, workers=2)
    piece = speech._piece

    def breaks(seed, split, number, seconds):
        mark = tmp_path / str(number)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return piece(seed, split, number, seconds)

    monkeypatch.setattr(speech, "_piece", breaks)
    assert same(make_corpus(40, seed=7, workers=2), whole)
    monkeypatch.setattr(speech, "_piece", lambda *job: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError, match="broke down 4 times"):
        make_corpus(20, seed=7, workers=2)


def test_a_corpus_is_not_made_where_somebody_has_spoken(corpus, monkeypatch):
    monkeypatch.setattr("training.speech.is_fresh", lambda: False)
    with pytest.raises(RuntimeError, match="has spoken"):
        make_corpus(20)


def test_the_loudness_of_many_excerpts_is_the_products(corpus):
    wave = corpus.wave[: 40 * 16_000].float() / 32767
    for seconds in (2, 8, 40):
        rows = wave.unflatten(0, (-1, seconds * 16_000)) * torch.linspace(0.2, 2, 40 // seconds)[:, None]
        gains = gain_to_target(rows)
        for row, gain in zip(rows, gains, strict=True):
            assert gain.item() == pytest.approx(
                20 * math.log10(loudness_gain(sound(row))[1]), abs=0.7
            )  # blocks begin at whole frames here
    assert gain_to_target(torch.zeros(1, 16_000)).item() == 0


def test_excerpts_are_files_of_their_own(corpus):
    """Where an excerpt is a piece of clean speech, its truth is what the product's path says of it."""
    batch = excerpts(corpus, 200, 8, torch.Generator().manual_seed(0))
    assert batch.wave.shape == (8, 200 * SAMPLES) and batch.opening.shape == batch.width.shape == (8, 200)
    agree = 0
    for wave, opening in zip(batch.wave, batch.opening, strict=True):
        heard, _ = mouth_of_sound(wave)
        agree += torch.corrcoef(torch.stack((heard, opening)))[0, 1] > 0.95
    assert agree >= 4  # the others hold noise or music


@pytest.mark.parametrize("seconds", [1.3, 6.0, 31.0])
def test_a_batch_is_encoded_as_the_product_encodes_each_file(corpus, seconds):
    model = new_encoder(seed=1)
    waves = corpus.wave[: 2 * int(seconds * 16_000)].unflatten(0, (2, -1)).float() / 32767
    with torch.no_grad():
        together = encode_batch(model, waves)
    encoder = Encoder(ConvStack(model.feature_extractor.conv_layers), partial(layer_outputs, model))
    for wave, features in zip(waves, together, strict=True):
        with torch.no_grad():
            alone, _ = encode_features(sound(wave), encoder, normalize=True)
        assert features.shape == alone.shape == (int(seconds * 25), 4, 64)
        assert (features - alone).abs().max() < 1e-4


def test_the_folder_is_what_the_product_loads(tmp_path):
    model = new_encoder(seed=2)
    save_encoder(model, tmp_path)
    loaded, normalize = load_wav2vec(tmp_path)
    assert normalize is True
    assert (tmp_path / "model.safetensors").stat().st_size < 1_200_000
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value.half().float(), theirs[key]) for key, value in ours.items())


def test_training_goes_on_from_its_checkpoint(corpus, tmp_path, capsys):
    file, out = tmp_path / "speech.safetensors", tmp_path / "out"
    corpus.save(file)

    def train(steps: int, state: str) -> dict[str, torch.Tensor]:
        given = [out, "--corpus", file, "--test", file, "--device", "cpu", "--batch-seconds", 4, "--steps", steps]
        main([str(value) for value in (*given, "--checkpoint", tmp_path / state)])
        assert f"{steps} steps in" in capsys.readouterr().out
        return load_encoder(out).state_dict()

    first = train(2, "state.safetensors")
    again = train(2, "state.safetensors")  # nothing is left to do
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    third, apart = train(3, "state.safetensors"), train(3, "other.safetensors")

    def change(before: dict, after: dict) -> float:
        return sum((after[key].float() - value.float()).abs().sum().item() for key, value in before.items())

    assert 0 < change(first, third) < 0.9 * change(first, apart)  # one step on, and not three from the start


def test_a_larger_throat_is_slower_and_deeper():
    wave = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)
    larger = throat(wave, 25)
    spectrum = np.abs(np.fft.rfft(larger))
    assert len(larger) == 20_000 and larger.dtype == np.float32
    assert np.argmax(spectrum) * 16_000 / len(larger) == pytest.approx(320, abs=1)
    assert throat(wave, 20) is wave


def test_a_compressor_brings_loud_and_soft_together():
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(32_000) * np.repeat((0.3, 0.03), 16_000)
    loud, soft = (10 * np.log10(np.square(part).mean()) for part in np.split(evened(wave, 0.5), 2))
    assert loud - soft == pytest.approx(10, abs=0.5)  # 20 dB before
