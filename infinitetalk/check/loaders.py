"""The model files that a sampler's inputs come from: which nodes load them, and what their headers say.

The loaders are ComfyUI's own, ours, and those of the GGUF pack; what other nodes load is not seen. Knows no host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..model.keys import known_to_comfyui
from ..model.kinds import ADAPTER, CLIP, LORA, MODEL, SPEECH, TEXT, VAE, WANTED, Kind, identify
from ..model.layouts import FROM_SOCKET, INSIDE, no_patch, read_inside
from ..model.quantised import comfyui_reads, has_marks
from ..model.trained_for import BY_NAME, TRAINED_FOR
from ..sizes import size_text
from .graph import UNKNOWN, Graph
from .report import Report
from .weights import Weight, Weights

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
# Nodes that hand on what they take, or a patched copy of it: what is behind others may be left unused or changed.
HAND_ON = {
    *LOADERS, "ModelSamplingSD3", "ModelSamplingAuraFlow", "TorchCompileModel", "EasyCache", "LazyCache", "CFGZeroStar",
    "RescaleCFG", "SkipLayerGuidanceDiT", "CLIPTextEncode", "CLIPVisionEncode", "ConditioningZeroOut",
    "ConditioningCombine", "ConditioningConcat", "ConditioningAverage",
}  # fmt: skip
UNUSED = ("negative", "table", "redo")  # inputs whose nodes may be asked for nothing
OURS = ("InfiniteTalk", "UnetLoaderGGUF", "CLIPLoaderGGUF")  # begins a loader that is not ComfyUI's own

PATCH_BLOCKS = 40  # that ComfyUI's patch loader makes room for, whatever the file has
NO_FILE = "("  # begins a choice that is no file
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


def read_weights(graph: Graph, sampler: str, open_weight: Open, report: Report) -> Weights:
    """The files of all loaders before a sampler; finds those that are absent or cannot be read, and tells the rest."""
    found: dict[tuple[str, str], Weight] = {}
    for node, roles, doubtful in _before(graph, sampler):
        heard = report.unless(doubtful)
        for widget, role in LOADERS.get(graph.kind(node), {}).items():
            name = graph.value(node, widget)
            if role in roles and _is_file(graph, node, role, name) and (role, name) not in found:
                weight = _read(graph, node, widget, role, open_weight, heard)
                if weight is not None:
                    found[role, name] = replace(weight, doubtful=doubtful)
        if TEXT in roles and graph.kind(node) in ("CLIPLoader", "CLIPLoaderGGUF"):
            _check_type(graph, node, heard)
    weights = Weights(list(found.values()))
    nodes = graph.upstream(sampler, "model", through=lambda node, name: _used(graph, node, name))
    for node in nodes:
        _check_choice(graph, node, weights, report)
    if weights.of(MODEL) and not any(graph.kind(node) in ATTACH for node in nodes):
        report.unless(not all(map(_hands_on, map(graph.kind, nodes)))).problem(
            f"{graph.titled(sampler)}, model: no InfiniteTalk adapter is attached to it.",
            "Put Apply InfiniteTalk Adapter between the model's loader and the sampler.",
        )
    return weights


def _before(graph: Graph, sampler: str) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """(node, roles that are looked for in it, whether it may be left unused): those that are sure to be used first."""

    def used(node: str, name: str) -> bool:
        return _used(graph, node, name)

    def surely(node: str, name: str) -> bool:
        return _hands_on(graph.kind(node)) and used(node, name)

    for doubtful in (False, True):
        for entry, roles in COMES_IN.items():
            known = () if entry in UNUSED else graph.upstream(sampler, entry, through=surely)
            every = graph.upstream(sampler, entry, through=used) if doubtful else known
            yield from ((node, roles, doubtful) for node in every if not doubtful or node not in known)


def _used(graph: Graph, node: str, name: str) -> bool:
    """Whether a node of ours looks at an input, where another one can take its place."""
    if name == "clip_vision":
        return graph.link(node, "clip_vision_output") is None
    if name == "model_patch" and graph.kind(node) == "InfiniteTalkApplyAdapter":
        return graph.value(node, "adapter", "") == FROM_SOCKET
    return True


def _hands_on(kind: str) -> bool:
    return kind in HAND_ON or kind.startswith("InfiniteTalk")


def _is_file(graph: Graph, node: str, role: str, name: object) -> bool:
    if not isinstance(name, str) or not name or name.startswith(NO_FILE):
        return False
    if role == LORA and graph.value(node, "strength_model", 1.0) == 0:
        return False  # ComfyUI does not open it
    return role != VAE or bool(Path(name).suffix)  # without: put together from files of its own, such as taew2_1


def _read(graph: Graph, node: str, widget: str, role: str, open_weight: Open, report: Report) -> Weight | None:  # noqa: PLR0913
    name, label = graph.value(node, widget), f"{graph.titled(node)}, {widget}"
    opened = report.attempt(open_weight, role, name, label)
    if opened is None:
        return None
    kind = identify(opened.shapes, opened.dtypes)
    told = graph.value(node, "trained_for", BY_NAME)
    trained_for = told if told in TRAINED_FOR else BY_NAME
    report.tell("Files", f"{role.replace('_', ' ')}: {name}: {kind}, {size_text(opened.bytes)}")
    if kind.role == role and not graph.kind(node).startswith(OURS):
        _check_reader(opened, kind, label, report)
    return Weight(role, name, label, opened.bytes, kind, opened.shapes, trained_for=trained_for)


def _check_reader(opened: Opened, kind: Kind, label: str, report: Report) -> None:
    """Find files that are right, and that ComfyUI's own loader misreads or does not read."""
    ours = {MODEL: "Load InfiniteTalk Model", ADAPTER: "Apply InfiniteTalk Adapter"}.get(kind.role)
    wrong = None
    if opened.part:
        wrong = "this loader reads one of the model's several files and not the others"
    elif kind.role == MODEL and not comfyui_reads(opened.shapes, opened.dtypes, opened.metadata):
        wrong = "this loader takes these 8-bit weights for plain numbers, without their scales"
    elif kind.role == MODEL and not all(map(known_to_comfyui, opened.shapes)):
        wrong = "this loader does not know the names of its tensors"
    elif kind.role == ADAPTER and has_marks(opened.shapes):
        wrong = "this loader does not read 8-bit weights"
    elif kind.role == ADAPTER and kind.layers != PATCH_BLOCKS:
        wrong = f"this loader reads adapters of {PATCH_BLOCKS} blocks, this one has {kind.layers}"
    if wrong:
        remedy = f"Choose the file in {ours}." if ours else WANTED[kind.role]
        report.problem(f"{label}: {opened.path.name}: {wrong}.", remedy)


def _check_choice(graph: Graph, node: str, weights: Weights, report: Report) -> None:
    """Find a choice in place of an adapter's file behind which there is none."""
    choice, models = graph.value(node, "adapter", ""), weights.of(MODEL)
    if graph.kind(node) == "InfiniteTalkLoadModel" and choice == INSIDE and len(models) == 1:
        report.at(graph.titled(node)).attempt(read_inside, models[0].shapes, models[0].name)
    if graph.kind(node) == "InfiniteTalkApplyAdapter" and choice == FROM_SOCKET:
        if graph.link(node, "model_patch") is None:
            error = no_patch()
            report.at(graph.titled(node)).problem(error.problem, error.remedy)


def _check_type(graph: Graph, node: str, report: Report) -> None:
    kind = graph.value(node, "type", "wan")
    if kind not in ("wan", UNKNOWN):
        report.problem(
            f"{graph.titled(node)}: type {kind!r} makes other text embeddings than Wan's.", "Set its type to wan."
        )
