"""The model files before a sampler: what each is, and whether they fit together. From headers; knows no host.

The loaders are ComfyUI's own, ours, and those of the GGUF pack; what other nodes load is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..model.adapter import AdapterShape
from ..model.kinds import ADAPTER, CLIP, LORA, MODEL, SPEECH, TEXT, VAE, WANTED, Kind, identify, plain_key
from ..model.layouts import BaseShape, check_fit, holds_adapter, read_adapter, read_base
from ..model.lora import NAMES, lora_fit
from ..model.quantised import plain_shapes
from ..model.trained_for import BY_NAME, TRAINED_FOR, note_of, warning
from .cost import VAE_WIDTH, Model
from .graph import UNKNOWN, Graph
from .report import Report, size_text

LOADERS: dict[str, dict[str, str]] = {  # class -> widget -> role
    "InfiniteTalkLoadModel": {"model": MODEL, "adapter": ADAPTER},
    "InfiniteTalkApplyAdapter": {"adapter": ADAPTER},
    "InfiniteTalkLoadAudioEncoder": {"audio_encoder": SPEECH},
    "UNETLoader": {"unet_name": MODEL},
    "UnetLoaderGGUF": {"unet_name": MODEL},
    "UnetLoaderGGUFAdvanced": {"unet_name": MODEL},
    "ModelPatchLoader": {"name": ADAPTER},
    "LoraLoaderModelOnly": {"lora_name": LORA},
    "LoraLoader": {"lora_name": LORA},
    "VAELoader": {"vae_name": VAE},
    "CLIPLoader": {"clip_name": TEXT},
    "CLIPLoaderGGUF": {"clip_name": TEXT},
    "CLIPVisionLoader": {"clip_name": CLIP},
    "AudioEncoderLoader": {"audio_encoder_name": SPEECH},
}

SOCKET = "("  # begins a choice that is no file, such as "(from model_patch)"
ATTACH = ("InfiniteTalkLoadModel", "InfiniteTalkApplyAdapter")  # nothing else attaches an adapter as we read it


@dataclass(frozen=True)
class Opened:
    """A file and its header. shapes: key -> shape; dtypes: key -> dtype as the header names it."""

    path: Path
    bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]


Open = Callable[[str, str, str], Opened]  # role, name, label -> the file; raises InputError


@dataclass(frozen=True)
class Weight:
    """A file that a loader names. label: of the loader, for messages; trained_for: what it was told of an adapter."""

    role: str
    name: str
    label: str
    bytes: int
    kind: Kind
    shapes: Mapping[str, tuple[int, ...]]
    trained_for: str = BY_NAME


@dataclass
class Weights:
    """files: those before a sampler, each once; base, adapter: sizes of the model that is sampled."""

    files: list[Weight]
    base: BaseShape | None = None
    adapter: AdapterShape | None = None

    def of(self, role: str) -> list[Weight]:
        return [weight for weight in self.files if weight.role == role]

    @property
    def vae_width(self) -> int:
        """Channels of the VAE's last stage."""
        heads = (weight.shapes.get("decoder.head.0.gamma") for weight in self.of(VAE))
        return next((shape[0] for shape in heads if shape), VAE_WIDTH)

    def model(self) -> Model | None:
        """What a model call costs, None when no file tells."""
        files = self.of(MODEL)
        if self.base is None or len(files) != 1:
            return None
        plain = plain_shapes({plain_key(key): shape for key, shape in files[0].shapes.items()})
        ffn = (plain.get("blocks.0.ffn.0.weight") or (4 * self.base.dim,))[0]
        inside = {weight.name: weight.bytes for weight in (*files, *self.of(ADAPTER))}  # one file can be both
        return Model(self.base.dim, ffn, self.base.layers, sum(inside.values()))

    def fit(self, report: Report) -> None:
        """Find files that are no such thing, and those that do not fit together."""
        for weight in self.of(MODEL):
            self.base = report.attempt(read_base, weight.shapes, weight.label)
        for weight in self.of(ADAPTER):
            self.adapter = report.attempt(read_adapter, weight.shapes, weight.label)
            if self.adapter and self.base:
                report.attempt(check_fit, self.adapter, self.base, weight.label)
        if not self.of(ADAPTER):  # inside the model, if anywhere; a patch of another node is not seen
            inside = [weight for weight in self.of(MODEL) if holds_adapter(weight.shapes)]
            self.adapter = report.attempt(read_adapter, inside[0].shapes, inside[0].label) if inside else None
        for weight in self.files:
            if weight.role not in (MODEL, ADAPTER) and weight.kind.role != weight.role:
                # What is not known may be a file that the host reads all the same: no reason to stop a run.
                find = report.problem if weight.kind.known else report.warn
                find(f"{weight.label}: this file is {weight.kind.name}.", WANTED[weight.role])
            elif weight.role == SPEECH:
                self._fit_speech(weight, report)
            elif weight.role == LORA:
                self._fit_lora(weight, report)

    def check_speakers(self, voices: int, report: Report) -> None:
        """Warn of an adapter that was trained with one voice, by the user's choice or its name."""
        for weight in self.of(ADAPTER):
            told = warning(note_of(weight.name, weight.trained_for), voices)
            if told:
                report.warn(f"{weight.label}: {told}", "The multi ones are in the README's table of model files.")

    def _fit_speech(self, weight: Weight, report: Report) -> None:
        plain = {key.removeprefix("wav2vec2."): shape for key, shape in weight.shapes.items()}
        layers = {key.split(".")[2] for key in plain if key.startswith("encoder.layers.")}
        width = (plain.get("encoder.layer_norm.weight") or (0,))[0]
        if self.adapter and layers and len(layers) * width != self.adapter.features:
            report.problem(
                f"{weight.label}: this wav2vec2 has {len(layers)} layers of width {width}, the adapter hears "
                f"{self.adapter.features} numbers a frame.",
                WANTED[SPEECH],
            )

    def _fit_lora(self, weight: Weight, report: Report) -> None:
        base = self.of(MODEL)
        if not (self.base and len(base) == 1):
            return
        applied, left, unread = lora_fit(weight.shapes, base[0].shapes)
        out = [*left, *unread]
        strange = "".join(f" ComfyUI does not know names such as {key}." for key in list(unread.values())[:1])
        if not applied:
            # Of names that are not ComfyUI's own nobody can be sure: another node may have changed them.
            find = report.problem if not unread and all(name.startswith(NAMES) for name in left) else report.warn
            find(f"{weight.label}: none of the {len(out)} modules of this LoRA fits the model.{strange}", WANTED[LORA])
        elif out:
            report.warn(
                f"{weight.label}: {len(out)} of {len(applied) + len(out)} modules of this LoRA do not fit the "
                f"model and are left out, first {out[0]}.{strange}",
                "Use the LoRA that was made for this model, or none.",
            )
        if any("lora" in file.name.lower() for file in base):
            report.warn(
                f"{weight.label}: by its name {base[0].name} has a LoRA merged in, and another one is loaded.",
                "Leave the LoRA loader out.",
            )


