"""The node that lists, shows and removes the runs kept in the output folder."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..infinitetalk.host.runs import tell
from ..infinitetalk.runs_text import ACTIONS, check_action
from .common import ALIASES, CATEGORY, verdict


class InfiniteTalkRuns(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkRuns",
            display_name="InfiniteTalk Runs",
            category=CATEGORY,
            description="The runs that InfiniteTalk Sampler keeps in the output folder, with the disk space they take. "
            "Nothing but this node and you removes them.",
            search_aliases=[*ALIASES, "resume", "history", "disk space", "clean up", "delete"],
            inputs=[
                io.Combo.Input(
                    "action",
                    options=list(ACTIONS),
                    default="list",
                    tooltip="list: all runs. show: settings, finished and missing windows, disk space and drift of "
                    "one. remove: deletes one with all its files.",
                ),
                io.String.Input(
                    "run",
                    default="",
                    optional=True,
                    tooltip="For show and remove: the run's folder, its name, or how one of the two begins.",
                ),
                io.Boolean.Input(
                    "confirm",
                    default=False,
                    optional=True,
                    tooltip="For remove: without it the node only says what would be removed.",
                ),
            ],
            outputs=[io.String.Output(display_name="text", tooltip="What the node shows.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, action=None, run=None):
        return verdict(check_action, action, run)

    @classmethod
    def fingerprint_inputs(cls, **_):
        return float("nan")  # unlike itself: runs come and go while the widgets stay

    @classmethod
    def execute(cls, action="list", run="", confirm=False):
        text = tell(action, run, confirm, cls.hidden.unique_id)
        return io.NodeOutput(text, ui=ui.PreviewText(text))
