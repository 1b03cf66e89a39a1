"""Makes clips with the product inside a real ComfyUI, on this CPU: what the nodes of a workflow call, in their order.

Runs and references are kept in a work folder. A run that is there is not sampled again, and one that was stopped goes
on: the product does so by itself. Knows the talking model's files, no measure and no goal.

Shapes: F frames, H x W pixels, uint8; seconds are of this machine.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from demo.talking_model import ADAPTER, CAMERA_EMBEDS, DIT, EMBEDS, FILES, VAE, WAV2VEC_FOLDER
from infinitetalk.config import StreamConfig
from infinitetalk.digests import digest, file_digest
from infinitetalk.feature_file import speech_rows
from infinitetalk.settings import CacheConfig, GuidanceConfig
from tests.inprocess import use_host

from .quality_cases import FPS, SAMPLES, Case, Line
from .stream import Clock

PROMPTS = {"still": EMBEDS, **CAMERA_EMBEDS}  # what the camera does: its file of embeddings
SHIFT = 3.0


@dataclass(frozen=True)
class Setting:
    """What a user sets beside picture and speech. weights: how the diffusion model is kept, "default", "fp8_e4m3fn"
    or "int8"; prompt: one of PROMPTS; easy_cache: threshold of the host's own cache; fresh: not from a run that is
    there, for its time."""

    steps: int = 8
    audio: float = 2.0
    prompt: str = "still"
    weights: str = "default"
    colour: float = 1.0
    colour_reference: str = "first"
    source_strength: float = 1.0
    silence_gate: bool = False
    cache: CacheConfig | None = None
    easy_cache: float | None = None
    seed: int = 1
    fresh: bool = False

    @property
    def stream(self) -> StreamConfig:
        return StreamConfig(
            guidance=GuidanceConfig(1.0, self.audio),
            seed=self.seed,
            colour=self.colour,
            colour_reference=self.colour_reference,
            source_strength=self.source_strength,
            cache=self.cache,
            silence_gate=self.silence_gate,
        )


@dataclass(frozen=True)
class Clip:
    """frames: uint8 [F, H, W, 3], decoded from the finished file; seconds: of the parts and "whole", as they were when
    it was made; skipped: forwards that the step cache skipped; drift: the run's own report."""

    frames: np.ndarray
    seconds: dict[str, float]
    skipped: int
    drift: dict


def weights_digest(models: Path) -> str:
    """Of all files of the talking model."""
    return digest(*[file_digest(models / name) for name in FILES])


def place(work: Path, models: Path) -> Path:
    """The folder below `work` for these weights: others have other runs and other results."""
    return work / weights_digest(models)[:12]


