"""Nodes for small cards: what of speed is given for memory, and adapter files made small."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..infinitetalk.host.memory import told
from ..infinitetalk.host.model_files import ADAPTER_FOLDERS, find_file, fingerprint, list_files
from ..infinitetalk.host.save_adapter import check_save, save_adapter
from ..infinitetalk.memory import ADAPTERS, BRANCHES, BY_HAND, FIT, VAES, MemoryConfig
from ..infinitetalk.model.compact import COMPACT
from .common import ALIASES, CATEGORY, Memory, verdict


class InfiniteTalkMemory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkMemory",
            display_name="InfiniteTalk Memory",
            category=CATEGORY,
            description="Gives speed for memory, for small cards. The pictures stay the same but for rounding, and a "
            "run goes on with other settings; only a shorter window makes another run.",
            search_aliases=[*ALIASES, "vram", "low vram", "out of memory", "oom", "offload", "tiled vae"],
            inputs=[
                io.Combo.Input(
                    "choice",
                    options=[FIT, BY_HAND],
                    default=FIT,
                    tooltip="fit my card takes from the card's memory what is needed and says why; by hand takes the "
                    "settings below.",
                ),
                io.Combo.Input(
                    "branches",
                    options=list(BRANCHES),
                    default="auto",
                    optional=True,
                    tooltip="by hand: one by one never samples the guidance's branches as one batch.",
                ),
                io.Combo.Input(
                    "vae",
                    options=list(VAES),
                    default="auto",
                    optional=True,
                    tooltip="by hand: tiled decodes and encodes in overlapping tiles of 384 pixels.",
                ),
                io.Combo.Input(
                    "adapter",
                    options=list(ADAPTERS),
                    default="auto",
                    optional=True,
                    tooltip="by hand: in RAM keeps the audio branch there; layers come to the card as they compute. "
                    "With dynamic VRAM ComfyUI does that by itself.",
                ),
            ],
            outputs=[Memory.Output(display_name="memory", tooltip="For InfiniteTalk Sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, choice=FIT, branches="auto", vae="auto", adapter="auto"):
        memory = MemoryConfig(fit=True) if choice == FIT else MemoryConfig(False, branches, vae, adapter)
        told(memory, cls.hidden.unique_id if cls.hidden else None)
        return io.NodeOutput(memory)


class InfiniteTalkSaveAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSaveAdapter",
            display_name="Save InfiniteTalk Adapter",
            category=CATEGORY,
            description="Writes a compact copy of an adapter file into models/infinitetalk: in fp8 a quarter of the "
            "float32 file's size.",
            search_aliases=[*ALIASES, "convert", "quantize", "fp8", "bf16"],
            inputs=[
                io.Combo.Input(
                    "adapter",
                    options=list_files(*ADAPTER_FOLDERS),
                    tooltip="Any adapter file that Load InfiniteTalk Model reads.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(COMPACT),
                    default="fp8",
                    tooltip="fp8: 8-bit matrices with a scale each; bf16 and fp16: 16 bits.",
                ),
                io.String.Input(
                    "filename",
                    default="",
                    optional=True,
                    tooltip="Without folder and ending. Empty: the adapter's name and the format.",
                ),
                io.Boolean.Input(
                    "overwrite", default=False, optional=True, tooltip="Whether a file of this name is replaced."
                ),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="The file's name and both sizes.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, adapter=None, format=None, filename=""):
        return verdict(check_save, adapter, format, filename)

    @classmethod
    def execute(cls, adapter, format, filename="", overwrite=False):
        report = save_adapter(adapter, format, filename, overwrite)
        return io.NodeOutput(report, ui=ui.PreviewText(report))

    @classmethod
    def fingerprint_inputs(cls, adapter, **values):
        return fingerprint(find_file(adapter, ADAPTER_FOLDERS, "adapter"))
