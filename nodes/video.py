"""The output node: video and sound into one mp4 in the output folder."""

from __future__ import annotations

from comfy_api.latest import InputImpl, io, ui

from ..infinitetalk.host.combine import check_prefix, combine_video
from .common import ALIASES, CATEGORY, verdict


class InfiniteTalkVideoCombine(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkVideoCombine",
            display_name="InfiniteTalk Video Combine",
            category=CATEGORY,
            description="Saves an mp4 with the original sound, cut to the frame. A video that is H.264 already "
            "is copied, not encoded again. The workflow is stored in the file.",
            search_aliases=[*ALIASES, "save video", "mp4", "mux", "combine"],
            inputs=[
                io.MultiType.Input(
                    "video", types=[io.Video, io.Image], tooltip="A video, or frames to show at 25 per second."
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="Sound to mux; the video's own sound when not connected."
                ),
                io.String.Input(
                    "filename_prefix",
                    default="InfiniteTalk/video",
                    tooltip="Name, with folders, below the output folder. %year%, %month%, %day%, %width% and %height% "
                    "are filled in.",
                ),
                io.Int.Input(
                    "crf",
                    default=17,
                    min=1,
                    max=51,
                    optional=True,
                    advanced=True,
                    tooltip="Quality when frames are encoded, lower is better; 17 looks lossless.",
                ),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="The saved file.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None):
        return verdict(check_prefix, filename_prefix)

    @classmethod
    def execute(cls, video, filename_prefix, audio=None, crf=17):
        metadata = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})}
        saved = combine_video(video, audio, filename_prefix, metadata, crf)
        preview = ui.SavedResult(saved.path.name, saved.subfolder, io.FolderType.output)
        return io.NodeOutput(InputImpl.VideoFromFile(str(saved.path)), ui=ui.PreviewVideo([preview]))