class Studio:
    """The models of a folder in this process. Everything is loaded when it is first needed."""

    def __init__(self, models: Path, work: Path):
        use_host()
        import comfy.utils

        comfy.utils.PROGRESS_BAR_ENABLED = False
        self.models, self.clock = models, Clock()
        self.digest = weights_digest(models)
        self.work = place(work, models)
        self._voices, self._models = {}, {}
        self._open_folders()

    def _open_folders(self) -> None:
        """The host's output and temp folders, and that of curves, below the work folder."""
        import folder_paths

        for name in ("output", "temp", "curves", "references", "seconds"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        folder_paths.set_output_directory(str(self.work / "output"))
        folder_paths.set_temp_directory(str(self.work / "temp"))
        folder_paths.folder_names_and_paths["infinitetalk"] = ([str(self.work / "curves")], {".json"})

    @cached_property
    def vae(self):
        import comfy.sd
        import comfy.utils

        from infinitetalk.host.vae import WanVae

        WanVae.decode = self.clock.around("VAE decode", WanVae.decode)  # in this process only
        WanVae.encode = self.clock.around("VAE encode", WanVae.encode)
        return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(self.models / VAE)))

    @cached_property
    def encoder(self):
        from infinitetalk.host.audio_encoder import Wav2VecEncoder

        return Wav2VecEncoder(str(self.models / WAV2VEC_FOLDER))

    def model(self, weights: str = "default"):
        """The diffusion model with the adapter, kept as UNETLoader's weight_dtype says, or as int8 (quality_int8)."""
        if weights not in self._models:
            self._models[weights] = self._load_model(weights)
        return self._models[weights]

    def _load_model(self, weights: str):
        import comfy.sd
        from comfy.patcher_extension import WrappersMP

        from infinitetalk.host.attach import attach
        from infinitetalk.host.loading import load_adapter_file

        path, options = self.models / DIT, {}
        if weights == "fp8_e4m3fn":
            options = {"dtype": torch.float8_e4m3fn}
        elif weights == "int8":
            from .quality_int8 import write_int8

            path = write_int8(path, self.work / "int8.safetensors")
        plain = comfy.sd.load_diffusion_model(str(path), model_options=options)
        model = attach(plain, load_adapter_file(str(self.models / ADAPTER), plain.model.get_dtype_inference()))
        timed = self.clock.around
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "bench", lambda run, *a, **k: timed("DiT", run)(*a, **k))
        return model

    def texts(self, prompt: str) -> tuple[list, list, object]:
        """(positive, negative, CLIP output) of a file of embeddings, as Load InfiniteTalk Embeds gives them."""
        import comfy.clip_vision

        tensors = {name: value.float() for name, value in load_file(self.models / PROMPTS[prompt]).items()}
        clip = comfy.clip_vision.Output()
        clip["penultimate_hidden_states"] = tensors["clip_vision"]
        return [[tensors["positive"], {}]], [[tensors["negative"], {}]], clip

    def reference(self, picture: np.ndarray):
        """The reference of uint8 [H, W, 3], encoded once for all settings and kept."""
        from infinitetalk.host.reference import make_reference
        from infinitetalk.reference import Reference

        clip = self.texts("still")[2]
        name = digest(torch.from_numpy(np.ascontiguousarray(picture)))[:24]
        path, image = self.work / "references" / f"{name}.safetensors", torch.from_numpy(picture)[None].float() / 255
        if path.exists():
            return Reference(image[0], load_file(path)["latent"], clip)
        made = make_reference(image, self.vae, picture.shape[:2], clip, StreamConfig().window.frames)
        save_file({"latent": made.latent.contiguous()}, path)
        return made

    def video_reference(self, frames: np.ndarray):
        """A source video of uint8 [F, H, W, 3] at 25 frames a second."""
        from infinitetalk.host.reference import make_video_reference
        from infinitetalk.source import PictureSource

        source = PictureSource(torch.from_numpy(frames).float() / 255, FPS)
        return make_video_reference(source, self.vae, frames.shape[1:3], self.texts("still")[2])

    def features(self, line: Line):
        """The stretch of a recording as the model hears it: encoded with all of the recording around it."""
        from infinitetalk.host.audio_encoder import encode
        from infinitetalk.sound import MemorySound

        if line.name not in self._voices:
            audio = {"waveform": line.recording[None, None], "sample_rate": FPS * SAMPLES}
            self._voices[line.name] = encode(self.encoder, audio, None)
        whole = self._voices[line.name]
        end = line.start + line.frames
        if line.frames == whole.frames:
            return whole
        sound = MemorySound(line.wave[None, None], FPS * SAMPLES)
        told = f"{whole.identity} {line.start} {end}"
        speech = speech_rows(whole.speech, torch.arange(line.start, end))
        return replace(whole, speech=speech, sound=sound, wave=sound, identity=digest(told))

    def forget_voices(self) -> None:
        """Hear every recording anew, for its time."""
        self._voices.clear()

    def heard(self, case: Case, reference):
        """The features of a case: one voice's, or the Speakers node's, all of whom begin at once."""
        from infinitetalk.host.speakers import bind
        from infinitetalk.regions import Box
        from infinitetalk.speakers import Speaker

        voices = [None if line is None else self.features(line) for line in case.lines]
        if len(voices) == 1:
            return voices[0]
        boxes = [Box(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in case.people.tolist()]
        people = [Speaker(voice, box) for voice, box in zip(voices, boxes, strict=True)]
        return bind(reference, people, "para")[0]

    def make(self, case: Case, setting: Setting, reference=None) -> Clip:
        """The case's clip: the Sampler node's call, and the file that it made. reference: not the case's picture."""
        import comfy.samplers

        from infinitetalk.host.denoise import Inputs
        from infinitetalk.host.planned import Wish
        from infinitetalk.host.run import render
        from infinitetalk.schedule import flow_sigmas

        reference = self.reference(case.picture) if reference is None else reference
        features = self.heard(case, reference)
        model = self.model(setting.weights)
        if setting.easy_cache is not None:
            from comfy_extras.nodes_easycache import EasyCacheNode

            (model,) = EasyCacheNode.execute(model, setting.easy_cache, 0.15, 0.95, False).args
        positive, negative, _ = self.texts(setting.prompt)
        sampler, sigmas = comfy.samplers.sampler_object("euler"), flow_sigmas(setting.steps, SHIFT)
        inputs = Inputs(model, self.vae, positive, negative, features, reference, sampler, sigmas)
        graph = digest(self.digest, setting.weights, setting.easy_cache)
        self.clock.seconds.clear()
        begun = time.perf_counter()
        wish = Wish("fresh" if setting.fresh else "quality", setting.fresh, graph=graph)
        done = render(inputs, setting.stream, wish)
        seconds = {**self.clock.seconds, "whole": time.perf_counter() - begun}
        drift = json.loads((done.path.parent / "drift.json").read_text(encoding="utf-8"))
        return Clip(read_frames(done.path), self._kept_seconds(done.run, seconds), done.skipped, drift)

    def _kept_seconds(self, run: str, seconds: dict[str, float]) -> dict[str, float]:
        """What a run took over all calls: one that goes on adds to it."""
        path = self.work / "seconds" / f"{run}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        if "DiT" in seconds:  # something was sampled
            before = {part: before.get(part, 0.0) + seconds.get(part, 0.0) for part in {**before, **seconds}}
            path.write_text(json.dumps(before))
        return before


def read_frames(path: Path) -> np.ndarray:
    """Every frame of a video file, uint8 [F, H, W, 3]."""
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
