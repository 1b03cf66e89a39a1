"""The node that turns a picture into the reference of a run."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.config import MAX_FRAMES, MAX_SIDE, InputError, WindowConfig, check_size
from ..infinitetalk.host.reference import SIZES, make_reference
from .common import ALIASES, CATEGORY, Reference, verdict


class InfiniteTalkReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkReference",
            display_name="InfiniteTalk Reference",
            category=CATEGORY,
            description="Resizes and crops the picture as the reference does and encodes it once for all windows.",
            search_aliases=[*ALIASES, "image to video", "start image", "clip vision"],
            inputs=[
                io.Image.Input("image", tooltip="The person who will speak; the first picture of a batch is used."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                io.Combo.Input(
                    "size",
                    options=list(SIZES),
                    default="480p",
                    tooltip="480p and 720p choose the trained size nearest to the picture's shape; "
                    "custom takes width and height.",
                ),
                io.Int.Input(
                    "width", default=640, min=16, max=MAX_SIDE, step=16, tooltip="Pixels, multiple of 16; for custom."
                ),
                io.Int.Input(
                    "height", default=640, min=16, max=MAX_SIDE, step=16, tooltip="Pixels, multiple of 16; for custom."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="CLIP ViT-H (clip_vision_h). This or clip_vision_output is needed.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output", optional=True, tooltip="Features made elsewhere; used instead of clip_vision."
                ),
                io.Int.Input(
                    "window_frames",
                    default=81,
                    min=5,
                    max=MAX_FRAMES,
                    step=4,
                    optional=True,
                    advanced=True,
                    tooltip="Longest window this reference serves, 4n+1. Shorter windows use a part of it.",
                ),
            ],
            outputs=[
                Reference.Output(display_name="reference", tooltip="For the sampler."),
                io.Image.Output(display_name="image", tooltip="The picture as the model sees it."),
            ],
        )

    @classmethod
    def validate_inputs(cls, size=None, width=None, height=None, window_frames=None):
        checks = [verdict(_check_kind, size), verdict(_check_length, window_frames)]
        if size == "custom":
            checks.append(verdict(check_size, width, height))
        return next((check for check in checks if check is not True), True)

    @classmethod
    def execute(cls, image, vae, size, width, height, clip_vision=None, clip_vision_output=None, window_frames=81):
        _check_kind(size)
        target = SIZES[size] or (height, width)
        reference = make_reference(image, vae, target, clip_vision_output or clip_vision, window_frames)
        return io.NodeOutput(reference, reference.picture.unsqueeze(0))


def _check_kind(size: str) -> None:
    if size not in SIZES:
        raise InputError(f"size: {size!r} is unknown.", f"Use one of {', '.join(SIZES)}.")


def _check_length(frames: int) -> None:
    WindowConfig(frames=frames, motion=1)
