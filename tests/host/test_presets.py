"""Presets with the host's own sampler, LoRA loaders and queue: what they set, what they see, where they warn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.presets import NAMES
from tests.host.test_compose import EXACT, difference

pytestmark = pytest.mark.usefixtures("host")

FUSION, LIGHT = NAMES[2:]


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def lora(machine, prefix: str = "diffusion_model.") -> dict[str, torch.Tensor]:
    """A LoRA file's tensors in the layout of the published ones, for one layer."""
    generator, dim = torch.Generator().manual_seed(2), machine.plain.model.diffusion_model.dim
    name = f"{prefix}blocks.0.self_attn.q"
    return {
        f"{name}.lora_down.weight": torch.randn(2, dim, generator=generator),
        f"{name}.lora_up.weight": torch.randn(dim, 2, generator=generator),
    }


def preset(name: str, *looked_at):
    from infinitetalk.host.presets import make_preset

    return make_preset(name, *looked_at)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_what_the_three_nodes_give(machine, name):
    """Sampling by the preset equals sampling by schedule, guidance and sampler set by hand."""
    import comfy.samplers

    from infinitetalk.host.guider import make_guider
    from infinitetalk.presets import PRESETS
    from infinitetalk.schedule import flow_sigmas

    sampler, sigmas, guidance, notes = preset(name)
    assert torch.equal(sigmas, flow_sigmas(PRESETS[name].steps, PRESETS[name].shift)) and notes == ()
    results = [
        make_guider(machine.model, *machine.window(), guidance).sample(
            machine.noise(), machine.empty(), one, sigmas[-3:], seed=7
        )
        for one in (sampler, comfy.samplers.sampler_object("euler"))
    ]
    assert difference(*results) == EXACT


@pytest.mark.parametrize("order", ["lora_first", "adapter_first"])
def test_a_lora_is_seen_before_and_after_the_adapter(machine, order):
    import comfy.sd

    from infinitetalk.host.attach import attach

    def loaded(model):
        return comfy.sd.load_lora_for_models(model, None, lora(machine), 1.0, 0.0)[0]

    model = attach(loaded(machine.plain), machine.patch) if order == "lora_first" else loaded(machine.model)
    assert preset(FUSION, model)[3] == ()
    (note,) = preset("reference 480p", model)[3]
    assert "A LoRA is loaded" in note
    (note,) = preset(LIGHT, machine.model)[3]  # the shared model is as it was
    assert "The LightX2V LoRA is not loaded" in note


def test_a_lora_in_bypass_mode_is_seen(machine):
    import comfy.sd

    model = comfy.sd.load_bypass_lora_for_models(machine.model, None, lora(machine), 1.0, 0.0)[0]
    assert not model.patches
    assert preset(FUSION, model)[3] == ()


def test_a_lora_of_another_model_is_not_loaded(machine):
    """The host drops what fits no layer with a line in its log only; the preset says so."""
    import comfy.sd

    model = comfy.sd.load_lora_for_models(machine.model, None, lora(machine, "other_model."), 1.0, 0.0)[0]
    (note,) = preset(LIGHT, model)[3]
    assert "The LightX2V LoRA is not loaded" in note


def test_long_speech_from_a_picture_is_warned_of_with_fusionx_only(machine):
    long, short = machine.features(61 * 25), machine.features(60 * 25)
    (note,) = preset(FUSION, None, long, machine.reference)[3]
    assert "The speech is 61 s long" in note and "Pan and Zoom" in note
    assert preset(FUSION, None, short, machine.reference)[3] == ()
    assert preset(LIGHT, None, long, machine.reference)[3] == ()


def test_a_moving_reference_is_not_warned_of(machine):
    from infinitetalk.host.video_reference import VideoReference

    moving = VideoReference(None, machine.reference.picture, machine.vae, machine.reference.clip)
    assert preset(FUSION, None, machine.features(61 * 25), moving)[3] == ()


def graph(machine_files: SimpleNamespace, name: str, with_lora: bool) -> dict:
    """Load the model, a LoRA if wanted, the preset on it, and show its notes."""
    nodes = {
        "1": {
            "class_type": "InfiniteTalkLoadModel",
            "inputs": {"model": machine_files.model, "adapter": machine_files.adapter},
        },
        "2": {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": ["1", 0], "lora_name": "preset_test.safetensors", "strength_model": 1.0},
        },
        "3": {
            "class_type": "InfiniteTalkPreset",
            "inputs": {"preset": name, "model": ["2" if with_lora else "1", 0]},
        },
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 3]}},
    }
    return nodes if with_lora else {key: value for key, value in nodes.items() if key != "2"}


def test_the_queue_shows_and_logs_the_warning(machine, server):
    from demo.small_model import ADAPTER, DIT

    files = SimpleNamespace(model=DIT.split("/")[1], adapter=ADAPTER.split("/")[1])
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(lora(machine), folder / "preset_test.safetensors")
    history = server.queue(graph(files, LIGHT, with_lora=False))
    (note,) = history["outputs"]["3"]["text"]
    assert "The LightX2V LoRA is not loaded" in note and history["outputs"]["4"]["text"] == [note]
    assert note in server.log
    history = server.queue(graph(files, LIGHT, with_lora=True))
    assert "3" not in history["outputs"] and history["outputs"]["4"]["text"] == [""]
