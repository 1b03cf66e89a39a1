"""The DiT's training: what it hears is what a run hears, clips are a run's, and a step teaches every weight."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from demo.talking_model import MODELS, VAE, WAV2VEC_FOLDER
from infinitetalk.features import AudioFeatures, split_taps, window_taps
from infinitetalk.sound import MemorySound
from infinitetalk.timeline import Window
from talker.truth import SAMPLES
from training import train_dit
from training.bank import (
    BEFORE,
    FRAMES,
    LATENT_FRAMES,
    MOTION_LATENTS,
    Bank,
    Speech,
    cells,
    choose_speech,
    conditioned,
    features_of,
    make_bank,
    regions,
)
from training.checkpoint import load
from training.dit import DiTShape, Talker
from training.hearing import IDLE, IDLE_EVERY, pieces
from training.mistakes import CERTAIN, STRENGTH, Errors
from training.objective import Source, held_latents, loss_of
from training.sampling import chain, evaluate, sample
from training.speech import Corpus
from training.vae import Vae

SHAPE = DiTShape(blocks=2, ffn=64, features=32, audio_hidden=16, audio_tokens=4, token_width=16)


@pytest.fixture(scope="module")
def speech() -> Speech:
    generator = torch.Generator().manual_seed(1)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    silent = torch.tensor([False] * 5 + [True])
    opening = rand(6, 200) * ~silent[:, None]
    return Speech(rand(6, 200, 4, 8).half(), opening, rand(6, 200), silent)


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(2)
    return Vae(4).eval().requires_grad_(False)


@pytest.fixture(scope="module", params=[1, 2])
def bank(request, vae, speech):
    return make_bank(vae, speech, 3, request.param, (64, 64 * request.param), seed=5)


def hummed(pieces: int) -> Corpus:
    """A corpus of noise in place of voices, whose mouths have levels and centroids of their own."""
    generator = torch.Generator().manual_seed(7)
    starts = 510 * torch.arange(pieces + 1)
    frames = int(starts[-1])
    wave = (3000 * torch.randn(frames * SAMPLES, generator=generator)).clamp(-30_000, 30_000)
    wave = torch.where(wave.round() == 0, 1, wave).short()  # only what is put in is digitally silent
    level = -45 + 27 * torch.rand(frames, generator=generator)
    centroid = 1000 + 1500 * torch.rand(frames, generator=generator)
    return Corpus(wave, level, centroid, starts, tuple(f"hum{n}" for n in range(pieces)))


def no_errors(bank: Bank) -> Errors:
    return Errors(8, bank.motion.shape[1:], torch.device("cpu"))


def test_a_clip_hears_what_a_window_of_a_run_hears(speech):
    features = speech.features[2].float()
    run = AudioFeatures(features, features[:1], MemorySound(torch.zeros(1, 1, 10), 16_000), "")
    for start in (0, 1, 57):
        window = Window(0, start, start + FRAMES, 0, FRAMES, 0)
        wanted = split_taps(window_taps(run, window))
        first, latter = features_of(speech, torch.tensor([2]), torch.tensor([start]))
        assert torch.equal(first.float(), wanted[0])
        assert torch.equal(latter[0].float(), wanted[1])


def test_a_clip_begins_with_its_reference_and_continues_like_a_run(bank, vae):
    assert torch.equal(bank.own[:, :, 0], bank.latents[:, :, 0])
    held, length, reference = held_latents(bank, no_errors(bank), torch.Generator().manual_seed(0))
    assert set(length.tolist()) <= {1, MOTION_LATENTS}
    condition = conditioned(reference, bank.grey)
    assert condition.shape[1:3] == (20, LATENT_FRAMES)
    assert condition[:, :4, 0].eq(1).all() and condition[:, :4, 1:].eq(0).all()
    whole = torch.zeros(1, FRAMES, 3, 64, bank.latents.shape[-1] * 8)
    assert (condition[:1, 4:, 3:] - vae.encode(whole)[:, :, 3:]).abs().max() < 0.02  # bfloat16
    for index in range(len(length)):
        if length[index] == 1:
            assert torch.equal(held[index, :, 0], bank.latents[index, :, 0].float())


def test_people_are_where_their_masks_are():
    boxes = torch.tensor([[[0.0, 16.0, 32.0, 64.0], [39.0, 0.0, 64.0, 64.0]]])
    masks = regions(boxes, (64, 64)).unflatten(2, (4, 4))[0].int()
    assert masks[0].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert masks[1].tolist() == [[0, 0, 1, 1]] * 4  # a token counts by its centre, 40
    assert masks.sum(dim=0).eq(1).all()
    touched = cells(torch.tensor([9.0, 0.0, 16.5, 7.0]), (16, 32), 8).int().tolist()
    assert touched == [[0, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("people", [1, 2, 3])
def test_some_people_rest_but_never_all_of_several(speech, people):
    piece, start = choose_speech(speech, (4000, people), 0.3, torch.Generator().manual_seed(1))
    rests = piece == 5
    expected = 0.3 if people == 1 else 0.3 - 0.3**people  # where all would rest, nobody does
    assert rests.float().mean() == pytest.approx(expected, abs=0.02)
    assert people == 1 or not rests.all(dim=1).any()
    assert start.min() >= BEFORE and start.max() + FRAMES <= speech.features.shape[1]


def test_silences_shut_the_mouth_and_noise_does_not_open_it(tmp_path):
    """What the net learns from follows the speech alone; a shut mouth keeps its width."""
    corpus = hummed(12)
    corpus.save(tmp_path / "speech.safetensors")
    heard = list(pieces(Corpus.load(tmp_path / "speech.safetensors"), seed=0))
    assert heard[0][1].eq(0).all() and heard[0][2].eq(0.5).all()
    changed = 0
    for n, (wave, opening, width) in enumerate(heard[1:]):
        plain = corpus.piece(n)
        assert len(wave) == SAMPLES * len(opening) == SAMPLES * len(width)
        silent = wave.unflatten(0, (-1, SAMPLES)).eq(0).all(dim=1)
        inner = silent[2:-2] & silent[:-4] & silent[4:]
        assert opening[2:-2][inner].eq(0).all()
        if len(wave) == len(plain.wave):
            kept = ~torch.nn.functional.max_pool1d(silent[None].float(), 9, 1, 4)[0].bool()
            assert torch.equal(opening[kept], plain.opening[kept])
            changed += silent.sum() >= 15
        else:
            rests = slice(IDLE) if n % (2 * IDLE_EVERY) == 0 else slice(-IDLE, None)
            assert width[rests].std() < 0.02 and opening[rests][4:-4].eq(0).all()
    assert changed >= 2


def test_a_step_teaches_every_weight(bank, speech):
    torch.manual_seed(3)
    talker = Talker(SHAPE)
    optimizer = torch.optim.AdamW(talker.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(4)
    before = {name: value.clone() for name, value in talker.state_dict().items()}
    errors = no_errors(bank)
    for _ in range(4):  # the layers that begin with zeros keep those before them still for a step each
        loss = loss_of(talker, Source(bank, speech, errors), 3, False, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [name for name, value in talker.state_dict().items() if torch.equal(value, before[name])] == []
    assert errors.next > 0 and errors.kept.abs().max() > 0


def test_sampling_keeps_what_is_held(bank):
    talker = Talker(SHAPE).eval()
    people = bank.piece.shape[1]
    held = bank.own[:, :, :1].float()
    audio = torch.zeros(3, LATENT_FRAMES, 4 * people, 16)
    masks = bank.masks.float() if people > 1 else None
    condition = conditioned(bank.own, bank.grey)
    with torch.no_grad():
        prompts = torch.zeros(3, dtype=torch.int64)
        latents = sample(talker, held, condition, audio, prompts, masks, torch.Generator().manual_seed(0))
    assert torch.equal(latents[:, :, :1], held)
    assert latents.shape == bank.latents.shape


def test_errors_of_late_times_are_kept_and_given_again():
    errors = Errors(5, (16, MOTION_LATENTS, 2, 2), torch.device("cpu"))
    assert errors.some(4, torch.Generator()).eq(0).all()
    sigma = torch.tensor([0.5 * CERTAIN, CERTAIN + 0.1, 0.1])
    for _ in range(2):
        errors.keep(torch.ones(3, 16, LATENT_FRAMES, 2, 2), sigma)
    kept = errors.kept[:, 0, 0, 0, 0].tolist()
    assert kept == pytest.approx([0.1, 0, 0.1, 0.5 * CERTAIN, 0])  # the sixth lies where the first was
    errors.keep(torch.ones(3, 16, LATENT_FRAMES, 2, 2), torch.full((3,), CERTAIN))
    assert errors.kept[:, 0, 0, 0, 0].tolist() == kept  # a blur replaces nothing
    given = errors.some(200, torch.Generator().manual_seed(0))
    assert given.shape == (200, 16, MOTION_LATENTS, 2, 2)
    assert 0 <= given.min() and 0.8 < given.max() / (STRENGTH * 0.5 * CERTAIN) <= 1
    assert given.std(dim=(1, 2, 3, 4)).eq(0).all()


def test_a_look_measures_a_window_and_windows_that_follow_each_other(vae, tmp_path):
    generator = torch.Generator().manual_seed(6)
    opening = torch.rand(3, 500, generator=generator)
    features = torch.rand(3, 500, 4, 8, generator=generator).half()
    unheard = Speech(features, opening, opening, torch.tensor([False, False, True]))
    talker = Talker(SHAPE).eval()
    assert evaluate(talker, vae, unheard, clips=2).startswith("1 people: opening")
    told = chain(talker, vae, unheard, tmp_path / "windows.png", clips=2, windows=2)
    assert told.startswith("2 windows, colour ") and "lag" in told
    with Image.open(tmp_path / "windows.png") as picture:
        assert picture.size == (3 * 128, 2 * 128)


def test_a_training_goes_on_from_its_state(tmp_path, monkeypatch):
    small = tuple(train_dit.Kind((64, 64 * people), people, 0.5, 0.5) for people in (1, 2))
    monkeypatch.setattr(train_dit, "KINDS", small)
    hummed(1).save(tmp_path / "speech.safetensors")
    state = tmp_path / "state.safetensors"
    given = ["--vae", MODELS / VAE, "--encoder", MODELS / WAV2VEC_FOLDER, "--speech", tmp_path / "speech.safetensors"]
    given += ["--unheard", tmp_path / "speech.safetensors", "--out", tmp_path, "--state", state, "--device", "cpu"]
    given += ["--plain", "--clips", 2, "--batch", 0.01, "--blocks", 1, "--look", 0]

    def train(*more) -> dict[str, torch.Tensor]:
        train_dit.main([str(value) for value in (*given, *more)])
        tensors, facts = load(state)
        assert facts["step"] == more[-1]
        return tensors

    first = train("--steps", 1)
    second = train("--steps", 2)
    assert second.keys() == first.keys()
    assert any(not torch.equal(value, second[name]) for name, value in first.items() if name.startswith("model."))
    steps = [value.item() for name, value in second.items() if name.startswith("adamw.") and name.endswith(".step")]
    assert set(steps) == {2}
    given[1] = tmp_path / "other.safetensors"
    given[1].write_bytes((MODELS / VAE).read_bytes() + b" ")
    with pytest.raises(SystemExit, match="another VAE"):
        train("--steps", 2)
