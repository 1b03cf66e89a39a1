"""Long recordings in the host: decoded once, encoded once, found again with a run, and arranged on disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from demo.small_model import WAV2VEC_FOLDER
from infinitetalk.errors import InputError
from infinitetalk.feature_file import FeatureFile, save_features
from infinitetalk.sound import MemorySound, SpooledSound, spool

pytestmark = pytest.mark.usefixtures("host")

RATE = 16_000
LONG = 61  # seconds, more than is kept in memory


@pytest.fixture
def places(tmp_path, host):
    import folder_paths

    from tests.host.machine import folders

    before = folder_paths.get_input_directory()
    (tmp_path / "input").mkdir()
    folder_paths.set_input_directory(str(tmp_path / "input"))
    with folders(tmp_path):
        yield tmp_path
    folder_paths.set_input_directory(before)


@pytest.fixture(scope="module")
def encoder(machine):
    from infinitetalk.host.audio_encoder import Wav2VecEncoder

    return Wav2VecEncoder(str(machine.models / WAV2VEC_FOLDER))


def speech(seconds: float, channels: int = 1, rate: int = RATE, seed: int = 0) -> torch.Tensor:
    time = torch.arange(round(seconds * rate)) / rate
    noise = torch.randn(channels, len(time), generator=torch.Generator().manual_seed(seed))
    return (0.1 * noise + 0.05 * (1_100 * time).sin()) * ((19 * time).sin() > -0.3)


def on_disk(folder: Path, wave: torch.Tensor, name: str = "speech") -> SpooledSound:
    return spool(wave.split(50_000, dim=1), RATE, folder / name)


def write_wav(path: Path, wave: torch.Tensor) -> Path:
    import wave as wav

    with wav.open(str(path), "wb") as file:
        file.setnchannels(len(wave))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((wave.T.numpy() * 32_767).astype(np.int16).tobytes())
    return path


def spools(places: Path) -> list[str]:
    return sorted(path.name for path in (places / "temp" / "InfiniteTalk").glob("*.f32"))


def features_of(places: Path) -> list[Path]:
    return sorted((places / "temp" / "InfiniteTalk").glob("features-*"))


def test_a_file_is_decoded_once_for_each_of_its_states(places):
    from infinitetalk.host.model_files import fingerprint
    from infinitetalk.host.speech import find_speech, list_speech, load_speech

    path = write_wav(places / "input" / "a.wav", speech(2, 2))
    (places / "input" / "notes.txt").write_text("")
    shutil.copy(path, places / "input" / "b.mp4")
    assert list_speech() == ["a.wav", "b.mp4"]
    sound, known = load_speech("a.wav"), fingerprint(find_speech("a.wav"))
    assert (sound.rate, sound.channels, sound.samples) == (RATE, 2, 2 * RATE)
    written = os.stat(sound.path).st_mtime_ns
    assert load_speech("a.wav").digest == sound.digest and os.stat(sound.path).st_mtime_ns == written
    assert len(spools(places)) == 1
    write_wav(path, speech(3))
    assert load_speech("a.wav").samples == 3 * RATE and fingerprint(find_speech("a.wav")) != known


@pytest.mark.parametrize("name", ["missing.wav", "../../etc/passwd", "", "a\0b.wav"])
def test_files_that_are_not_there_are_refused(places, name):
    from infinitetalk.host.speech import find_speech

    with pytest.raises(InputError, match="file: "):
        find_speech(name)


def test_bad_recordings_are_refused_when_they_are_loaded(places):
    from infinitetalk.host.speech import load_speech

    write_wav(places / "input" / "short.wav", speech(0.05))
    with pytest.raises(InputError, match="shorter than 0.1 s"):
        load_speech("short.wav")
    (places / "input" / "noise.wav").write_bytes(os.urandom(999))
    with pytest.raises(InputError, match="noise.wav cannot be read"):
        load_speech("noise.wav")


def test_a_sound_on_disk_and_the_same_audio_have_the_same_features(places, encoder):
    from infinitetalk.host.audio_encoder import encode

    wave = speech(1.5, 2)
    kept = encode(encoder, on_disk(places, wave), None)
    memory = encode(encoder, {"waveform": wave[None], "sample_rate": RATE}, None)
    assert torch.equal(kept.speech, memory.speech) and kept.identity == memory.identity
    assert encode(encoder, {"waveform": wave[None, :1], "sample_rate": RATE}, None).identity != kept.identity
    others = [encode(encoder, on_disk(places, wave), value).identity for value in (True, False)]
    assert len(set(others)) == 2 and kept.identity in others


def test_long_speech_is_encoded_to_disk_and_never_twice(places, encoder):
    from infinitetalk.host.audio_encoder import encode

    wave = speech(LONG)
    first = encode(encoder, on_disk(places, wave), None)
    assert isinstance(first.speech, FeatureFile) and first.frames == LONG * 25
    (path,) = features_of(places)
    assert first.speech.path == path and first.speech.identity == first.identity
    written = path.stat().st_mtime_ns
    again = encode(encoder, {"waveform": wave[None], "sample_rate": RATE}, None)
    assert again.identity == first.identity and path.stat().st_mtime_ns == written
    assert torch.equal(again.silence, first.silence)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert encode(encoder, on_disk(places, wave), None).speech.digest == first.speech.digest  # damaged, so made anew


def keep_with_run(places: Path, voice) -> Path:
    run = places / "output" / "InfiniteTalk" / "runs" / "0123456789abcdef"
    run.mkdir(parents=True)
    save_features(voice, run / "features-1.safetensors")
    return run


def test_features_that_a_kept_run_holds_are_used_by_the_next_process(places, encoder):
    """After a restart the temp folder is empty: the run's features get a name there and outlive the run's folder."""
    from infinitetalk.host.audio_encoder import encode

    sound = on_disk(places, speech(LONG))
    run = keep_with_run(places, encode(encoder, sound, None))
    shutil.rmtree(places / "temp" / "InfiniteTalk")
    entered = []
    handle = encoder.model.encoder.layers[0].register_forward_pre_hook(lambda *_: entered.append(1))
    found = encode(encoder, sound, None)
    handle.remove()
    assert not entered and os.path.samefile(found.speech.path, run / "features-1.safetensors")
    shutil.rmtree(run)
    assert found.speech.rows(torch.tensor([0])).shape[0] == 1


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_in_the_runs_folder_are_not_followed(places, encoder, what):
    from infinitetalk.host.audio_encoder import encode, find_features

    voice = encode(encoder, on_disk(places, speech(LONG)), None)
    run, outside = keep_with_run(places, voice), places / "outside"
    outside.mkdir()
    save_features(voice, outside / "features-1.safetensors")
    shutil.rmtree(places / "temp" / "InfiniteTalk")
    assert find_features(voice.identity) is not None
    shutil.rmtree(places / "temp" / "InfiniteTalk")
    if what == "file":
        (run / "features-1.safetensors").unlink()
        (run / "features-1.safetensors").symlink_to(outside / "features-1.safetensors")
    else:
        shutil.rmtree(run)
        run.symlink_to(outside, target_is_directory=True)
    assert find_features(voice.identity) is None


def test_a_cancel_leaves_no_file(places, encoder):
    import comfy.model_management

    from infinitetalk.host.audio_encoder import encode

    sound = on_disk(places, speech(LONG))
    handle = encoder.model.encoder.layers[3].register_forward_hook(
        lambda *_: comfy.model_management.interrupt_current_processing()
    )
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        encode(encoder, sound, None)
    handle.remove()
    comfy.model_management.interrupt_current_processing(False)
    assert features_of(places) == []


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_the_hosts_own_wav2vec_gives_in_pieces_what_it_gives_in_one(places, large, monkeypatch):
    import comfy.audio_encoders.wav2vec2
    import comfy.model_patcher
    import comfy.ops

    import infinitetalk.encoding
    from infinitetalk.host.audio_encoder import encode, weights_digest

    torch.manual_seed(0)
    model = comfy.audio_encoders.wav2vec2.Wav2Vec2Model(
        embed_dim=64,
        num_heads=2,
        num_layers=2,
        conv_norm=large,
        conv_bias=large,
        do_normalize=large,
        do_stable_layer_norm=large,
        operations=comfy.ops.manual_cast,
    ).eval()
    for name, parameter in model.named_parameters():  # the host leaves them as memory was
        scale = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter.requires_grad_(False), scale, 0.1)
    device = torch.device("cpu")
    hosts = SimpleHost(model, comfy.model_patcher.ModelPatcher(model, device, device))
    audio = {"waveform": speech(5)[None], "sample_rate": RATE}
    whole = encode(hosts, audio, None)
    monkeypatch.setattr(infinitetalk.encoding, "WHOLE_SAMPLES", RATE)
    pieces = encode(hosts, audio, None)
    for found, expected in ((pieces.speech, whole.speech), (pieces.silence, whole.silence)):
        assert (found - expected).norm() < 1e-3 * expected.norm()
    other = SimpleHost(model, hosts.patcher)
    model.masked_spec_embed.fill_(torch.nan)  # what is not in every file, and not used
    assert weights_digest(other) == weights_digest(hosts)


class SimpleHost(SimpleNamespace):
    """What the host's AUDIO_ENCODER has that we read."""

    __hash__ = object.__hash__

    def __init__(self, model, patcher):
        super().__init__(model=model, patcher=patcher)


