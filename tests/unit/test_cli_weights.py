"""Model files by what is in them: found in a folder, refused, made known to an own host, matched in a host's lists."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path, PurePosixPath

import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.errors import InputError
from infinitetalk_cli.arguments import parse
from infinitetalk_cli.job import Job, Person
from infinitetalk_cli.weights import ADAPTER, BASE, CLIP, EMBEDS, LORA, SPEECH, TEXT, VAE, Weights, in_list

MARKS = {BASE: BASE.marks, ADAPTER: ADAPTER.marks, TEXT: TEXT.marks, VAE: VAE.marks, CLIP: CLIP.marks}


def put(path: Path, names, prefix: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + name: torch.zeros(1) for name in names}, path)
    return path


def options(*arguments: object, server: bool = False) -> Namespace:
    return parse([*(["--server", "h"] if server else []), *map(str, arguments)])


def weights(*arguments: object, has_regions: bool = False, server: bool = False) -> Weights:
    return Weights.of(options(*arguments, server=server), has_regions)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a file for each role under names that say nothing."""
    for number, (role, names) in enumerate(MARKS.items()):
        put(tmp_path / "wan" / f"file{number}" / "model.safetensors", names, "model.diffusion_model." * (role is BASE))
    return tmp_path


def test_files_of_a_folder_are_known_by_their_tensors(folder):
    found = weights("--ckpt_dir", folder / "wan")
    entries = {role: str(given.entry) for role, given in found.chosen.items()}
    assert entries == {role: f"file{n}/model.safetensors" for n, role in enumerate(MARKS) if role is not ADAPTER}
    paths = found.search_paths(folder / "ComfyUI")
    assert paths["given"]["is_default"] and paths["given"]["diffusion_models"] == str(folder / "wan")
    assert paths["comfyui"]["base_path"] == str(folder / "ComfyUI" / "models")


def test_embeddings_stand_for_text_encoder_and_clip(folder):
    embeds = put(folder / "my_embeds.safetensors", ["positive"])
    found = weights("--ckpt_dir", folder / "wan", "--embeds", embeds)
    assert set(found.chosen) == {BASE, VAE, EMBEDS}
    paths = found.search_paths(folder / "ComfyUI")
    assert list(paths) == ["given", "comfyui", "embeds"]  # what a run writes goes to the ComfyUI's folder
    assert paths["embeds"]["infinitetalk"] == str(folder)


def test_the_download_of_the_adapter_is_taken_by_the_number_of_voices(folder):
    """One person in a box is two voices for the model: the person's and the silence of everybody else."""
    for kind in ("single", "multi"):
        put(folder / "InfiniteTalk" / kind / "infinitetalk.safetensors", ADAPTER.marks)
    one, other = Person("person1", Path("a.wav"), None), Person("person2", Path("b.wav"), None)
    boxed = Person("person1", Path("a.wav"), (0, 0, 9, 9))
    for persons, kind in (((one,), "single"), ((one, other), "multi"), ((boxed,), "multi")):
        job = Job("A man talks", Path("face.png"), persons, "para", None)
        given = weights("--infinitetalk_dir", folder / "InfiniteTalk", has_regions=job.has_regions).chosen[ADAPTER]
        assert given.path.parent.name == kind and str(given.entry) == "infinitetalk.safetensors"


def test_a_running_host_is_asked_for_names_only(folder):
    given = weights("--dit_path", "models/wan/i2v.safetensors", server=True).chosen[BASE]
    assert given.root is None and str(given.entry) == "models/wan/i2v.safetensors"


def test_loras_keep_their_order_and_strength(folder):
    files = [put(folder / name / "lora.safetensors", ["x"]) for name in "ba"]
    found = weights("--lora_dir", *files, "--lora_scale", 1, 0.5)
    assert [(given.path, scale) for given, scale in found.loras] == [(files[0], 1), (files[1], 0.5)]
    assert found.search_paths(folder)["given"]["loras"] == "\n".join(str(file.parent) for file in files)


