"""Which nodes of a graph the check looks at, and what loaders make of right files: no graph that works is refused."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.check.report import Report
from tests.host.full_files import (
    UMT5,
    WAN22_VAE,
    WAN_VAE,
    infinitetalk_shapes,
    quanto,
    scaled,
    wan_shapes,
)
from tests.host.looks import only_problem, put
from tests.unit.workflow import NODES

pytestmark = pytest.mark.usefixtures("host")

FLUX = {"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}
DRAWN = {  # a picture by another model, with loaders of its own
    "other": ("UNETLoader", {"unet_name": "flux.safetensors", "weight_dtype": "default"}),
    "other_text": ("CLIPLoader", {"clip_name": "t5.safetensors", "type": "flux"}),
    "other_vae": ("VAELoader", {"vae_name": "ae.safetensors"}),
    "other_lora": ("LoraLoaderModelOnly", {"model": ["other", 0], "lora_name": "flux_lora.safetensors"}),
    "words": ("CLIPTextEncode", {"text": "a face", "clip": ["other_text", 0]}),
    "drawing": ("KSampler", {"model": ["other_lora", 0], "positive": ["words", 0], "negative": ["words", 0],
                             "latent_image": ["empty", 0], "steps": 4}),
    "empty": ("EmptyLatentImage", {"width": 640, "height": 640, "batch_size": 1}),
    "drawn": ("VAEDecode", {"samples": ["drawing", 0], "vae": ["other_vae", 0]}),
}  # fmt: skip


@pytest.fixture
def others(look):
    """Files that another model is made of."""
    put(look, "diffusion_models", "flux.safetensors", FLUX)
    put(look, "text_encoders", "t5.safetensors", {"shared.weight": (32128, 4096),
        "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)})  # fmt: skip
    put(look, "vae", "ae.safetensors", WAN22_VAE)
    put(look, "loras", "flux_lora.safetensors", {"diffusion_model.double_blocks.0.lora_down.weight": (16, 3072)})
    return look


def test_a_picture_may_be_made_by_another_model(others):
    report = others({"reference": {"image": ["drawn", 0]}}, **DRAWN)
    assert not report.findings, report.text()
    assert not any("flux" in line for line in report.sections["Files"])


def test_a_source_video_may_be_made_by_another_model(others):
    film = ("InfiniteTalkVideoReference", {**{key: value for key, value in NODES["reference"][1].items()
            if key != "image"}, "images": ["drawn", 0], "images_fps": 25.0})  # fmt: skip
    report = others(reference=film, **DRAWN)
    assert not report.findings, report.text()


def test_words_may_be_written_by_another_model(others):
    """A language model that writes the prompt is loaded by ComfyUI's own text loader."""
    writer = ("TextGenerate", {"clip": ["other_text", 0], "prompt": "describe"})
    report = others({"prompt": {"text": ["writer", 0]}}, writer=writer, **DRAWN)
    assert not report.findings, report.text()


def test_a_run_may_go_on_from_one_of_another_model(look):
    """Two samplers chained by Extend, each with a model and an adapter of its own size."""
    narrow = [
        {key: tuple(1536 if side == 5120 else side for side in shape) for key, shape in shapes.items()}
        for shapes in (wan_shapes(), infinitetalk_shapes())
    ]
    put(look, "diffusion_models", "small.safetensors", narrow[0])
    put(look, "model_patches", "small_adapter.safetensors", narrow[1])
    small = ("InfiniteTalkLoadModel", {"model": "small.safetensors", "adapter": "small_adapter.safetensors"})
    second = ("InfiniteTalkSampler", {**NODES["sampler"][1], "model": ["model2", 0], "start": ["extend", 0]})
    extend = ("InfiniteTalkExtend", {"run": ["sampler", 3]})
    report = look(model2=small, sampler2=second, extend=extend)
    assert not report.findings, report.text()


