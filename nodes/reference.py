"""The nodes that turn a picture, or a video, into the reference of a run."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.config import MAX_FRAMES, MAX_SIDE, WindowConfig, check_size
from ..infinitetalk.errors import InputError
from ..infinitetalk.host.reference import SIZES, make_reference, make_video_reference
from ..infinitetalk.host.source import open_source
from .common import ALIASES, CATEGORY, Reference, verdict


def _size_inputs() -> list:
    return [
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
    ]


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
                *_size_inputs(),
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
        length = verdict(_check_length, window_frames)
        return length if length is not True else _size_verdict(size, width, height)

    @classmethod
    def execute(cls, image, vae, size, width, height, clip_vision=None, clip_vision_output=None, window_frames=81):
        target = _target(size, width, height)
        reference = make_reference(image, vae, target, clip_vision_output or clip_vision, window_frames)
        return io.NodeOutput(reference, reference.picture.unsqueeze(0))


class InfiniteTalkVideoReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkVideoReference",
            display_name="InfiniteTalk Video Reference",
            category=CATEGORY,
            description="Video dubbing: every window is conditioned by the source frame shown at the window's time. "
            "The video is read from disk when it is needed, at any frame rate; past its end its last frame is held.",
            search_aliases=[*ALIASES, "video to video", "v2v", "source video", "sparse frame"],
            inputs=[
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                *_size_inputs(),
                io.Video.Input("video", optional=True, tooltip="The source video. This or images is needed."),
                io.Image.Input("images", optional=True, tooltip="The source as a batch of pictures, held in memory."),
                io.Float.Input(
                    "images_fps",
                    default=25.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    optional=True,
                    tooltip="Pictures per second of images.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="CLIP ViT-H (clip_vision_h), which looks at each window's own frame. "
                    "This or clip_vision_output is needed.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="Features made elsewhere, the same for every window; used instead of clip_vision.",
                ),
            ],
            outputs=[
                Reference.Output(display_name="reference", tooltip="For the sampler."),
                io.Image.Output(display_name="image", tooltip="The first frame as the model sees it."),
            ],
        )

    @classmethod
    def validate_inputs(cls, size=None, width=None, height=None):
        return _size_verdict(size, width, height)

    @classmethod
    def execute(
        cls,
        vae,
        size,
        width,
        height,
        video=None,
        images=None,
        images_fps=25.0,
        clip_vision=None,
        clip_vision_output=None,
    ):
        target = _target(size, width, height)
        source = open_source(video, images, images_fps)
        reference = make_video_reference(source, vae, target, clip_vision_output or clip_vision)
        return io.NodeOutput(reference, reference.picture.unsqueeze(0))


def _size_verdict(size, width, height) -> bool | str:
    kind = verdict(_check_kind, size)
    return verdict(check_size, width, height) if kind is True and size == "custom" else kind


def _target(size: str, width: int, height: int) -> str | tuple[int, int]:
    _check_kind(size)
    return SIZES[size] or (height, width)


def _check_kind(size: str) -> None:
    if size not in SIZES:
        raise InputError(f"size: {size!r} is unknown.", f"Use one of {', '.join(SIZES)}.")


def _check_length(frames: int) -> None:
    WindowConfig(frames=frames, motion=1)
