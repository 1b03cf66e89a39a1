"""Encoding speech: shapes, the silence after it, and that pieces and chunks give what one pass gives."""

from __future__ import annotations

import pytest
import torch

from infinitetalk import encoding
from infinitetalk.audio import to_mono_16k
from infinitetalk.convolution import ConvStack, interpolate, positions
from infinitetalk.encoding import Encoder, encode_features, evenly, normalize_wave, to_25hz
from infinitetalk.errors import InputError
from infinitetalk.feature_file import FeatureFile
from infinitetalk.sound import MemorySound
from infinitetalk.wav2vec import layer_outputs

from .test_wav2vec import BASE, LARGE, build


class Power(torch.nn.Module):
    """A convolution stack of one channel: mean power of each 20 ms, so that frames show what they heard."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 1, 400, 320)  # only its shape is looked at

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return wave.square().unfold(-1, 400, 320).mean(-1)


def layers_two(x: torch.Tensor) -> list[torch.Tensor]:
    return [x, 2 * x]


POWER = Encoder(ConvStack([Power()]), layers_two)


def sound(wave: torch.Tensor) -> MemorySound:
    return MemorySound(wave[None, None], 16_000)


def real(settings: dict) -> Encoder:
    model = build(settings)
    return Encoder(ConvStack(model.feature_extractor.conv_layers), lambda x: layer_outputs(model, x))


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_normalize_wave():
    wave = 3 + 0.1 * noise(5_000)
    out = normalize_wave(wave)
    assert abs(out.mean()) < 1e-5 and out.var(unbiased=False) == pytest.approx(1, abs=1e-4)
    assert torch.equal(normalize_wave(torch.zeros(100)), torch.zeros(100))


def test_to_25hz_keeps_first_and_last_frame():
    conv = torch.arange(49.0)[None, None].repeat(1, 3, 1)
    out = to_25hz(conv, 25)
    assert out.shape == (1, 25, 3)
    torch.testing.assert_close(out[0, :, 1], torch.linspace(0, 48, 25))


@pytest.mark.parametrize("samples, frames", [(1_600, 2), (16_000, 25), (52_800, 82)])
def test_shapes_and_device(samples, frames):
    found, silence = encode_features(sound(noise(samples).double()), POWER, normalize=False)
    assert found.shape == (frames, 2, 1) and silence.shape == (100, 2, 1)
    assert found.dtype == silence.dtype == torch.float32
    torch.testing.assert_close(found[:, 1], 2 * found[:, 0])


@pytest.mark.parametrize("samples", [1_280, 16_000, 16_600, 400_000, 400_600])
def test_silence_starts_where_the_speech_ends(samples):
    """Quiet from the second frame on; the first still hears what the speech has beyond its last whole frame."""
    found, silence = encode_features(sound(noise(samples)), POWER, normalize=False)
    assert found[:, 0].min() > 0.3
    assert (silence[0, 0] > 0.3) == (samples % 640 > 500)
    assert silence[2:, 0].max() == 0


def test_silence_is_heard_at_the_level_of_the_speech():
    """Zeros after a recording with an offset lie below its mean by what normalisation of the speech alone gives."""
    wave = 0.1 + 0.2 * noise(16_000)
    _, silence = encode_features(sound(wave), POWER, normalize=True)
    level = wave.mean().square() / wave.var(unbiased=False)
    torch.testing.assert_close(silence[2:, 0], level.expand(98, 1), rtol=1e-4, atol=0)


def test_silence_of_a_real_encoder_is_not_a_file_of_zeros():
    found, silence = encode_features(sound(noise(16_000)), real(BASE), normalize=True)
    assert found.shape == (25, 2, 128) and silence.shape == (100, 2, 128)
    assert torch.isfinite(silence).all() and not torch.allclose(silence[0], silence[50], atol=1e-3)


def test_less_than_a_frame_is_refused():
    with pytest.raises(InputError, match="639 samples"):
        encode_features(sound(torch.zeros(639)), POWER, normalize=False)


def test_loud_and_stereo_input_reach_the_same_frames():
    wave = noise(44_100)
    mono = to_mono_16k(MemorySound(wave.repeat(2, 1)[None], 44_100))
    found, _ = encode_features(mono, POWER, normalize=True)
    assert found.shape[0] == 25


def voice(seconds: float) -> torch.Tensor:
    """Noise in syllables over an offset, louder and softer, so that every second has other statistics."""
    time = torch.arange(round(seconds * 16_000)) / 16_000
    swell = 0.3 + (0.7 * time).sin().square()
    return 0.02 + 0.1 * noise(len(time)) * swell * ((6.28 * 3 * time).sin() > -0.3)


@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("step", [97, 400])
def test_convolutions_in_pieces_are_those_of_one_pass(settings, step):
    """Group norm, too, which looks at all of the recording; at 25 Hz at the places that one pass has."""
    stack, wave = real(settings).conv, voice(21.37)[None]
    expected = stack.whole(wave)
    total = stack.frames(wave.shape[1])
    assert expected.shape[2] == total
    read = lambda start, count: wave[:, start : start + count]  # noqa: E731
    norm = stack.norm(read, wave.shape[1], lambda: None)
    assert (norm is None) == (settings is LARGE)
    ranges = [(start, min(start + step, total)) for start in range(0, total, step)]
    pieces = torch.cat([stack.span(read, first, last, norm) for first, last in ranges], dim=2)
    torch.testing.assert_close(pieces, expected, rtol=0, atol=1e-5)
    frames = wave.shape[1] // 640
    at_25hz = interpolate(expected, positions(frames, total))
    torch.testing.assert_close(at_25hz, to_25hz(expected.double(), frames).float(), rtol=0, atol=1e-5)
    # torch counts places in single precision: up to 1e-4 of a frame here, and features are rough
    torch.testing.assert_close(at_25hz, to_25hz(expected, frames), rtol=0, atol=2e-3)


@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_recording_beyond_one_pass_of_the_convolutions_is_encoded_the_same(settings, normalize, monkeypatch):
    wave, encoder = sound(voice(23.1)), real(settings)
    in_pieces = encode_features(wave, encoder, normalize)
    monkeypatch.setattr(encoding, "WHOLE_SAMPLES", wave.samples)
    whole = encode_features(wave, encoder, normalize)
    for found, expected in zip(in_pieces, whole, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).norm() < 1e-3 * expected.norm() and (found - expected).abs().max() < 0.02


def test_chunks_are_even_and_no_longer_than_allowed():
    for frames in (1, 1499, 1500, 1501, 90_000, 900_001):
        ranges = evenly(frames, encoding.CHUNK)
        assert ranges[0][0] == 0 and ranges[-1][1] == frames
        assert all(one[1] == other[0] for one, other in zip(ranges, ranges[1:], strict=False))
        lengths = [end - begin for begin, end in ranges]
        assert max(lengths) <= encoding.CHUNK and max(lengths) - min(lengths) <= 1
    assert len(evenly(1500, encoding.CHUNK)) == 1


def test_what_a_chunk_gives_does_not_depend_on_the_chunks_where_nothing_looks_further(monkeypatch):
    """Layers that see one frame only: then every frame must come out once, in order, at its place."""
    wave = sound(noise(64_000 * 3 + 1_234))
    expected, _ = encode_features(wave, POWER, normalize=False)
    monkeypatch.setattr(encoding, "CHUNK", 37)
    monkeypatch.setattr(encoding, "CONTEXT", 11)
    found, _ = encode_features(wave, POWER, normalize=False)
    assert torch.equal(found, expected)


def test_a_long_recording_goes_to_disk_as_what_it_is_in_memory(tmp_path):
    """62 s, two chunks: the file holds the same numbers, progress rises to the end, and a cancel leaves nothing."""
    wave, encoder, told = sound(voice(62)), real(BASE), []
    kept, silence = encode_features(wave, encoder, False)
    file, again = encode_features(
        wave, encoder, False, tmp_path / "a", "me", lambda done, total: told.append((done, total))
    )
    assert isinstance(file, FeatureFile) and file.shape == kept.shape and file.identity == "me"
    assert torch.equal(file.rows(torch.arange(1550)), kept) and torch.equal(again, silence)
    assert told == sorted(told) and told[0] == (0, 1550) and told[-1] == (1550, 1550) and len(told) > 8
    file.verify()

    def cancel(done: int, total: int) -> None:
        if done > 800:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_features(wave, encoder, False, tmp_path / "b", "me", cancel)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