def test_findings_of_several_samplers_name_theirs(look):
    second = ("InfiniteTalkSampler", {**NODES["sampler"][1], "frames_per_window": 80})
    report = look(sampler2=second)
    assert only_problem(report)[0].startswith("InfiniteTalkSampler (node sampler2): frames per window: 80 is")
    assert "InfiniteTalkSampler (node sampler): Plan" in report.sections


def test_a_scheduler_may_take_its_shift_from_another_model(others):
    steps = ("BasicScheduler", {"model": ["other", 0], "scheduler": "simple", "steps": 40, "denoise": 1.0})
    report = others({"sampler": {"sigmas": ["steps", 0]}}, steps=steps, **DRAWN)
    assert not report.findings, report.text()


def loaded_by_host(look, name: str) -> Report:
    host = ("UNETLoader", {"unet_name": name, "weight_dtype": "default"})
    attach = ("InfiniteTalkApplyAdapter", {"model": ["base", 0], "adapter": "adapter.safetensors"})
    return look(base=host, model=attach)


@pytest.mark.parametrize("prefix", ["", "model.", "model.diffusion_model."])
def test_models_that_comfyuis_loader_reads_are_no_finding(look, prefix):
    assert not loaded_by_host(look, "base.safetensors").findings  # fp8 scaled
    put(look, "diffusion_models", "named.safetensors", {f"{prefix}{key}": one for key, one in wan_shapes().items()})
    assert not loaded_by_host(look, "named.safetensors").findings


def test_a_model_of_unknown_names_is_told_and_stops_nothing(look):
    """ComfyUI may know them."""
    put(look, "diffusion_models", "net.safetensors", {f"net.{key}": one for key, one in wan_shapes().items()})
    report = loaded_by_host(look, "net.safetensors")
    assert not report.problems and "an unknown file" in report.findings[0].what


@pytest.mark.parametrize("shapes", [{"dwpose_embedding.0.weight": (5120, 64)}, infinitetalk_shapes()])
def test_a_lora_loader_with_something_else_is_warned_of(look, shapes):
    """ComfyUI leaves out what does not fit, and goes on."""
    put(look, "loras", "style-00005-of-00010.safetensors", shapes)
    other = ("LoraLoaderModelOnly", {"model": ["model", 0], "lora_name": "style-00005-of-00010.safetensors"})
    report = look({"sampler": {"model": ["lora", 0]}}, lora=other)
    assert not report.problems and "this file is" in report.findings[0].what


def test_a_patch_that_is_not_taken_is_not_looked_at(look):
    put(look, "model_patches", "qwen.safetensors", {"controlnet_blocks.0.y_rms.weight": (3072,)})
    host = ("UNETLoader", {"unet_name": "base.safetensors", "weight_dtype": "default"})
    attach = ("InfiniteTalkApplyAdapter", {"model": ["base", 0], "adapter": "adapter.safetensors",
                                           "model_patch": ["patch", 0]})  # fmt: skip
    assert not look(base=host, model=attach, patch=("ModelPatchLoader", {"name": "qwen.safetensors"})).findings


def test_of_two_adapters_the_one_that_is_applied_last_counts(look):
    put(look, "model_patches", "InfiniteTalk-Single.safetensors", infinitetalk_shapes())
    first = {"model": {"adapter": "InfiniteTalk-Single.safetensors"}, "sampler": {"model": ["again", 0]}}
    again = ("InfiniteTalkApplyAdapter", {"model": ["model", 0], "adapter": "adapter.safetensors"})
    talks = {"features": ["features", 0]}
    people = {f"person{n}": ("InfiniteTalkSpeaker", talks) for n in range(2)}
    both = {"reference": ["reference", 0], **{f"speakers.speaker{n}": [f"person{n}", 0] for n in range(2)}}
    first["sampler"]["features"] = ["speakers", 0]
    report = look(first, again=again, **people, speakers=("InfiniteTalkSpeakers", both))
    assert not report.findings, report.text()