def test_long_voices_are_arranged_and_mixed_on_disk(places, encoder, machine):
    from infinitetalk.host.audio_encoder import encode
    from infinitetalk.host.kept import as_audio
    from infinitetalk.host.speakers import bind
    from infinitetalk.speakers import Speaker

    one = encode(encoder, on_disk(places, speech(LONG), "one"), None)
    two = encode(encoder, on_disk(places, speech(2, 2, seed=1), "two"), None)
    features, _ = bind(machine.reference, [Speaker(one), Speaker(two)], "add")
    assert features.frames == (LONG + 2) * 25 and isinstance(features.sound, SpooledSound)
    assert all(isinstance(voice.speech, FeatureFile) for voice in features.voices)
    audio = as_audio(features.sound)
    expected = torch.cat((speech(LONG).expand(2, -1), speech(2, 2, seed=1)), dim=1)
    assert audio["sample_rate"] == RATE and torch.equal(audio["waveform"][0], expected)
    before = spools(places), features_of(places)
    again, _ = bind(machine.reference, [Speaker(one), Speaker(two)], "add")
    assert (spools(places), features_of(places)) == before and again.identity == features.identity
    short, _ = bind(machine.reference, [Speaker(two)], "add")
    assert torch.equal(as_audio(short.sound)["waveform"][0], speech(2, 2, seed=1))


