"""Nodes that give a MODEL with the InfiniteTalk adapter attached."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.adapter_note import keep_note
from ..infinitetalk.host.attach import attach
from ..infinitetalk.host.loading import check_adapter_file, check_files, inside_dropped, load_adapter, load_model
from ..infinitetalk.host.model_files import ADAPTER_FOLDERS, MODEL_FOLDER, find_file, fingerprint, list_files
from ..infinitetalk.model.layouts import FROM_SOCKET, INSIDE, no_patch
from ..infinitetalk.model.trained_for import BY_NAME, TRAINED_FOR, note_of
from .common import ALIASES, CATEGORY, verdict


class InfiniteTalkLoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkLoadModel",
            display_name="Load InfiniteTalk Model",
            category=CATEGORY,
            description="Loads Wan2.1 I2V and attaches the InfiniteTalk adapter.",
            search_aliases=[*ALIASES, "load diffusion model", "wan"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list_files(MODEL_FOLDER),
                    tooltip="Wan2.1 I2V 14B, 480p or 720p, from models/diffusion_models.",
                ),
                io.Combo.Input(
                    "adapter",
                    options=[*list_files(*ADAPTER_FOLDERS), INSIDE],
                    tooltip="InfiniteTalk adapter (single or multi), from models/model_patches, "
                    "models/diffusion_models or models/infinitetalk, sub-folders included. "
                    f"{INSIDE} is for a merged model.",
                ),
                *_trained_for(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the adapter attached.")],
        )

    @classmethod
    def validate_inputs(cls, model=None, adapter=None):
        return verdict(check_files, model, adapter)

    @classmethod
    def execute(cls, model, adapter, trained_for=BY_NAME):
        check_files(model, adapter)
        base = load_model(model)
        attached = attach(base, load_adapter(adapter, base, model))
        dropped = f"The adapter inside {model} is not used." if inside_dropped(model, adapter) else ""
        note = note_of(model if adapter == INSIDE else adapter, trained_for)
        keep_note(attached, note, cls.hidden.unique_id, dropped)
        return io.NodeOutput(attached)

    @classmethod
    def fingerprint_inputs(cls, model, adapter, trained_for=BY_NAME):
        return _fingerprint(model, MODEL_FOLDER), _fingerprint(adapter, *ADAPTER_FOLDERS)


class InfiniteTalkApplyAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkApplyAdapter",
            display_name="Apply InfiniteTalk Adapter",
            category=CATEGORY,
            description="Attaches the InfiniteTalk adapter to a model from any loader (GGUF, quantised, with LoRAs, "
            "compiled). Applying it again replaces the adapter.",
            search_aliases=[*ALIASES, "model patch"],
            inputs=[
                io.Model.Input("model", tooltip="Wan2.1 I2V 14B from any loader, before or after LoRAs."),
                io.Combo.Input(
                    "adapter",
                    options=[*list_files(*ADAPTER_FOLDERS), FROM_SOCKET],
                    tooltip="InfiniteTalk adapter file, or the patch connected to model_patch.",
                ),
                io.ModelPatch.Input(
                    "model_patch",
                    optional=True,
                    tooltip=f"An adapter from Load Model Patch; used when adapter is {FROM_SOCKET}.",
                ),
                *_trained_for(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the adapter attached.")],
        )

    @classmethod
    def validate_inputs(cls, adapter=None):
        return True if adapter == FROM_SOCKET else verdict(check_adapter_file, adapter)

    @classmethod
    def execute(cls, model, adapter, model_patch=None, trained_for=BY_NAME):
        if adapter != FROM_SOCKET:
            model_patch = load_adapter(adapter, model)
        elif model_patch is None:
            raise no_patch()
        attached = attach(model, model_patch)
        keep_note(attached, note_of(adapter, trained_for), cls.hidden.unique_id)
        return io.NodeOutput(attached)

    @classmethod
    def fingerprint_inputs(cls, model, adapter, model_patch=None, trained_for=BY_NAME):
        return _fingerprint(adapter, *ADAPTER_FOLDERS)


def _fingerprint(name: str | None, *folders: str):
    """Of a file that is chosen in the node; None when another node gives the name."""
    return fingerprint(find_file(name, folders, "file")) if name not in (None, FROM_SOCKET, INSIDE) else None


def _trained_for() -> list:
    return [
        io.Combo.Input(
            "trained_for",
            options=list(TRAINED_FOR),
            default=BY_NAME,
            optional=True,
            tooltip="Voices that the adapter was trained with: single and multi files have the same tensors, so only "
            "the name or you can tell. Shown below the node; the sampler warns of several voices with a single one.",
        )
    ]
