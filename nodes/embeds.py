"""Nodes that keep a prompt's and a picture's embeddings in a file, so that their encoders need not be loaded."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.embeds import find_embeds, list_embeds, load_embeds, save_embeds
from ..infinitetalk.host.model_files import fingerprint
from .common import ALIASES, CATEGORY


class InfiniteTalkLoadEmbeds(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkLoadEmbeds",
            display_name="Load InfiniteTalk Embeds",
            category=CATEGORY,
            description="Prompt and CLIP embeddings from a file made by Save InfiniteTalk Embeds: "
            "the 11 GB text encoder is not needed again.",
            search_aliases=[*ALIASES, "text embeds", "prompt cache"],
            inputs=[
                io.Combo.Input(
                    "embeds", options=list_embeds(), tooltip="File in models/infinitetalk whose name holds 'embeds'."
                )
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt."),
                io.ClipVisionOutput.Output(display_name="clip_vision_output", tooltip="For InfiniteTalk Reference."),
            ],
        )

    @classmethod
    def execute(cls, embeds):
        return io.NodeOutput(*load_embeds(embeds))

    @classmethod
    def fingerprint_inputs(cls, embeds):
        return embeds and fingerprint(find_embeds(embeds))


class InfiniteTalkSaveEmbeds(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkSaveEmbeds",
            display_name="Save InfiniteTalk Embeds",
            category=CATEGORY,
            description="Writes prompt and CLIP embeddings to models/infinitetalk for Load InfiniteTalk Embeds.",
            search_aliases=[*ALIASES, "text embeds", "prompt cache"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.ClipVisionOutput.Input("clip_vision_output", tooltip="CLIP features of the reference picture."),
                io.String.Input("name", default="my_prompt", tooltip="The file becomes <name>_embeds.safetensors."),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, positive, negative, clip_vision_output, name):
        return io.NodeOutput(ui={"text": [save_embeds(positive, negative, clip_vision_output, name)]})
