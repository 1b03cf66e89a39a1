"""The node that looks a workflow over before anything of it is loaded."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..infinitetalk.host.preflight import graph_of, look_over
from ..infinitetalk.host.validation import tell_refusals
from .common import ALIASES, CATEGORY

ON_PROBLEM = ("stop", "tell")


class InfiniteTalkCheck(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkCheck",
            display_name="InfiniteTalk Check",
            category=CATEGORY,
            description="Looks the whole workflow over before anything is loaded: what each model file is, whether "
            "they fit together, sizes, speakers, the windows, and the memory, disk and time a run will take. Needs no "
            "connection; InfiniteTalk Sampler makes the same check by itself.",
            search_aliases=[*ALIASES, "validate", "preflight", "doctor", "vram", "estimate", "time"],
            inputs=[
                io.Combo.Input(
                    "on_problem",
                    options=list(ON_PROBLEM),
                    default="stop",
                    optional=True,
                    tooltip="stop: what cannot work ends the run at once, before the models load. tell: it is only "
                    "told.",
                ),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="What the node shows.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")  # unlike itself: files, memory and the rest of the graph change while the widget stays

    @classmethod
    async def execute(cls, on_problem="stop"):
        report = look_over(cls.hidden.dynprompt)
        await tell_refusals(graph_of(cls.hidden.dynprompt), report)
        if on_problem == "stop":
            report.refuse()
        text = report.text()
        return io.NodeOutput(text, ui=ui.PreviewText(text))
