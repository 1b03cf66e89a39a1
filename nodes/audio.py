"""Nodes that load speech and turn it into audio features."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.audio_encoder import Wav2VecEncoder, encode, find_encoder, list_encoders
from ..infinitetalk.host.model_files import fingerprint
from ..infinitetalk.host.speech import find_speech, list_speech, load_speech
from .common import ALIASES, CATEGORY, Features, Sound, verdict

NORMALIZE = {"auto": None, "on": True, "off": False}


class InfiniteTalkLoadSpeech(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkLoadSpeech",
            display_name="Load InfiniteTalk Speech",
            category=CATEGORY,
            description="Loads the sound of an audio or video file of any length. It is decoded to disk, not into "
            "memory: for recordings of more than a few minutes.",
            search_aliases=[*ALIASES, "load audio", "long audio", "podcast"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_speech(),
                    upload=io.UploadType.audio,
                    tooltip="Audio or video file in the input folder; of a video its first sound stream.",
                )
            ],
            outputs=[Sound.Output(display_name="sound", tooltip="For InfiniteTalk Audio Encode.")],
        )

    @classmethod
    def validate_inputs(cls, file=None):
        return verdict(find_speech, file)

    @classmethod
    def execute(cls, file):
        return io.NodeOutput(load_speech(file))

    @classmethod
    def fingerprint_inputs(cls, file):
        return file and fingerprint(find_speech(file))


class InfiniteTalkLoadAudioEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkLoadAudioEncoder",
            display_name="Load InfiniteTalk Audio Encoder",
            category=CATEGORY,
            description="Loads a wav2vec2 of any size, from a Hugging Face folder or a single file.",
            search_aliases=[*ALIASES, "wav2vec2", "audio encoder"],
            inputs=[
                io.Combo.Input(
                    "audio_encoder",
                    options=list_encoders(),
                    tooltip="File or folder in models/audio_encoders, models/wav2vec2 or models/transformers. "
                    "The published adapters need chinese-wav2vec2-base.",
                )
            ],
            outputs=[
                io.AudioEncoder.Output(display_name="audio_encoder", tooltip="Also works in the host's own nodes.")
            ],
        )

    @classmethod
    def execute(cls, audio_encoder):
        return io.NodeOutput(Wav2VecEncoder(find_encoder(audio_encoder)))

    @classmethod
    def fingerprint_inputs(cls, audio_encoder):
        return audio_encoder and fingerprint(find_encoder(audio_encoder))


class InfiniteTalkAudioEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkAudioEncode",
            display_name="InfiniteTalk Audio Encode",
            category=CATEGORY,
            description="Speech to features at 25 per second, as the reference computes them: mono, 16 kHz, -23 LUFS, "
            "all layers. The original sound is kept for the video.",
            search_aliases=[*ALIASES, "wav2vec2", "audio embeds", "speech"],
            inputs=[
                io.MultiType.Input(
                    "audio",
                    types=[io.Audio, Sound],
                    tooltip="Speech, mono or stereo, 16 to 96 kHz, at least 0.1 s; long recordings from "
                    "Load InfiniteTalk Speech. Music hurts lip sync: give the voice alone when you can.",
                ),
                io.AudioEncoder.Input("audio_encoder", tooltip="chinese-wav2vec2-base for the published adapters."),
                io.Combo.Input(
                    "normalize",
                    options=list(NORMALIZE),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Zero mean and unit variance before the encoder. auto follows the encoder's "
                    "preprocessor file; without one it is off for the base layout.",
                ),
            ],
            outputs=[
                Features.Output(display_name="features", tooltip="For the sampler; its length is the video's length.")
            ],
        )

    @classmethod
    def execute(cls, audio, audio_encoder, normalize="auto"):
        return io.NodeOutput(encode(audio_encoder, audio, NORMALIZE[normalize]))