def read_weights(graph: Graph, sampler: str, open_weight: Open, report: Report) -> Weights:
    """The files of all loaders before a sampler; finds those that are absent or cannot be read, and tells the rest."""
    found: dict[tuple[str, str], Weight] = {}
    for node in graph.upstream(sampler):
        for widget, role in LOADERS.get(graph.kind(node), {}).items():
            name = graph.value(node, widget)
            if not isinstance(name, str) or name.startswith(SOCKET) or (role, name) in found:
                continue
            if role == VAE and not Path(name).suffix:
                continue  # one that ComfyUI puts together from files of its own, such as taew2_1
            label = f"{graph.titled(node)}, {widget}"
            opened = report.attempt(open_weight, role, name, label)
            if opened is not None:
                kind = identify(opened.shapes, opened.dtypes)
                told = graph.value(node, "trained_for", BY_NAME)
                trained_for = told if told in TRAINED_FOR else BY_NAME
                found[role, name] = Weight(role, name, label, opened.bytes, kind, opened.shapes, trained_for)
                report.tell("Files", f"{role.replace('_', ' ')}: {name}: {kind}, {size_text(opened.bytes)}")
        if graph.kind(node) == "CLIPLoader" and graph.value(node, "type", "wan") not in ("wan", UNKNOWN):
            report.problem(
                f"{graph.titled(node)}: type {graph.value(node, 'type')!r} makes other text embeddings than Wan's.",
                "Set its type to wan.",
            )
    weights = Weights(list(found.values()))
    if weights.of(MODEL) and not any(graph.kind(node) in ATTACH for node in graph.upstream(sampler)):
        report.problem(
            f"{graph.titled(sampler)}, model: no InfiniteTalk adapter is attached to it.",
            "Put Apply InfiniteTalk Adapter between the model's loader and the sampler.",
        )
    return weights
