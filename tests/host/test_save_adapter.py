"""Compact adapter files: what they compute, what is refused, and that nothing half-written is left."""

from __future__ import annotations

import functools

import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitetalk.errors import InputError
from tests.host.layouts import adapter_tensors, base_tensors
from tests.host.markings import fp8, save_gguf
from tests.host.test_quantised import DIM, FEATURES, LAYERS, outputs

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture
def models(tmp_path, monkeypatch):
    """models/infinitetalk in an empty folder, with an adapter in float32."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    for name in ("infinitetalk", "model_patches"):
        folder_paths.folder_names_and_paths[name] = ([str(tmp_path / name)], {".safetensors", ".gguf"})
        (tmp_path / name).mkdir()
    folder_paths.folder_names_and_paths["infinitetalk_gguf"] = ([str(tmp_path / "model_patches")], {".gguf"})
    save_file(adapter_tensors(DIM, LAYERS, FEATURES, token_width=64), tmp_path / "model_patches" / "one.safetensors")
    return tmp_path


def apart(one, other) -> list[float]:
    pairs = zip(outputs(one), outputs(other), strict=True)
    return [((found - right).norm() / right.norm()).item() for found, right in pairs]


@pytest.mark.parametrize("form, least, most", [("fp8", 0.01, 0.04), ("bf16", 1e-4, 0.005), ("fp16", 1e-5, 0.001)])
def test_a_compact_file_computes_what_the_first_did(models, form, least, most):
    from infinitetalk.host.loading import load_adapter_file
    from infinitetalk.host.save_adapter import save_adapter

    report = save_adapter("one.safetensors", form)
    path = models / "infinitetalk" / f"one_{form}.safetensors"
    assert report.startswith(f"one_{form}.safetensors: ") and "from" in report
    whole = (models / "model_patches" / "one.safetensors").stat().st_size
    assert path.stat().st_size < (0.3 if form == "fp8" else 0.52) * whole
    found = load_adapter_file(str(path))
    kinds = {getattr(value, "_qdata", value).dtype for value in found.model.parameters()}
    assert torch.float32 not in kinds
    plain = load_adapter_file(str(models / "model_patches" / "one.safetensors"))
    # 16-bit layers compute in what they are given: float32 here, so that only the weights' own error is seen
    assert all(least < error < most for error in apart(found, plain))


def test_every_kind_of_source_can_be_saved(models):
    from infinitetalk.host.loading import load_adapter_file
    from infinitetalk.host.save_adapter import save_adapter

    plain = load_file(models / "model_patches" / "one.safetensors")
    save_gguf(models / "model_patches" / "two.gguf", plain, "Q8_0")
    tensors, metadata = fp8(plain, "older")
    tensors = {f"diffusion_model.{key}": value.contiguous() for key, value in tensors.items()}
    save_file(tensors, models / "model_patches" / "three.safetensors", metadata)
    right = load_adapter_file(str(models / "model_patches" / "one.safetensors"))
    for name, most in (("two.gguf", 0.045), ("three.safetensors", 0.04)):
        save_adapter(name, "fp8", "small", overwrite=True)
        assert max(apart(load_adapter_file(str(models / "infinitetalk" / "small.safetensors")), right)) < most


def test_an_existing_file_is_left_alone_unless_it_is_to_be_replaced(models):
    from infinitetalk.host.save_adapter import save_adapter

    save_adapter("one.safetensors", "bf16", "mine.safetensors")
    path = models / "infinitetalk" / "mine.safetensors"
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"filename: models/infinitetalk/mine.safetensors exists"):
        save_adapter("one.safetensors", "fp8", "mine")
    assert path.read_bytes() == before
    save_adapter("one.safetensors", "fp8", "mine", overwrite=True)
    assert len(path.read_bytes()) < len(before)
    assert [entry.name for entry in (models / "infinitetalk").iterdir()] == ["mine.safetensors"]


def test_a_name_of_another_adapter_folder_is_refused_as_the_lists_would_show_one_of_both(models):
    from infinitetalk.host.save_adapter import check_save, save_adapter

    for call in (check_save, functools.partial(save_adapter, overwrite=True)):
        with pytest.raises(InputError, match="filename: .*model_patches.one.safetensors has this name already"):
            call("one.safetensors", "fp8", "one")
    assert not list((models / "infinitetalk").iterdir())


def test_an_adapter_is_not_replaced_by_its_own_copy(models):
    from infinitetalk.host.save_adapter import save_adapter

    save_adapter("one.safetensors", "bf16", "mine")
    before = (models / "infinitetalk" / "mine.safetensors").read_bytes()
    with pytest.raises(InputError, match="adapter: mine.safetensors would be replaced by its own copy"):
        save_adapter("mine.safetensors", "fp8", "mine", overwrite=True)
    assert (models / "infinitetalk" / "mine.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["../out", "a/b", "c:d", ".hidden", "what?", "x" * 300])
def test_names_that_lead_elsewhere_are_refused(models, name):
    from infinitetalk.host.save_adapter import check_save, save_adapter

    for call in (check_save, save_adapter):
        with pytest.raises(InputError, match="is not a plain file name"):
            call("one.safetensors", "fp8", name)


def test_what_is_no_adapter_is_refused_and_nothing_is_written(models):
    from infinitetalk.host.save_adapter import check_save, save_adapter

    save_file(base_tensors(128, 1), models / "model_patches" / "base.safetensors")
    for call in (check_save, save_adapter):
        with pytest.raises(InputError, match="this file is Wan2.1 I2V, not an InfiniteTalk adapter"):
            call("base.safetensors", "fp8", "")
        with pytest.raises(InputError, match="none.safetensors is not in"):
            call("none.safetensors", "fp8", "")
        with pytest.raises(InputError, match="format: 'int4' is unknown"):
            call("one.safetensors", "int4", "")
    assert not list((models / "infinitetalk").iterdir())


def test_numbers_that_fp16_cannot_hold_leave_nothing_behind(models):
    from infinitetalk.host.save_adapter import save_adapter

    tensors = load_file(models / "model_patches" / "one.safetensors")
    tensors["audio_proj.proj1.bias"] = torch.full_like(tensors["audio_proj.proj1.bias"], 1e6)
    save_file(tensors, models / "model_patches" / "large.safetensors")
    with pytest.raises(InputError, match="more than fp16 can"):
        save_adapter("large.safetensors", "fp16")
    assert not list((models / "infinitetalk").iterdir())


def test_the_node_saves_and_tells(models, pack):
    node = pack["InfiniteTalkSaveAdapter"]
    assert node.validate_inputs("one.safetensors", "fp8", "") is True
    assert "is not a plain file name" in node.validate_inputs("one.safetensors", "fp8", "a/b")
    done = node.execute("one.safetensors", "fp8")
    assert (models / "infinitetalk" / "one_fp8.safetensors").is_file()
    assert done.result[0] in str(done.ui.as_dict())
    with pytest.raises(ValueError, match="exists"):
        node.execute("one.safetensors", "fp8")


def test_the_command_says_what_it_made_or_why_not(models, capsys):
    from demo.adapter import main

    source, target = models / "model_patches" / "one.safetensors", models / "out.safetensors"
    assert main(source, target, "fp8", False) == 0
    assert "out.safetensors: " in capsys.readouterr().out and target.is_file()
    (models / "folder.safetensors").mkdir()
    for given, text in (
        ((source, target, "fp8", False), "exists"),
        ((models / "gone", target, "fp8", True), "is not a file"),
        ((source, models / "out.bin", "fp8", False), "does not end in .safetensors"),
        ((source, models / "new" / "out.safetensors", "fp8", False), f"there is no folder {models / 'new'}"),
        ((source, models / "folder.safetensors", "fp8", True), "is a folder"),
        ((source, source, "fp8", True), "would be replaced by its own copy"),
    ):
        assert main(*given) == 1
        assert text in capsys.readouterr().err
    assert not (models / "new").exists()