def test_what_is_sure_on_one_way_is_a_problem(look):
    """A VAE through a node that is not known, and the same directly into the reference."""
    put(look, "vae", "wan22.safetensors", WAN22_VAE)
    through = ("SomeVaeNode", {"vae": ["vae", 0]})
    report = look({"vae": {"vae_name": "wan22.safetensors"}, "sampler": {"vae": ["odd", 0]}}, odd=through)
    assert "a Wan2.2 VAE" in only_problem(report)[0]


def test_a_window_of_its_own_keeps_nothing_on_the_disk(look):
    inputs = {key: value for key, value in NODES["sampler"][1].items() if key not in ("sampler", "sigmas")}
    report = look(sampler=("InfiniteTalkWindow", inputs))
    assert not report.findings and not any("disk" in line for line in report.sections["Cost"])
    assert report.sections["Plan"][0].startswith("1 window")


def test_one_file_that_two_samplers_take_is_told_once(look):
    second = ("InfiniteTalkSampler", dict(NODES["sampler"][1]))
    what, _ = only_problem(look({"vae": {"vae_name": "gone.safetensors"}}, sampler2=second))
    assert what.startswith("VAELoader (node vae)")


@pytest.mark.parametrize(
    "given",
    [{"sampler": {"source_strength": float("inf")}}, {"picture": {"image": "x" * 300}}, {"picture": {"image": ""}}],
)
def test_odd_values_do_not_end_the_check(look, given):
    report = look(given)
    assert not any("could not be finished" in found.what for found in report.findings), report.text()


def test_an_adapter_that_comfyuis_patch_loader_has_no_room_for_is_found(look):
    fewer = [
        {key: shape for key, shape in shapes.items() if not (key.startswith("blocks.") and int(key.split(".")[1]) > 29)}
        for shapes in (wan_shapes(), infinitetalk_shapes())
    ]
    put(look, "diffusion_models", "small.safetensors", fewer[0])
    put(look, "model_patches", "small_adapter.safetensors", fewer[1])
    host = ("UNETLoader", {"unet_name": "small.safetensors", "weight_dtype": "default"})
    attach = ("InfiniteTalkApplyAdapter", {"model": ["base", 0], "adapter": "(from model_patch)",
                                           "model_patch": ["patch", 0]})  # fmt: skip
    report = look(base=host, model=attach, patch=("ModelPatchLoader", {"name": "small_adapter.safetensors"}))
    assert "reads adapters of 40 blocks, this one has 30" in only_problem(report)[0]


