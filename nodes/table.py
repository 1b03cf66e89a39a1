"""The node for what changes by time in a run."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.identity import node_graph
from ..infinitetalk.host.table import make_table
from ..infinitetalk.table_text import MAX_REFERENCES, parse_table
from .common import ALIASES, CATEGORY, Reference, Table, verdict

PREFIX = "reference"


class InfiniteTalkTable(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkTable",
            display_name="InfiniteTalk Table",
            category=CATEGORY,
            description="Seeds, references, scales and prompts that change along the video, by time. Between the rows "
            "the sampler's own settings hold.",
            search_aliases=[*ALIASES, "schedule", "timeline", "prompt travel", "json", "storyboard"],
            inputs=[
                io.Clip.Input(
                    "clip", optional=True, tooltip="umt5_xxl from Load CLIP, type wan, for rows with a prompt."
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    placeholder="12.5-30 seed=7 reference=2 text=5 audio=3 prompt=she laughs and waves",
                    tooltip="A row on each line: from-to in seconds or as a clock, then what changes: seed=, "
                    "reference=, text=, audio= (scales), and last prompt= to the end of the line. Or a JSON list.",
                ),
                io.Autogrow.Input(
                    "references",
                    template=io.Autogrow.TemplateNames(
                        Reference.Input("reference", tooltip="From InfiniteTalk Reference, of the run's own size."),
                        names=[f"{PREFIX}{number}" for number in range(1, MAX_REFERENCES + 1)],
                        min=0,
                    ),
                    optional=True,
                    tooltip="What reference=1, reference=2 and so on mean, up to 20.",
                ),
            ],
            outputs=[Table.Output(display_name="table", tooltip="For the sampler.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def validate_inputs(cls, text=None, references=None):  # the host gives growing inputs to every check
        return verdict(parse_table, text)

    @classmethod
    def execute(cls, text="", clip=None, references=None):
        given = {int(name.removeprefix(PREFIX)): one for name, one in (references or {}).items() if one is not None}
        return io.NodeOutput(make_table(text, clip, given, node_graph(cls.hidden, ("clip", "references"))))