def test_the_reference_s_own_folder(folder):
    """Its VAE and its model in parts load; pickled encoders are told apart from files that are merely absent."""
    wan = folder / "Wan2.1-I2V-14B-480P"
    for number in range(1, 8):
        part = wan / f"diffusion_pytorch_model-{number:05d}-of-00007.safetensors"
        put(part, BASE.marks[number - 1 : number] or [f"blocks.{number}.norm3.bias"])
    for name in ("Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"):
        (wan / name).touch()
    assert weights("--ckpt_dir", wan).chosen[BASE].path.name == "diffusion_pytorch_model-00001-of-00007.safetensors"
    part.unlink()
    with pytest.raises(InputError, match="1 of the model's 7 parts are missing: .*00007-of-00007"):
        weights("--ckpt_dir", wan)
    put(part, ["x"])
    whole = put(folder / "whole.safetensors", BASE.marks)
    found = weights("--ckpt_dir", wan, "--dit_path", whole)
    assert found.chosen[VAE].path == wan / "Wan2.1_VAE.pth" and found.chosen[BASE].path == whole
    with pytest.raises(InputError) as caught:
        found.listed(TEXT, "umt5_xxl_fp8_e4m3fn_scaled.safetensors", ["other.safetensors"], "http://h")
    assert caught.value.problem.startswith("--ckpt_dir: ComfyUI does not load models_t5_umt5-xxl-enc-bf16.pth")
    assert "Put umt5_xxl_fp8_e4m3fn_scaled.safetensors into --ckpt_dir" in caught.value.remedy


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        (["--ckpt_dir", "nowhere"], "there is no folder nowhere", "Give the folder"),
        (["--ckpt_dir", "empty"], "holds no Wan2.1 I2V model", "Give --dit_path with one"),
        (["--ckpt_dir", "twice"], "2 files are a base model: a.safetensors, b.safetensors", "Name one with --dit_path"),
        (["--dit_path", "model.pth"], "model.pth is not one .safetensors file", "README"),
        (["--dit_path", "model.gguf"], "model.gguf is not one .safetensors file", "README"),
        (["--dit_path", "no/such.safetensors"], "there is no no/such.safetensors", "Give the base model"),
        (["--dit_path", "adapter.safetensors"], "adapter.safetensors is another kind of file", "Give the base model"),
        (["--infinitetalk_dir", "quanto.safetensors"], "is another kind of file", "Give the adapter"),
        (["--infinitetalk_dir", "empty"], "there is no empty/single/infinitetalk.safetensors", "Give the adapter"),
        (["--wav2vec_dir", "empty"], "empty has no config.json", "whole chinese-wav2vec2-base folder"),
        (["--lora_dir", "twice/no.safetensors"], "there is no twice/no.safetensors", "Give the LoRA"),
        (["--embeds", "e.pt"], "e.pt is not one .safetensors file", "Give the embeddings"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_starts(tmp_path, monkeypatch, arguments, problem, remedy):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("a", "b"):
        put(tmp_path / "twice" / f"{name}.safetensors", BASE.marks)
    put(tmp_path / "adapter.safetensors", ADAPTER.marks)
    put(tmp_path / "quanto.safetensors", ["blocks.0.self_attn.q.weight._data"])
    with pytest.raises(InputError) as caught:
        weights(*arguments)
    assert problem in caught.value.problem and remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("path", "entries", "expected"),
    [
        ("x.safetensors", ["a/x.safetensors"], "a/x.safetensors"),
        ("x.safetensors", ["a/x.safetensors", "x.safetensors"], "x.safetensors"),
        ("w/multi/i.safetensors", ["single/i.safetensors", "multi/i.safetensors"], "multi/i.safetensors"),
        ("w/multi/i.safetensors", ["single\\i.safetensors", "multi\\i.safetensors"], "multi\\i.safetensors"),
        ("/home/me/chinese-wav2vec2-base", ["chinese-wav2vec2-base", "b.safetensors"], "chinese-wav2vec2-base"),
    ],
)
def test_the_most_alike_entry_of_a_list_is_taken(path, entries, expected):
    assert in_list(LORA, PurePosixPath(path), entries, "http://h") == expected


def test_a_list_without_the_file_or_with_two_is_refused():
    with pytest.raises(InputError) as caught:
        in_list(SPEECH, PurePosixPath("w/base"), ["other"], "http://h:1")
    assert caught.value.problem == "audio encoder: the ComfyUI at http://h:1 has no base in models/wav2vec2."
    assert caught.value.remedy == "Put it there, or choose another with --wav2vec_dir or --set. It has: other."
    with pytest.raises(InputError, match="can be a/x or b/x"):
        in_list(LORA, PurePosixPath("x"), ["a/x", "b/x"], "http://h")
