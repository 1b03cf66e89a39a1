"""Verifying model files, and the tables that list them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dev
from infinitetalk.errors import InputError
from infinitetalk_cli import models
from infinitetalk_cli.models_table import TABLE, ModelFile, load_table
from tests.unit.hub_server import Hub
from tests.unit.models_place import FILES, LARGE, SMALL, Place, sha256


@pytest.fixture
def place(tmp_path):
    with Hub(dict(FILES)) as hub:
        place = Place(tmp_path, hub)
        place.know(LARGE, size=len(FILES[LARGE]), sha256=sha256(FILES[LARGE]))
        for name, content in FILES.items():
            place.path(name).parent.mkdir()
            place.path(name).write_bytes(content)
        yield place


def verified(place: Place, **options) -> tuple[int, list[str]]:
    code, out, error = place.run("verify", **options)
    assert error == ""
    return code, out.splitlines()


def test_whole_files_are_told_by_which_checksum(place):
    code, lines = verified(place)
    assert code == 0 and lines[-1] == "2 of 2 files are whole"
    assert lines[0].startswith("ok") and lines[0].endswith("model.safetensors  25.2 MB, checksum of the table")
    assert lines[1].endswith("vae.safetensors  5.0 kB, checksum of the hub")
    asked = [request.path for request in place.hub.requests if "/resolve/" in request.path]
    assert asked == ["/owner/small/resolve/main/vae.safetensors"]


def test_one_flipped_bit_and_a_missing_file_are_found(place):
    content = bytearray(FILES[LARGE])
    content[len(content) // 2] ^= 1
    place.path(LARGE).write_bytes(content)
    place.path(SMALL).unlink()
    code, lines = verified(place)
    assert code == 1 and lines[-1] == "0 of 2 files are whole, 1 damaged, 1 missing"
    assert f"has SHA-256 {sha256(bytes(content))}, by the table {sha256(FILES[LARGE])}" in lines[0]
    assert lines[1].split() == ["missing", "vae/vae.safetensors"]


def test_the_record_beside_a_file_is_asked_before_the_hub(place):
    record = place.path(SMALL).with_name("vae.safetensors.sha256")
    record.write_text(f"{sha256(FILES[SMALL])}  vae.safetensors\n")
    code, lines = verified(place)
    assert code == 0 and lines[1].endswith("checksum of the record beside it") and place.hub.requests == []
    place.path(SMALL).write_bytes(FILES[SMALL][:-1])
    code, lines = verified(place)
    assert code == 1 and "by the record beside it" in lines[1]


def test_a_file_without_any_checksum_is_not_called_whole(place):
    place.hub.__exit__()
    code, lines = verified(place)
    assert code == 1 and lines[-1] == "1 of 2 files are whole, 1 unknown"
    assert lines[1].startswith("unknown   vae/vae.safetensors  there is no checksum to compare it with")
    assert "cannot be reached" in lines[1]


def test_what_lies_in_the_way_of_a_file_is_named(place):
    place.path(LARGE).unlink()
    place.path(LARGE).mkdir()
    place.path(SMALL).unlink()
    place.path(SMALL).parent.rmdir()
    place.path(SMALL).parent.write_text("my own")
    code, lines = verified(place)
    assert code == 1 and lines[-1] == "0 of 2 files are whole, 2 damaged"
    assert "is a folder, where a file" in lines[0] and f"{place.path(SMALL).parent} is a file, where a" in lines[1]


def test_list_and_verify_need_no_package(place):
    """-S: a Python without what is installed for it."""
    place.hub.__exit__()
    plain = {"program": ("-S", "-m", "infinitetalk_cli.models")}
    code, lines = verified(place, **plain)
    assert code == 1 and lines[0].startswith("ok ") and lines[1].startswith("unknown ")
    assert "this package is not there" in lines[1]
    command = [sys.executable, "-S", "-m", "infinitetalk_cli.models", "list"]
    done = subprocess.run(command, cwd=dev.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "8gb-quality" in done.stdout, done.stderr
    code, _, error = place.run("get", **plain)
    assert code == 1 and len(error.splitlines()) == 2 and "Run this with the Python of ComfyUI" in error


# ---------------------------------------------------------------- tables


def test_every_memory_has_both_profiles_with_a_file_of_every_kind():
    table = load_table()
    assert sorted(table.profiles) == sorted(f"{gb}gb-{kind}" for gb in (24, 16, 12, 8) for kind in ("quality", "4step"))
    for name in table.profiles:
        files = table.chosen([name])
        roles = [file.role.split(",")[0] for file in files]
        wanted = ["base model", "adapter", "text encoder", "VAE", "CLIP vision", "audio encoder"]
        assert roles == wanted + ["4-step LoRA"] * name.endswith("4step")
        assert {file.folder for file in files} >= {"diffusion_models", "model_patches", "vae", "audio_encoders"}
        assert ("ComfyUI-GGUF" in table.profiles[name].about) == files[0].name.endswith(".gguf")
    faster = {name: set(table.profiles[name].files) for name in table.profiles}
    assert all(faster[f"{gb}gb-4step"] > faster[f"{gb}gb-quality"] for gb in (24, 16, 12, 8))


def test_sizes_and_checksums_of_the_table_are_numbers_of_their_kind():
    files = load_table().files.values()
    sums = [file.sha256 for file in files if file.sha256]
    assert len(set(sums)) == len(sums) >= 10  # no two files have the same
    assert all((file.size is None) == (file.sha256 is None) for file in files)
    assert all(file.size is None or 10**8 < file.size < 4 * 10**10 for file in files)
    assert all(file.url.endswith(f"/{file.name}") for file in files)


def write(tmp_path, change) -> Path:
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    content["files"], content["profiles"] = content["files"][:2], {}
    change(content)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [("folder", "../etc", "folder cannot be '../etc'"), ("folder", "/etc", "folder cannot be"),
     ("path", "a/../b", "path cannot be"), ("repository", "one", "repository cannot be 'one'"),
     ("sha256", "abc", "sha256 cannot be 'abc'"), ("size", "5", "size cannot be '5'"), ("size", 0, "size cannot be 0"),
     ("role", None, "role cannot be None"), ("colour", "red", "unknown field colour")],
)  # fmt: skip
def test_a_table_with_a_wrong_entry_is_refused_by_name(tmp_path, field, value, text):
    path = write(tmp_path, lambda content: content["files"][0].update({field: value}))
    with pytest.raises(InputError, match="--table") as caught:
        load_table(path)
    assert text in caught.value.problem and str(path) in caught.value.problem


@pytest.mark.parametrize(
    ("change", "text"),
    [(lambda content: content.pop("files"), "no 'files'"),
     (lambda content: content["files"][0].pop("path"), "path"),
     (lambda content: content["files"].append(content["files"][0]), "two files have the same name"),
     (lambda content: content["profiles"].update(a={"about": "", "files": ["x"]}), "profile a: x is not among")],
)  # fmt: skip
def test_a_table_that_lacks_something_is_refused(tmp_path, change, text):
    with pytest.raises(InputError, match=text):
        load_table(write(tmp_path, change))


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.json").write_text("[1")
    for path in (tmp_path / "t.json", tmp_path / "absent.json"):
        with pytest.raises(InputError, match="cannot be read"):
            load_table(path)


def test_unknown_profiles_name_the_known_ones(capsys):
    assert models.main(["list", "6gb"]) == 1
    assert "'6gb' is neither a profile nor a file" in (error := capsys.readouterr().err) and "8gb-quality" in error


def test_list_names_profiles_and_files(capsys):
    assert models.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(load_table().profiles)
    assert models.main(["list", "8gb-quality"]) == 0
    out = capsys.readouterr().out
    for file in load_table().chosen(["8gb-quality"]):
        assert f"{file.place}\n" in out and file.url in out
    assert "size: as the hub tells, sha256 as the hub tells" in out  # what no source says is not invented


def test_the_models_folder_is_that_of_the_comfyui_that_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("comfy", "models"):
        (tmp_path / "ComfyUI" / name).mkdir(parents=True)
    (tmp_path / "ComfyUI" / "main.py").touch()
    named = models.parse(["verify", "8gb-quality", "--comfyui", str(tmp_path / "ComfyUI")])
    assert models.models_folder(named, dev.ROOT) == tmp_path / "ComfyUI" / "models"
    plain = models.parse(["verify", "8gb-quality"])
    assert models.models_folder(plain, tmp_path / "base" / "models").is_dir()
    with pytest.raises(InputError, match="--to: no models folder is given"):
        models.models_folder(plain, None)
    (tmp_path / "file").touch()
    for given, what in {
        str(tmp_path / "absent"): f"there is no folder '{tmp_path / 'absent'}'",
        str(tmp_path / "file"): f"{tmp_path / 'file'} is a file",
        "": "there is no folder ''",
    }.items():
        assert models.main(["get", "8gb-quality", "--to", given]) == 1
        assert capsys.readouterr().err.startswith(f"models: --to: {what}.\nGive ")


def test_dev_hands_on_what_models_is_given():
    given = ["get", "8gb-quality", "vae.safetensors", "--to", "DIR", "--table", "t.json"]
    options = dev.parse(["models", "--comfyui", "X", *given])
    assert options.rest == given and options.comfyui == "X"
    assert dev.parse(["models", "--help"]).rest == ["--help"]


def test_a_file_goes_below_the_models_folder():
    assert ModelFile("a", "b/c", "d/e.gguf", "vae").place == "vae/e.gguf"
