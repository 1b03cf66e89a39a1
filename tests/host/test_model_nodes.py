"""The two model nodes: the adapter inside a model, what the adapter was trained for, and what both tell the user."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from tests.host.markings import fp8, quanto, save

pytestmark = pytest.mark.usefixtures("host")

SINGLE, MULTI = "single/infinitetalk.safetensors", "Wan2_1-InfiniteTalk-Multi_fp16.safetensors"
MODEL, MERGED = "wan.safetensors", "infinitetalk_single_int8.safetensors"


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture
def nodes(pack, monkeypatch, tmp_path):
    """The pack's nodes as the host calls them, over a folder with a model, a merged one and two adapters."""
    from comfy_api.latest._io import HiddenHolder

    from tests.host.small_files import adapter, base, merged, use_folder

    save(tmp_path / MODEL, (base(), {}))
    save(tmp_path / MERGED, quanto(merged(), torch.int8))
    save(tmp_path / SINGLE, (adapter(), {}))
    save(tmp_path / MULTI, fp8({key: value * 0.5 for key, value in adapter().items()}, "older"))
    use_folder(monkeypatch, tmp_path)
    for name in ("InfiniteTalkLoadModel", "InfiniteTalkApplyAdapter"):
        monkeypatch.setattr(pack[name], "hidden", HiddenHolder.from_dict({}))
    return pack


def patch_of(model):
    from infinitetalk.host.attach import attached

    return attached(model)


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "infinitetalk" in record.name.lower()]


def test_a_merged_file_is_model_and_adapter(nodes, caplog):
    from infinitetalk.host.loading import INSIDE
    from tests.host.small_files import error, forward

    node = nodes["InfiniteTalkLoadModel"]
    caplog.set_level(logging.INFO)
    right = node.execute(MODEL, SINGLE).result[0]
    wanted = forward(right, patch_of(right))
    for adapter in (INSIDE, MERGED):
        assert node.validate_inputs(MERGED, adapter) is True
        caplog.clear()
        model = node.execute(MERGED, adapter).result[0]
        assert 1e-6 < error(forward(model, patch_of(model)), wanted) < 0.015
        assert any(MERGED in line and "trained for one voice (by its name)" in line for line in told(caplog))
        assert not any("not used" in line for line in told(caplog))
    caplog.clear()
    other = node.execute(MERGED, SINGLE).result[0]
    assert error(forward(other, patch_of(other)), wanted) < 0.015
    assert any(f"The adapter inside {MERGED} is not used." in line for line in told(caplog))
    alone = node.execute(MODEL, MERGED).result[0]  # the adapter of a merged file for a model of another
    assert 1e-6 < error(forward(alone, patch_of(alone)), wanted) < 0.015


def test_the_adapter_inside_needs_a_model_with_one(nodes):
    from infinitetalk.host.loading import INSIDE

    message = nodes["InfiniteTalkLoadModel"].validate_inputs(MODEL, INSIDE)
    assert message.startswith("adapter: (inside the model) is chosen, and wan.safetensors has none.\n")
    with pytest.raises(ValueError, match="has none"):  # the host's own import of the pack has its own InputError
        nodes["InfiniteTalkLoadModel"].execute(MODEL, INSIDE)


@pytest.mark.parametrize(
    ("file", "choice", "trained_for", "chosen"),
    [
        (SINGLE, "from the name", "single", False),
        (MULTI, "from the name", "multi", False),
        (MULTI, "single", "single", True),
        ("multitalk.safetensors", "from the name", "", False),
        ("InfiniteTalk/single_and_multi.safetensors", "from the name", "", False),
        ("adapter.safetensors", "multi", "multi", True),
        ("MultiTalk/infinitetalk_MULTI_Q8.gguf", "from the name", "multi", False),
    ],
)
def test_the_name_is_a_hint_and_the_user_decides(file, choice, trained_for, chosen):
    from infinitetalk.model.trained_for import note_of

    note = note_of(file, choice)
    assert (note.file, note.trained_for, note.chosen) == (file, trained_for, chosen)


@pytest.mark.parametrize(
    ("file", "twin"),
    [("Wan2_1-MultiTalk_fp16.safetensors", "MultiTalk"), ("SkyReelsV3_A2V.safetensors", "SkyReels V3"), (SINGLE, ""),
     ("MultiTalk/infinitetalk_multi.safetensors", "")],
)  # fmt: skip
def test_models_of_the_same_tensors_are_told_by_their_names(machine, caplog, file, twin):
    from infinitetalk.host.adapter_note import keep_note
    from infinitetalk.model.trained_for import BY_NAME, note_of

    caplog.set_level(logging.WARNING)
    keep_note(machine.plain.clone(), note_of(file, BY_NAME), None)
    assert [f"it is of {twin}" in line for line in told(caplog)] == [True] * bool(twin)


def test_both_nodes_keep_the_note_and_it_survives_clones(nodes):
    from infinitetalk.host.adapter_note import KEY, voices_warning

    model = nodes["InfiniteTalkLoadModel"].execute(MODEL, SINGLE).result[0]
    assert model.clone().get_attachment(KEY).trained_for == "single"
    again = nodes["InfiniteTalkApplyAdapter"].execute(model, MULTI, trained_for="single").result[0]
    assert again.get_attachment(KEY).file == MULTI and again.get_attachment(KEY).chosen
    assert model.get_attachment(KEY).file == SINGLE  # the input is not changed
    assert "2 voices, but the adapter single/infinitetalk.safetensors is for one by its name" in voices_warning(
        model, 2
    )
    assert f"3 voices, but the adapter {MULTI} is for one as chosen" in voices_warning(again, 3)
    multi = nodes["InfiniteTalkApplyAdapter"].execute(model, MULTI).result[0]
    assert voices_warning(multi, 2) == voices_warning(model, 1) == ""


def test_the_sampler_warns_and_goes_on(machine, tmp_path, caplog):
    from infinitetalk.host.adapter_note import keep_note
    from infinitetalk.model.trained_for import BY_NAME, note_of
    from infinitetalk.speakers import Speakers
    from tests.host.test_run import read, run

    one = machine.features(9)
    pair = Speakers((one, replace(one, speech=one.speech.flip(0))), None, one.sound)
    model = machine.model.clone()
    keep_note(model, note_of(SINGLE, BY_NAME), None)
    assert len(read(run(machine, tmp_path, 9, features=pair, model=model))[0]) == 9
    assert any("2 voices, but the adapter" in line for line in told(caplog))
