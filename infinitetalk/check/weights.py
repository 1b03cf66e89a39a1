"""The model files before a sampler: what each is, and whether they fit together. From headers; knows no host.

The loaders are ComfyUI's own, ours, and those of the GGUF pack; what other nodes load is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..model.adapter import AdapterShape
from ..model.keys import known_to_comfyui, plain_key
from ..model.kinds import ADAPTER, CLIP, LORA, MODEL, SPEECH, TEXT, VAE, WANTED, Kind, identify
from ..model.layouts import BaseShape, check_fit, holds_adapter, read_adapter, read_base
from ..model.lora import NAMES, lora_fit
from ..model.quantised import comfyui_reads, has_marks, plain_shapes
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
    "LoraLoaderBypass": {"lora_name": LORA},
    "LoraLoaderBypassModelOnly": {"lora_name": LORA},
    "VAELoader": {"vae_name": VAE},
    "CLIPLoader": {"clip_name": TEXT},
    "CLIPLoaderGGUF": {"clip_name": TEXT},
    "CLIPVisionLoader": {"clip_name": CLIP},
    "AudioEncoderLoader": {"audio_encoder_name": SPEECH},
}

COMES_IN = {  # a sampler's input -> what is looked for behind it; a scheduler's model is only asked for its shift
    "model": (MODEL, ADAPTER, LORA),
    "vae": (VAE,),
    "positive": (TEXT,),
    "negative": (TEXT,),
    "features": (SPEECH,),
    "reference": (VAE, CLIP),
    "table": (TEXT, VAE, CLIP),
    "redo": (TEXT, VAE, CLIP),
}
OURS = ("InfiniteTalk", "UnetLoaderGGUF", "CLIPLoaderGGUF")  # begins a loader that is not ComfyUI's own

SOCKET = "("  # begins a choice that is no file, such as "(from model_patch)"
ATTACH = ("InfiniteTalkLoadModel", "InfiniteTalkApplyAdapter")  # nothing else attaches an adapter as we read it


@dataclass(frozen=True)
class Opened:
    """A file and its header. shapes: key -> shape; dtypes: key -> dtype as the header names it; part: whether it is
    one of several files of a model; all of them are opened."""

    path: Path
    bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    part: bool = False


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
        ffn = plain.get("blocks.0.ffn.0.weight", (4 * self.base.dim,))[0]
        inside = {weight.name: weight.bytes for weight in (*files, *self.of(ADAPTER))}  # one file can be both
        return Model(self.base.dim, ffn, self.base.layers, sum(inside.values()))

    def fit(self, report: Report) -> None:
        """Find files that are no such thing, and those that do not fit together."""
        bases = [report.attempt(read_base, weight.shapes, weight.label) for weight in self.of(MODEL)]
        self.base = bases[0] if len(bases) == 1 else None  # of several, such as merged ones, nobody can tell
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
        width = plain.get("encoder.layer_norm.weight", (0,))[0]
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
        applied, left = lora_fit(weight.shapes, base[0].shapes)
        if not applied:
            # Of names that are not ComfyUI's own nobody can be sure: another node may have changed them.
            find = report.problem if all(name.startswith(NAMES) for name in left) else report.warn
            find(f"{weight.label}: none of the {len(left)} modules of this LoRA fits the model.", WANTED[LORA])
        elif left:
            report.warn(
                f"{weight.label}: {len(left)} of {len(applied) + len(left)} modules of this LoRA do not fit the "
                f"model and are left out, first {left[0]}.",
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
    for entry, roles in COMES_IN.items():
        for node in graph.upstream(sampler, entry):
            for widget, role in LOADERS.get(graph.kind(node), {}).items():
                name = graph.value(node, widget)
                if role in roles and _is_file(role, name) and (role, name) not in found:
                    weight = _read(graph, node, widget, role, open_weight, report)
                    if weight is not None:
                        found[role, name] = weight
            if TEXT in roles and graph.kind(node) in ("CLIPLoader", "CLIPLoaderGGUF"):
                _check_type(graph, node, report)
    weights = Weights(list(found.values()))
    if weights.of(MODEL) and not any(graph.kind(node) in ATTACH for node in graph.upstream(sampler, "model")):
        report.problem(
            f"{graph.titled(sampler)}, model: no InfiniteTalk adapter is attached to it.",
            "Put Apply InfiniteTalk Adapter between the model's loader and the sampler.",
        )
    return weights


def _is_file(role: str, name: object) -> bool:
    if not isinstance(name, str) or name.startswith(SOCKET):
        return False
    return role != VAE or bool(Path(name).suffix)  # without: put together from files of its own, such as taew2_1


def _read(
    graph: Graph, node: str, widget: str, role: str, open_weight: Open, report: Report
) -> Weight | None:  # fmt: skip
    name, label = graph.value(node, widget), f"{graph.titled(node)}, {widget}"
    opened = report.attempt(open_weight, role, name, label)
    if opened is None:
        return None
    kind = identify(opened.shapes, opened.dtypes)
    told = graph.value(node, "trained_for", BY_NAME)
    trained_for = told if told in TRAINED_FOR else BY_NAME
    report.tell("Files", f"{role.replace('_', ' ')}: {name}: {kind}, {size_text(opened.bytes)}")
    if kind.role == role and not graph.kind(node).startswith(OURS):
        _check_reader(opened, role, label, report)
    return Weight(role, name, label, opened.bytes, kind, opened.shapes, trained_for)


def _check_reader(opened: Opened, role: str, label: str, report: Report) -> None:
    """Find files that are right, and that ComfyUI's own loader misreads or does not read."""
    ours = {MODEL: "Load InfiniteTalk Model", ADAPTER: "Apply InfiniteTalk Adapter"}.get(role)
    wrong = None
    if opened.part:
        wrong = "this loader reads one of the model's several files and not the others"
    elif role == MODEL and not comfyui_reads(opened.shapes, opened.dtypes, opened.metadata):
        wrong = "this loader takes these 8-bit weights for plain numbers, without their scales"
    elif role == MODEL and not all(map(known_to_comfyui, opened.shapes)):
        wrong = "this loader does not know the names of its tensors"
    elif role == ADAPTER and has_marks(opened.shapes):
        wrong = "this loader does not read 8-bit weights"
    if wrong:
        remedy = f"Choose the file in {ours}." if ours else WANTED[role]
        report.problem(f"{label}: {opened.path.name}: {wrong}.", remedy)


def _check_type(graph: Graph, node: str, report: Report) -> None:
    kind = graph.value(node, "type", "wan")
    if kind not in ("wan", UNKNOWN):
        report.problem(
            f"{graph.titled(node)}: type {kind!r} makes other text embeddings than Wan's.", "Set its type to wan."
        )
