"""The list of nodes and ComfyUI's entry point to it. Knows no node's inside."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension

from ..infinitetalk.host.model_files import register_folders
from .audio import InfiniteTalkAudioEncode, InfiniteTalkLoadAudioEncoder, InfiniteTalkLoadSpeech
from .cache import InfiniteTalkStepCache
from .check import InfiniteTalkCheck
from .embeds import InfiniteTalkLoadEmbeds, InfiniteTalkSaveEmbeds
from .extend import InfiniteTalkExtend
from .memory import InfiniteTalkMemory, InfiniteTalkSaveAdapter
from .models import InfiniteTalkApplyAdapter, InfiniteTalkLoadModel
from .panzoom import InfiniteTalkPanZoom
from .preset import InfiniteTalkPreset
from .prompts import InfiniteTalkPrompts
from .redo import InfiniteTalkRedo
from .reference import InfiniteTalkReference, InfiniteTalkVideoReference
from .runs import InfiniteTalkRuns
from .sampler import InfiniteTalkSampler
from .scenes import InfiniteTalkScenes
from .settings import InfiniteTalkGuidance, InfiniteTalkSchedule
from .speakers import InfiniteTalkSpeaker, InfiniteTalkSpeakers
from .table import InfiniteTalkTable
from .video import InfiniteTalkVideoCombine
from .window import InfiniteTalkWindow

NODES = [
    InfiniteTalkLoadModel,
    InfiniteTalkApplyAdapter,
    InfiniteTalkLoadSpeech,
    InfiniteTalkLoadAudioEncoder,
    InfiniteTalkAudioEncode,
    InfiniteTalkReference,
    InfiniteTalkVideoReference,
    InfiniteTalkScenes,
    InfiniteTalkPanZoom,
    InfiniteTalkSpeaker,
    InfiniteTalkSpeakers,
    InfiniteTalkGuidance,
    InfiniteTalkStepCache,
    InfiniteTalkSchedule,
    InfiniteTalkPreset,
    InfiniteTalkPrompts,
    InfiniteTalkTable,
    InfiniteTalkRedo,
    InfiniteTalkExtend,
    InfiniteTalkCheck,
    InfiniteTalkMemory,
    InfiniteTalkSampler,
    InfiniteTalkRuns,
    InfiniteTalkVideoCombine,
    InfiniteTalkWindow,
    InfiniteTalkLoadEmbeds,
    InfiniteTalkSaveEmbeds,
    InfiniteTalkSaveAdapter,
]


class InfiniteTalkExtension(ComfyExtension):
    async def on_load(self) -> None:
        register_folders()

    async def get_node_list(self):
        return NODES


async def comfy_entrypoint() -> InfiniteTalkExtension:
    return InfiniteTalkExtension()