def test_other_weights_are_another_encoder(places, encoder, machine, tmp_path):
    from infinitetalk.host.audio_encoder import Wav2VecEncoder, weights_digest

    folder = tmp_path / "other"
    shutil.copytree(machine.models / WAV2VEC_FOLDER, folder)
    assert weights_digest(Wav2VecEncoder(str(folder))) == weights_digest(encoder)
    weights = {key: value.clone() for key, value in encoder.model.state_dict().items()}
    weights["encoder.layer_norm.bias"][0] += 1e-3
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.safetensors")
    assert weights_digest(Wav2VecEncoder(str(folder))) != weights_digest(encoder)


def test_chunks_differ_from_one_pass_by_less_than_the_stated_bound(encoder, monkeypatch):
    """200 s: three chunks. A model of random weights listens to all it hears alike, so it shows the worst of it."""
    import infinitetalk.encoding
    from infinitetalk.encoding import BOUND, encode_features
    from infinitetalk.host.audio_encoder import _parts

    wave, (parts, _) = MemorySound(speech(200)[None], RATE), _parts(encoder)
    with torch.no_grad():
        chunked, _ = encode_features(wave, parts, False)
        monkeypatch.setattr(infinitetalk.encoding, "CHUNK", 10_000)
        whole, _ = encode_features(wave, parts, False)
    assert 0 < (chunked - whole).norm() < BOUND * whole.norm()
    moved = (chunked[1:] - chunked[:-1]).norm(dim=(1, 2))
    for seam in (1666, 3333):  # no jump where chunks meet: the step there is one like all others
        assert moved[seam - 1] < 1.1 * (whole[seam] - whole[seam - 1]).norm()
