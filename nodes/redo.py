"""The node that asks for another take of a window."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.errors import InputError
from ..infinitetalk.host.identity import node_graph
from ..infinitetalk.takes import FOLLOWING, Overrides, Redo
from .common import ALIASES, CATEGORY, Guidance, Reference
from .common import Redo as RedoSocket

OWN_SEED = -1


class InfiniteTalkRedo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkRedo",
            display_name="InfiniteTalk Redo",
            category=CATEGORY,
            description="Another take of one window of a run, without sampling the others again. The first takes are "
            "kept: disconnecting it brings them back at once.",
            search_aliases=[*ALIASES, "retake", "redo", "fix", "reroll", "segment"],
            inputs=[
                io.Int.Input(
                    "window",
                    default=1,
                    min=1,
                    max=1000000,
                    tooltip="Counted from 1, as the sampler and InfiniteTalk Runs count them.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=OWN_SEED,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the new take; -1 keeps the window's own, for a change of prompt, reference or guidance "
                    "alone.",
                ),
                io.Combo.Input(
                    "following",
                    options=list(FOLLOWING),
                    default="blend",
                    tooltip="The windows after it. keep: as they are, the picture may jump; blend: the new take's last "
                    "frames fade into what they continue from; resample: they are sampled anew.",
                ),
                io.Conditioning.Input("positive", optional=True, tooltip="Another prompt for this window."),
                Reference.Input("reference", optional=True, tooltip="Another reference, of the run's own size."),
                Guidance.Input("guidance", optional=True, tooltip="Other text and audio scales."),
                RedoSocket.Input("redo", optional=True, tooltip="Another InfiniteTalk Redo, for one more window."),
            ],
            outputs=[RedoSocket.Output(display_name="redo", tooltip="For the sampler, or one more InfiniteTalk Redo.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(cls, window=1, seed=0, following="blend", positive=None, reference=None, guidance=None, redo=()):
        graph = None if positive is None and reference is None else node_graph(cls.hidden, ("positive", "reference"))
        own = None if seed == OWN_SEED else seed
        overrides = Overrides(own, positive, reference, guidance, graph=graph)
        before = tuple(redo or ())
        if seed == OWN_SEED and positive is None and reference is None and guidance is None:
            raise InputError(
                f"redo: of window {window} nothing is changed.",
                "Set a seed, or connect another prompt, reference or guidance.",
            )
        if any(other.window == window for other in before):
            raise InputError(
                f"redo: window {window} is redone twice.", "Keep one InfiniteTalk Redo for each window of the chain."
            )
        return io.NodeOutput((*before, Redo(window, overrides, following)))
