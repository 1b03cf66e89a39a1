"""The check before anything loads: files of the published sizes and layouts, and every way in which users mix them up.

Files have full headers and no numbers; names, folders and headers are read by the host's own lists.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from infinitetalk.check.report import Report
from tests.host.full_files import (
    CLIP_H,
    WAN22_VAE,
    WAN_VAE,
    infinitetalk_shapes,
    quanto,
    scaled,
    wan_shapes,
    wav2vec_shapes,
)
from tests.host.looks import only_problem, put

pytestmark = pytest.mark.usefixtures("host")


def test_the_published_files_fit(look):
    report = look()
    assert not report.findings, report.text()
    files = report.sections["Files"]
    assert "model: base.safetensors: Wan2.1 I2V, scaled fp8, 16.4 GB" in files
    assert "adapter: adapter.safetensors: an InfiniteTalk adapter, fp16, 5.0 GB" in files
    assert len(files) == 6
    assert report.sections["Plan"][1] == "40 steps, up to 3 branches: 120 model calls a window, 480 in all"
    told = " ".join(report.sections["Cost"])
    assert "disk:" in told and "RAM:" in told and "time: about" in told


STORED = {"fp16": "F16", "fp32": "F32", "fp8": "F8_E4M3", "quanto": "I8"}


@pytest.mark.parametrize(
    "base, adapter",
    [("fp8", "fp16"), ("fp16", "fp8"), ("fp16", "fp32"), ("quanto", "quanto"), ("gguf", "fp8"), ("fp8", "gguf")],
)
def test_any_adapter_goes_with_any_base(look, base, adapter):
    """Elsewhere a GGUF adapter wants a GGUF model, and an fp8 one wants none."""
    names = {}
    for role, kind, folder, shapes in (
        ("model", base, "diffusion_models", wan_shapes()),
        ("adapter", adapter, "model_patches", infinitetalk_shapes()),
    ):
        names[role] = f"{role}.{'gguf' if kind == 'gguf' else 'safetensors'}"
        if kind == "gguf":
            gguf_header(look.models / folder / names[role], shapes)
        else:
            stored = {"fp8": scaled, "quanto": quanto}.get(kind, dict)(shapes)
            put(look, folder, names[role], stored, STORED[kind], "F32")
    loader = ("UnetLoaderGGUF", {"unet_name": names["model"]})
    attach = ("InfiniteTalkApplyAdapter", {"model": ["base", 0], "adapter": names["adapter"]})
    report = look(model=attach, base=loader)
    assert not report.problems, report.text()


def gguf_header(path: Path, shapes: dict) -> None:
    """A GGUF file in 8 bits whose numbers are a hole in the file; the package writes its header."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, "wan")
    for key, shape in shapes.items():
        kind = GGMLQuantizationType.Q8_0 if len(shape) == 2 else GGMLQuantizationType.F32
        block, size = GGML_QUANT_SIZES[kind]
        count = math.prod(shape) * size // block
        stored = (*shape[:-1], shape[-1] * size // block) if len(shape) == 2 else shape
        dtype = np.dtype("uint8" if len(shape) == 2 else "float32")
        writer.add_tensor_info(key, stored, dtype, count, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.truncate(file.seek(0, 2) + 20 * 10**9)


WRONG = [  # folder, loader's node, its widget, a file's shapes, what it is called, what is wanted
    ("vae", "vae", "vae_name", WAN22_VAE, "a Wan2.2 VAE", "Wan 2.1 VAE"),
    ("vae", "vae", "vae_name", CLIP_H, "a CLIP ViT-H vision model", "Wan 2.1 VAE"),
    ("clip_vision", "clip", "clip_name", {"vision_model.post_layernorm.weight": (1152,),
     "vision_model.encoder.layers.0.mlp.fc1.weight": (4304, 1152)}, "SigLIP", "clip_vision_h"),
    ("text_encoders", "text", "clip_name", {"shared.weight": (32128, 4096),
     "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}, "a T5-XXL", "umt5_xxl"),
    ("text_encoders", "text", "clip_name", quanto({"token_embedding.weight": (256384, 4096),
     "blocks.0.attn.q.weight": (4096, 4096)}), "the reference's UMT5-XXL in its own layout", "umt5_xxl"),
    ("audio_encoders", "encoder", "audio_encoder", {"model.encoder.conv1.weight": (1280, 128, 3)}, "a Whisper",
     "wav2vec2-chinese-base"),
    ("audio_encoders", "encoder", "audio_encoder", wav2vec_shapes(24, 1024), "24 layers of width 1024",
     "wav2vec2-chinese-base"),
    ("diffusion_models", "model", "model", wan_shapes(in_dim=16, clip=False), "a text-to-video model", "Wan2.1 I2V"),
    ("diffusion_models", "model", "model", wan_shapes(in_dim=48, out_dim=48, clip=False), "the Wan2.2 5B model",
     "Wan2.1 I2V"),
    ("diffusion_models", "model", "model", wan_shapes(clip=False), "Wan2.2 I2V", "Wan2.1 I2V"),
    ("diffusion_models", "model", "model", infinitetalk_shapes(), "an InfiniteTalk adapter", "Wan2.1 I2V"),
    ("model_patches", "model", "adapter", {**wan_shapes(), "audio_proj.audio_proj_glob_1.layer.weight": (512, 512)},
     "a HuMo model", "InfiniteTalk adapter"),
    ("model_patches", "model", "adapter", {"blocks.0.audio_cross_attn.q_norm.weight": (128,)},
     "a LongCat-Avatar model", "InfiniteTalk adapter"),
    ("model_patches", "model", "adapter", {"diffusion_model.blocks.0.self_attn.q.lora_down.weight": (64, 5120)},
     "a LoRA", "InfiniteTalk adapter"),
]  # fmt: skip


@pytest.mark.parametrize("row", WRONG, ids=[row[4] for row in WRONG])
def test_a_file_that_is_something_else_is_named(look, row):
    folder, node, widget, shapes, called, wanted = row
    put(look, folder, "other.safetensors", shapes)
    report = look({node: {widget: "other.safetensors"}})
    what, remedy = only_problem(report)
    assert called in what and widget in what and wanted in remedy


def test_an_adapter_of_another_width_is_found(look):
    shapes = {
        key: tuple(1536 if side == 5120 else side for side in shape) for key, shape in infinitetalk_shapes().items()
    }
    put(look, "model_patches", "small.safetensors", shapes)
    assert (
        "width 1536 and 40 blocks, the model has width 5120"
        in only_problem(look({"model": {"adapter": "small.safetensors"}}))[0]
    )


def test_a_quanto_model_needs_no_map_and_brings_its_adapter(look):
    """Elsewhere: quantization map json missing."""
    put(look, "diffusion_models", "infinitetalk_single_int8.safetensors",
        quanto({**wan_shapes(), **infinitetalk_shapes()}), "I8", "F32")  # fmt: skip
    both = {"model": "infinitetalk_single_int8.safetensors", "adapter": "infinitetalk_single_int8.safetensors"}
    report = look({"model": both})
    assert not report.findings, report.text()
    (line,) = (line for line in report.sections["Files"] if line.startswith("model:"))
    assert "Wan I2V with an InfiniteTalk adapter inside, quanto int8" in line


def test_an_adapter_inside_the_model_is_looked_at(look):
    put(look, "diffusion_models", "merged.safetensors", {**wan_shapes(), **infinitetalk_shapes()})
    put(look, "audio_encoders", "large.safetensors", wav2vec_shapes(24, 1024))
    inside = {"model": {"model": "merged.safetensors", "adapter": "(inside the model)"}}
    assert not look(inside).findings
    wrong = look({**inside, "encoder": {"audio_encoder": "large.safetensors"}})
    assert "24 layers of width 1024" in only_problem(wrong)[0]


def test_an_unknown_file_is_told_and_stops_nothing(look):
    """It may be one that the host reads all the same."""
    put(look, "text_encoders", "umt5_q8.safetensors", {"layer_of_tomorrow.weight": (256384, 4096)})
    (finding,) = look({"text": {"clip_name": "umt5_q8.safetensors"}}).findings
    assert finding.level == "warning" and "an unknown file of 1 tensors" in finding.what


def test_a_vae_that_comfyui_puts_together_is_no_file(look):
    assert not look({"vae": {"vae_name": "taew2_1"}}).findings


def lora(width: int, modules: list[str], prefix: str = "diffusion_model.") -> dict:
    down, up = {f"{prefix}{m}.lora_down.weight": (32, width) for m in modules}, {}
    up = {f"{prefix}{m}.lora_up.weight": (width, 32) for m in modules}
    return down | up


MODULES = [f"blocks.{n}.self_attn.{part}" for n in range(40) for part in ("q", "k", "v", "o")]
LORA = ("LoraLoaderModelOnly", {"model": ["model", 0], "lora_name": "lora.safetensors", "strength_model": 1.0})


def with_lora(look, shapes: dict, changes: dict | None = None) -> Report:
    put(look, "loras", "lora.safetensors", shapes)
    return look({**(changes or {}), "sampler": {"model": ["lora", 0]}}, lora=LORA)


def test_a_lora_that_fits_is_no_finding(look):
    assert not with_lora(look, lora(5120, MODULES)).findings


@pytest.mark.parametrize("shapes", [lora(1536, MODULES), lora(5120, ["blocks.77.ffn.0"]), lora(5120, MODULES, "")])
def test_a_lora_that_would_be_ignored_is_told(look, shapes):
    """Elsewhere it is silently dropped: one of another model, of other blocks, of unknown names."""
    (finding,) = with_lora(look, shapes).findings
    assert finding.level == "warning" and "modules of this LoRA fits the model" in finding.what


def test_a_lora_that_is_left_out_in_part_is_told(look):
    (finding,) = with_lora(look, lora(5120, [*MODULES, "blocks.0.mystery"])).findings
    assert "1 of 161 modules of this LoRA do not fit the model and are left out" in finding.what
    assert "diffusion_model.blocks.0.mystery" in finding.what


def test_a_lora_on_a_model_that_has_one_merged_in_is_told(look):
    put(look, "diffusion_models", "infinitetalk_single_int8_lora.safetensors",
        quanto({**wan_shapes(), **infinitetalk_shapes()}), "I8", "F32")  # fmt: skip
    report = with_lora(look, lora(5120, MODULES), {"model": {"model": "infinitetalk_single_int8_lora.safetensors"}})
    assert any("has a LoRA merged in, and another one is loaded" in finding.what for finding in report.findings)


def test_few_steps_want_a_distillation_lora(look):
    (finding,) = look({"schedule": {"steps": 4}}).findings
    assert "4 without a distillation LoRA" in finding.what
    put(look, "loras", "lightx2v_rank64.safetensors", lora(5120, MODULES))
    loader = (LORA[0], {**LORA[1], "lora_name": "lightx2v_rank64.safetensors"})
    report = look({"sampler": {"model": ["lora", 0]}}, lora=loader)
    assert "40 steps at text scale 5 with lightx2v_rank64.safetensors" in report.findings[0].what
    fitting = {"schedule": {"steps": 4}, "guidance": {"text_scale": 1.0, "audio_scale": 2.0}}
    assert not look({**fitting, "sampler": {"model": ["lora", 0]}}, lora=loader).findings


def test_a_single_adapter_with_two_voices_is_told(look):
    put(look, "model_patches", "InfiniteTalk-Single_fp16.safetensors", infinitetalk_shapes())
    talks = {"features": ["features", 0]}
    people = {f"person{n}": ("InfiniteTalkSpeaker", talks) for n in range(2)}
    both = {"reference": ["reference", 0], **{f"speakers.speaker{n}": [f"person{n}", 0] for n in range(2)}}
    report = look(
        {"sampler": {"features": ["speakers", 0]}, "model": {"adapter": "InfiniteTalk-Single_fp16.safetensors"}},
        **people,
        speakers=("InfiniteTalkSpeakers", both),
    )
    assert (
        "2 voices, but the adapter InfiniteTalk-Single_fp16.safetensors is for one by its name"
        in report.findings[0].what
    )
    assert not report.problems


BROKEN = {
    "a page": b"<!DOCTYPE html><html>404</html>",
    "nothing": b"",
    "half a header": (10_000).to_bytes(8, "little") + b'{"a":',
    "half a GGUF": b"GGUF\x03\x00\x00\x00",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("name", ["broken.safetensors", "broken.gguf"])
def test_unreadable_files_are_found(look, name, content):
    """Elsewhere: GGUF magic invalid, in the middle of a run."""
    (look.models / "model_patches" / name).write_bytes(content)
    what, remedy = only_problem(look({"model": {"adapter": name}}))
    assert "broken" in what and "fetch it again" in remedy


def test_a_missing_file_is_found(look):
    assert "gone.safetensors" in only_problem(look({"vae": {"vae_name": "gone.safetensors"}}))[0]


def test_a_wav2vec_folder_is_read_and_an_empty_one_is_found(look):
    """The published folder has a pickle only, which other loaders refuse or run; a broken download leaves it empty."""
    folder = look.models / "audio_encoders" / "chinese-wav2vec2-base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    chosen = {"encoder": {"audio_encoder": "chinese-wav2vec2-base"}}
    assert "neither model.safetensors nor pytorch_model.bin" in only_problem(look(chosen))[0]
    tensors = {key: torch.zeros(1).expand(shape) for key, shape in wav2vec_shapes().items()}
    for zipped in (True, False):
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        report = look(chosen)
        assert not report.findings, report.text()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_vae_is_read_in_both_of_pytorch_s_formats(look, zipped):
    """Wan's own VAE is a pickle; ComfyUI reads both formats."""
    path = look.models / "vae" / "Wan2.1_VAE.pth"
    tensors = {key: torch.zeros(1).expand(shape) for key, shape in WAN_VAE.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    chosen = {"vae": {"vae_name": path.name}}
    assert not look(chosen).findings
    path.write_bytes(path.read_bytes()[:-9])
    assert "cannot be read as model weights" in only_problem(look(chosen))[0]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("held", [[torch.zeros(2)], torch.zeros(2)], ids=["a list", "a tensor"])
def test_a_pickle_of_something_else_is_found(look, zipped, held):
    torch.save(held, look.models / "vae" / "odd.pth", _use_new_zipfile_serialization=zipped)
    assert "not named tensors" in only_problem(look({"vae": {"vae_name": "odd.pth"}}))[0]


@pytest.mark.parametrize(
    "content", [b"\x80\x02.", b"\x80\x02}q\x00.", b"\x80\x02h\x05.", b"\x80\x02Rq", b"PK\x03\x04 no zip"]
)
def test_a_pickle_of_nonsense_is_found(look, content):
    (look.models / "vae" / "odd.pth").write_bytes(content)
    assert "odd.pth cannot be read as model weights" in only_problem(look({"vae": {"vae_name": "odd.pth"}}))[0]


class Payload:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["evil.pth", "evil.safetensors"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(look, tmp_path, name, zipped):
    evil = {"conv2.weight": Payload(tmp_path / "ran")}
    torch.save(evil, look.models / "vae" / name, _use_new_zipfile_serialization=zipped)
    what, _ = only_problem(look({"vae": {"vae_name": name}}))
    assert name in what and not (tmp_path / "ran").exists()


def test_a_text_encoder_of_another_type_is_found(look):
    what, remedy = only_problem(look({"text": {"type": "flux"}}))
    assert "type 'flux'" in what and "wan" in remedy


def test_a_model_without_an_adapter_is_found(look):
    report = look(model=("UNETLoader", {"unet_name": "base.safetensors", "weight_dtype": "default"}))
    assert "no InfiniteTalk adapter is attached" in only_problem(report)[0]
