"""Nodes that give a MODEL with the InfiniteTalk adapter attached."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.errors import InputError
from ..infinitetalk.host.attach import attach
from ..infinitetalk.host.loading import (
    ADAPTER_FOLDERS,
    MODEL_FOLDER,
    check_adapter_file,
    check_files,
    find_file,
    fingerprint,
    list_files,
    load_adapter,
    load_model,
)
from .common import ALIASES, CATEGORY, verdict

FROM_SOCKET = "(from model_patch)"


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
                    options=list_files(*ADAPTER_FOLDERS),
                    tooltip="InfiniteTalk adapter (single or multi), from models/model_patches, "
                    "models/diffusion_models or models/infinitetalk, sub-folders included.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the adapter attached.")],
        )

    @classmethod
    def validate_inputs(cls, model=None, adapter=None):
        return verdict(check_files, model, adapter)

    @classmethod
    def execute(cls, model, adapter):
        check_files(model, adapter)
        base = load_model(model)
        return io.NodeOutput(attach(base, load_adapter(adapter, base)))

    @classmethod
    def fingerprint_inputs(cls, model, adapter):
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
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the adapter attached.")],
        )

    @classmethod
    def validate_inputs(cls, adapter=None):
        return True if adapter == FROM_SOCKET else verdict(check_adapter_file, adapter)

    @classmethod
    def execute(cls, model, adapter, model_patch=None):
        if adapter != FROM_SOCKET:
            model_patch = load_adapter(adapter, model)
        elif model_patch is None:
            raise InputError(
                f"adapter: {FROM_SOCKET} is chosen and nothing is connected to model_patch.",
                "Choose an adapter file, or connect Load Model Patch.",
            )
        return io.NodeOutput(attach(model, model_patch))

    @classmethod
    def fingerprint_inputs(cls, model, adapter, model_patch=None):
        return _fingerprint(adapter, *ADAPTER_FOLDERS)


def _fingerprint(name: str | None, *folders: str):
    """Of a file that is chosen in the node; None when another node gives the name."""
    return fingerprint(find_file(name, folders, "file")) if name not in (None, FROM_SOCKET) else None
