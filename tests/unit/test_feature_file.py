"""Features on disk: what is written is read, alone or by other programs, and damage is found."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from infinitetalk.errors import InputError
from infinitetalk.feature_file import FeatureWriter, load_features, open_features, save_features
from infinitetalk.features import AudioFeatures
from infinitetalk.sound import MemorySound

from .reading import alone


def voice(frames: int = 230, identity: str = "me") -> AudioFeatures:
    speech, silence = torch.randn(frames + 7, 3, 5, generator=torch.Generator().manual_seed(0)).split([frames, 7])
    return AudioFeatures(speech, silence, MemorySound(torch.zeros(1, 1, 640), 16_000), identity)


def test_what_is_saved_is_loaded_and_is_a_safetensors_file(tmp_path):
    one = voice()
    save_features(one, tmp_path / "f")
    loaded = load_features(one, tmp_path / "f")
    assert loaded.frames == 230 and torch.equal(loaded.silence, one.silence) and loaded.sound is one.sound
    tensors = load_file(tmp_path / "f")
    assert torch.equal(tensors["speech"], one.speech) and torch.equal(tensors["silence"], one.silence)
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize(
    "index",
    [[0], [229], [3, 4, 5, 6], [5, 4, 4, 229, 0], [[0, 0, 1], [100, 101, 50]], [], [[[7]]]],
)
def test_rows_in_any_order_and_shape(tmp_path, index):
    file = save_features(voice(), tmp_path / "f")
    wanted = torch.tensor(index, dtype=torch.int64)
    found = file.rows(wanted)
    assert torch.equal(found, voice().speech[wanted]) and found.dtype == torch.float32
    found.zero_()
    assert torch.equal(file.rows(wanted), voice().speech[wanted])


def test_a_file_on_the_same_disk_gets_a_second_name(tmp_path):
    first = load_features(voice(), save_features(voice(), tmp_path / "f").path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "f").write_text("old")
    kept = save_features(first, tmp_path / "run" / "f")
    assert os.path.samefile(tmp_path / "f", tmp_path / "run" / "f") and kept.path == tmp_path / "run" / "f"
    save_features(first, tmp_path / "run" / "f")
    (tmp_path / "f").unlink()
    assert torch.equal(
        load_features(voice(), tmp_path / "run" / "f").speech.rows(torch.tensor([9]))[0], voice().speech[9]
    )
    assert os.listdir(tmp_path / "run") == ["f"]


def test_features_of_another_identity_are_copied_and_refused(tmp_path):
    first = load_features(voice(), save_features(voice(), tmp_path / "f").path)
    other = AudioFeatures(first.speech, first.silence, first.sound, "another")
    assert save_features(other, tmp_path / "g").identity == "another"
    assert not os.path.samefile(tmp_path / "f", tmp_path / "g")
    with pytest.raises(InputError, match="made from another recording"):
        load_features(voice(), tmp_path / "g")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9999])
def test_a_flipped_bit_is_found(tmp_path, place):
    save_features(voice(), tmp_path / "f")
    data = bytearray((tmp_path / "f").read_bytes())
    data[int(place * len(data))] ^= 4
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(InputError, match="changed or damaged") as caught:
        load_features(voice(), tmp_path / "f")
    assert "queue again" in caught.value.remedy


@pytest.mark.parametrize("keep", [0, 5, 60, 500, -1])
def test_a_torn_file_is_found(tmp_path, keep):
    save_features(voice(), tmp_path / "f")
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:keep])
    with pytest.raises(InputError, match="cut off|no file of features"):
        open_features(tmp_path / "f")


def test_other_files_and_none_are_refused(tmp_path):
    (tmp_path / "f").write_bytes(os.urandom(3_000))
    for name in ("f", "nothing", "."):
        with pytest.raises(InputError, match="features: "):
            load_features(voice(), tmp_path / name)


def test_a_writer_that_is_left_early_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), FeatureWriter(tmp_path / "f", 100, 7, "me") as writer:
        writer.add(voice().speech[:30])
        raise KeyboardInterrupt
    with FeatureWriter(tmp_path / "f", 100, 7, "me") as writer:
        writer.add(voice().speech[:30])
        with pytest.raises(ValueError, match="30 of 100 frames"):
            writer.finish(voice().silence)
    with pytest.raises(InputError, match="cannot be written"):
        FeatureWriter(tmp_path / "missing" / "f", 1, 1, "me")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_gone_is_told_when_it_is_read(tmp_path):
    file = save_features(voice(), tmp_path / "f")
    (tmp_path / "f").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        file.rows(torch.tensor([1]))


def test_reading_all_windows_takes_no_memory_and_no_handles(tmp_path):
    code = """
import sys, psutil, torch
from infinitetalk.feature_file import FeatureWriter
process, rows = psutil.Process(), torch.zeros(100, 12, 768)
with FeatureWriter(sys.argv[1], 6000, 100, "me") as writer:
    for _ in range(60):
        writer.add(rows)
    file = writer.finish(rows)
def read(first, last):
    for start in range(first, last, 72):
        file.rows(torch.arange(start, start + 85))
read(0, 1000)
file.verify()
early, handles = process.memory_info().rss, process.num_fds()
read(1000, 5900)
file.verify()
print((process.memory_info().rss - early) / 2**20, process.num_fds() - handles)
"""
    grown, handles = map(float, alone(code, tmp_path / "f").stdout.split())
    assert grown < 12 and handles == 0  # the file has 225 MB
