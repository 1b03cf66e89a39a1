"""What determines a run's pictures, as one digest: the inputs' content, the settings, and the graph that made the rest.

Models, VAE and encoders cannot be compared by content in reasonable time; they are known by the nodes that made
them, their widgets, and the files that those name. Knows nothing of folders of runs.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from typing import Any

import av
import comfy.model_management
import comfyui_version
import folder_paths
import torch

from ..config import StreamConfig
from ..digests import digest, sampled_digest
from ..takes import Overrides
from ..voice_activity import VERSION as GATE_VERSION
from .denoise import Inputs

GRAPH_INPUTS = ("model", "vae", "positive", "negative", "reference", "sampler", "sigmas")  # what content cannot tell


def run_identity(inputs: Inputs, config: StreamConfig, table: tuple, start: Any, graph: str) -> str:
    """sha256 hex of a run's inputs. table, start: as the sampler's; graph: of `graph_digest`, or ""."""
    gate = GATE_VERSION if config.silence_gate else None
    curve = _named_file(config.cache.curve) if config.cache is not None and config.cache.kind == "magcache" else None
    features = inputs.features
    heard = [voice.identity for voice in features.voices], features.regions, features.sound.digest
    texts = digest(inputs.positive), digest(inputs.negative)
    rows = [(row.start, row.end, overrides_digest(row.overrides)) for row in table]
    sampler = getattr(inputs.sampler, "sampler_function", None)
    sampled = getattr(sampler, "__qualname__", ""), getattr(inputs.sampler, "extra_options", {}), inputs.sigmas
    model = _file_of(inputs.model)
    shown = _shown(inputs.reference)
    return digest(config, gate, curve, heard, texts, rows, start, sampled, model, shown, graph)


def overrides_digest(overrides: Overrides) -> str:
    """sha256 hex of what is changed in a window."""
    reference = None if overrides.reference is None else _shown(overrides.reference)
    scales = overrides.text_scale, overrides.audio_scale
    return digest(overrides.seed, overrides.positive, reference, overrides.guidance, scales, overrides.graph)


def node_graph(hidden: Any, names: Sequence[str]) -> str:
    """`graph_digest` of the node whose hidden inputs, unique_id and dynprompt, are given; "" outside a prompt."""
    return graph_digest(hidden.dynprompt, hidden.unique_id, names) if hidden and hidden.dynprompt else ""


def graph_digest(nodes: Any, node_id: str, names: Sequence[str]) -> str:
    """sha256 hex of what is linked to a node's inputs `names`: kinds of nodes, widgets, contents of named files.

    nodes: the host's DynamicPrompt. names: of growing inputs the part before the dot. How nodes are numbered,
    placed and titled does not count.
    """
    known: dict[str, str] = {}

    def of(identifier: str) -> str:
        if identifier not in known:
            node = nodes.get_node(identifier)
            known[identifier] = digest(node["class_type"], {key: told(value) for key, value in node["inputs"].items()})
        return known[identifier]

    def told(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and nodes.has_node(value[0]):
            return of(value[0]), value[1]
        return (_named_file(value) or value) if isinstance(value, str) else value

    given = nodes.get_node(node_id)["inputs"]
    return digest({name: told(value) for name, value in given.items() if name.split(".")[0] in names})


def environment() -> dict[str, str]:
    """The versions and the device that a run is made with; the same ones give the same bits."""
    device = comfy.model_management.get_torch_device()
    return {
        "comfyui": comfyui_version.__version__,
        "torch": torch.__version__,
        "av": av.__version__,
        "python": platform.python_version(),
        "device": comfy.model_management.get_torch_device_name(device),
    }


def _shown(reference: Any) -> str:
    """What a reference shows; its latents and CLIP features follow from that and from the graph."""
    frames = None if reference.still else reference.frames
    return digest(reference.picture, frames, reference.source)


def _file_of(model: Any) -> str | None:
    """The file of a model that the host's own loader read."""
    _, arguments = (getattr(model, "cached_patcher_init", None) or (None, ()))[:2]
    path = arguments[0] if arguments and isinstance(arguments[0], str) else None
    return sampled_digest(path) if path and os.path.isfile(path) else None


def _named_file(text: str) -> str | None:
    """The digest of the file that a widget names, or None when it names none."""
    if not text or "\n" in text or len(text) > 4096:
        return None
    places = [text] if os.path.isabs(text) else []
    if not places and os.path.splitext(text)[1]:
        kinds = folder_paths.folder_names_and_paths
        places = [os.path.join(root, text) for kind in kinds for root in folder_paths.get_folder_paths(kind)]
        with contextlib.suppress(ValueError):  # it leads out of the input folder, so it is no file's name there
            places.append(folder_paths.get_annotated_filepath(text))
    # Which of several files of the name is meant only the node knows: all of them count.
    found = sorted({sampled_digest(place) for place in places if os.path.isfile(place)})
    return digest(found) if found else None