ROWS = {
    "quanto": lambda shapes: quanto(shapes),
    "LightX2V": lambda shapes: shapes | {key.removesuffix("weight") + "weight_scale": (shape[0], 1)
                                         for key, shape in shapes.items() if len(shape) == 2},
    "WanVideoWrapper": lambda shapes: {f"diffusion_model.{key}": shape for key, shape in shapes.items()},
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_models_that_comfyuis_loader_misreads_are_found(look, kind):
    """ComfyUI fails on the first, and takes the second's numbers without their scales: grey noise."""
    stored = "I8" if kind == "quanto" else "F8_E4M3" if kind == "LightX2V" else "F16"
    put(look, "diffusion_models", "rows.safetensors", ROWS[kind](wan_shapes()), stored, "F32")
    what, remedy = only_problem(loaded_by_host(look, "rows.safetensors"))
    assert what.startswith("UNETLoader (node base), unet_name: rows.safetensors: this loader")
    assert remedy == "Choose the file in Load InfiniteTalk Model."
    ours = look({"model": {"model": "rows.safetensors"}})
    assert not ours.findings, ours.text()


def test_one_of_several_parts_is_found_where_only_it_is_read(look):
    shapes = list(wan_shapes().items())
    for n, half in enumerate((shapes[:700], shapes[700:]), 1):
        put(look, "diffusion_models", f"wan-{n:05d}-of-00002.safetensors", dict(half))
    first = "wan-00001-of-00002.safetensors"
    assert "one of the model's several files" in only_problem(loaded_by_host(look, first))[0]
    assert not look({"model": {"model": first}}).findings
    for n in (1, 2):
        put(look, "text_encoders", f"umt5-{n:05d}-of-00002.safetensors", UMT5)
    put(look, "text_encoders", "whole-00001-of-00001.safetensors", UMT5)
    assert not look({"text": {"clip_name": "whole-00001-of-00001.safetensors"}}).findings
    what, remedy = only_problem(look({"text": {"clip_name": "umt5-00001-of-00002.safetensors"}}))
    assert "one of the model's several files" in what and "umt5_xxl_fp8_e4m3fn_scaled" in remedy


def test_an_8_bit_adapter_in_comfyuis_patch_loader_is_found(look):
    put(look, "model_patches", "fp8.safetensors", scaled(infinitetalk_shapes()), "F8_E4M3", "F32")
    host = ("UNETLoader", {"unet_name": "base.safetensors", "weight_dtype": "default"})
    attach = ("InfiniteTalkApplyAdapter", {"model": ["base", 0], "adapter": "(from model_patch)",
                                           "model_patch": ["patch", 0]})  # fmt: skip
    for name, found in (("adapter.safetensors", False), ("fp8.safetensors", True)):
        report = look(base=host, model=attach, patch=("ModelPatchLoader", {"name": name}))
        assert bool(report.problems) == found, report.text()
    assert "does not read 8-bit weights" in report.problems[0].what


def test_a_check_that_fails_stops_nothing(look, monkeypatch):
    """No known file or graph does it: an error of the check itself, planted."""
    import infinitetalk.host.preflight as preflight

    put(look, "vae", "ok.safetensors", WAN_VAE)
    monkeypatch.setattr(preflight, "open_weight", lambda *given: 1 / 0)
    report = look()
    assert not report.problems and "could not be finished (ZeroDivisionError" in report.findings[0].what


SWITCH = {
    "other": ("InfiniteTalkLoadModel", {"model": "t2v.safetensors", "adapter": "adapter.safetensors"}),
    "switch": ("ComfySwitchNode", {"switch": True, "on_true": ["model", 0], "on_false": ["other", 0]}),
}


def test_what_a_switch_may_leave_unused_is_only_warned_of(look):
    put(look, "diffusion_models", "t2v.safetensors", wan_shapes(in_dim=16, clip=False))
    report = look({"sampler": {"model": ["switch", 0]}}, **SWITCH)
    assert not report.problems and any("a text-to-video model" in found.what for found in report.findings)


def test_a_model_merged_of_two_is_not_compared_with_the_adapter(look):
    narrow = {key: tuple(1536 if side == 5120 else side for side in shape) for key, shape in wan_shapes().items()}
    put(look, "diffusion_models", "small.safetensors", narrow)
    other = ("UNETLoader", {"unet_name": "small.safetensors", "weight_dtype": "default"})
    merged = ("ModelMergeSimple", {"model1": ["model", 0], "model2": ["other", 0], "ratio": 1.0})
    assert not look({"sampler": {"model": ["merged", 0]}}, other=other, merged=merged).problems


def test_a_lora_of_strength_0_is_not_looked_at(look):
    gone = ("LoraLoaderModelOnly", {"model": ["model", 0], "lora_name": "gone.safetensors", "strength_model": 0})
    assert not look({"sampler": {"model": ["lora", 0]}}, lora=gone).findings


def test_choices_without_a_file_behind_them_are_found(look):
    what, _ = only_problem(look({"model": {"adapter": "(inside the model)"}}))
    assert what.endswith("(node model): adapter: (inside the model) is chosen, and base.safetensors has none.")
    host = ("UNETLoader", {"unet_name": "base.safetensors", "weight_dtype": "default"})
    attach = ("InfiniteTalkApplyAdapter", {"model": ["base", 0], "adapter": "(from model_patch)"})
    assert "nothing is connected to model_patch" in only_problem(look(base=host, model=attach))[0]


def test_an_adapter_of_another_model_by_its_name_is_told(look):
    put(look, "model_patches", "multitalk.safetensors", infinitetalk_shapes())
    (found,) = look({"model": {"adapter": "multitalk.safetensors"}}).findings
    assert found.level == "warning" and "is of MultiTalk, which was trained for another sampling" in found.what


def test_values_are_read_as_the_host_gives_them(look):
    """A workflow's numbers may be written as text, or be of no use at all, which the host says when it runs."""
    for given in ({"frames_per_window": "81", "source_strength": "1.0"}, {"frames_per_window": 81.0}):
        assert not look({"sampler": given}).findings
    for node, inputs in (("guidance", {"text_scale": "abc"}), ("sampler", {"source_strength": float("nan")}),
                         ("schedule", {"steps": {"a": 1}}), ("text", {"type": None})):  # fmt: skip
        assert not look({node: inputs}).problems


@pytest.mark.parametrize("broken", [{"_meta": None}, {"inputs": None}, {"class_type": None}])
def test_nodes_that_are_odd_stop_nothing(look, broken):
    from comfy_execution.graph import DynamicPrompt

    from infinitetalk.host.preflight import look_over
    from tests.host.looks import CARD
    from tests.unit.workflow import graph

    nodes = dict(graph({"encoder": {"audio_encoder": "wav2vec.safetensors"}}).nodes)
    nodes["odd"] = {"class_type": "Note", "inputs": {}, **broken}
    nodes["sampler"] = {**nodes["sampler"], "_meta": None}
    assert not look_over(DynamicPrompt(nodes), machine=CARD).findings


def test_a_vae_that_lies_with_the_small_ones_is_found(look):
    import folder_paths

    (look.models / "vae_approx").mkdir()
    folder_paths.folder_names_and_paths["vae_approx"] = ([str(look.models / "vae_approx")], {".safetensors"})
    put(look, "vae_approx", "taehv.safetensors", {"decoder.22.bias": (12,), "decoder.7.conv.4.weight": (64, 64, 3, 3)})
    assert not look({"vae": {"vae_name": "taehv.safetensors"}}).findings


def test_windows_longer_than_the_reference_are_found(look):
    what, remedy = only_problem(look({"sampler": {"frames_per_window": 101}}))
    assert "101 is more than the 81 frames the reference was encoded for" in what and "window_frames" in remedy
    longer = {"sampler": {"frames_per_window": 101}, "reference": {"window_frames": 101}}
    assert not look(longer).findings


def test_a_picture_gives_no_start_of_a_video(look):
    assert (
        "source_strength: 0.5 starts from a source video"
        in only_problem(look({"sampler": {"source_strength": 0.5}}))[0]
    )


def test_the_openclip_layout_of_the_vision_model_is_known(look):
    put(look, "clip_vision", "open_clip.safetensors", {"visual.class_embedding": (1280,),
        "visual.transformer.resblocks.0.attn.in_proj_weight": (3840, 1280)})  # fmt: skip
    assert not look({"clip": {"clip_name": "open_clip.safetensors"}}).findings


@pytest.mark.parametrize("name", ["vae.ckpt", "vae.PTH", "vae.pkl", "vae.bin"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_pickled_files_are_looked_into_as_the_host_does(look, name, wrapped):
    tensors = {key: torch.zeros(1).expand(shape) for key, shape in WAN_VAE.items()}
    torch.save({"state_dict": tensors} if wrapped else tensors, look.models / "vae" / name)
    report = look({"vae": {"vae_name": name}})
    assert not report.findings, report.text()


def test_an_output_folder_that_is_not_there_yet_is_measured(host, tmp_path, monkeypatch):
    import folder_paths

    from infinitetalk.host.machine import this_machine

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "new" / "deep" / "path"))
    assert this_machine(probe=False).disk_free > 0
