"""The whole loop: our stream, guidance, denoiser and colour correction on the host's model, sampler seam and VAE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import torch

from infinitetalk.buckets import nearest, resize_crop, resize_crop_mask
from infinitetalk.config import StreamConfig, WindowConfig
from infinitetalk.features import AudioFeatures
from infinitetalk.reference import Reference, padded_video
from infinitetalk.regions import Canvas, assign, default_masks, to_latent, with_background
from infinitetalk.schedule import flow_sigmas
from infinitetalk.settings import ApgConfig, GuidanceConfig
from infinitetalk.sound import MemorySound
from infinitetalk.source import PictureSource
from infinitetalk.speakers import Speakers
from infinitetalk.stream import stream
from infinitetalk.takes import first_takes
from infinitetalk.timeline import Window, plan, video_frames

from . import host
from .case_vae import video_of
from .registry import Golden, Result, case, error

LATENT = 1e-3
DECODED = 2e-3
SILENCE = MemorySound(torch.zeros(1, 1, 16_000), 16_000)  # what is heard beside the pictures does not matter


@dataclass
class Record:
    """What one run did, window by window, in the units of the recording."""

    steps: list[torch.Tensor] = field(default_factory=list)
    guided: list[torch.Tensor] = field(default_factory=list)
    motion: list[torch.Tensor] = field(default_factory=list)
    ungraded: list[torch.Tensor] = field(default_factory=list)
    graded: list[torch.Tensor] = field(default_factory=list)


@case("streaming_i2v")
def streaming_i2v(golden: Golden) -> Iterator[Result]:
    coder = host.WanVae(host.make_vae(golden.weights("vae")))
    picture_u8 = resize_crop(golden.inp("input.image"), *_size(golden))
    reference = _still(golden, coder, picture_u8)
    yield Result("picture", error(picture_u8, golden["w0.cond_image_u8"]), 1)
    yield Result("conditioning", error(_conditioning(reference), golden["w0.y"]), LATENT)
    yield from _compare(golden, coder, reference, _voice(golden, 1))


@case("streaming_v2v")
def streaming_v2v(golden: Golden) -> Iterator[Result]:
    vae = host.make_vae(golden.weights("vae"))
    source = PictureSource(golden.inp("input.video").float() / 255, 25.0)
    picture = resize_crop(source.frame(0.0), *_size(golden)).float() / 255
    reference = RecordedClip(golden, host.VideoReference(source, picture, vae, None))
    for n, (start, end) in enumerate(golden["windows"].tolist()):
        at = reference.at(Window(n, start, end, 0, 0, 0))
        yield Result("picture", error((at.picture * 255).round(), golden[f"w{n}.cond_image_u8"]), 1)
        if n == 0:
            yield Result("conditioning", error(_conditioning(at), golden["w0.y"]), LATENT)
        else:
            latent = host.LATENT_FORMAT.process_in(at.latent)[0]
            yield Result("conditioning", error(latent, golden[f"w{n}.y_latent"]), LATENT)
    yield from _compare(golden, host.WanVae(vae), reference, _voice(golden, 1))


@case("streaming_two")
def streaming_two(golden: Golden) -> Iterator[Result]:
    coder = host.WanVae(host.make_vae(golden.weights("vae")))
    size = _size(golden)
    picture_u8 = resize_crop(golden.inp("input.image"), *size)
    reference = _still(golden, coder, picture_u8)
    canvas = Canvas(tuple(golden.config["source_hw"]), size)
    regions, _ = assign([None, None], ["one", "two"], canvas)
    masks = with_background(resize_crop_mask(default_masks(2, canvas.source), *size))
    yield Result("picture", error(picture_u8, golden["w0.cond_image_u8"]), 1)
    yield Result("conditioning", error(_conditioning(reference), golden["w0.y"]), LATENT)
    yield Result("latent_masks", error(to_latent(masks), golden["latent_masks"]), 0)
    voices = tuple(_voice(golden, person) for person in (1, 2))
    yield from _compare(golden, coder, reference, Speakers(voices, regions, SILENCE))


class RecordedClip:
    """A video reference whose CLIP features are the recorded run's inputs, by the source frame shown."""

    still = False

    def __init__(self, golden: Golden, reference: host.VideoReference):
        self.golden, self.video, self.height, self.width = golden, reference, reference.height, reference.width
        self.vae = reference.vae
        self.clip = None

    def shown(self, window: Window) -> torch.Tensor:
        return self.video.shown(window)

    def at(self, window: Window) -> Reference:
        frame = min(window.start, self.golden.config["video_frames"] - 1)
        clip = SimpleNamespace(penultimate_hidden_states=self.golden.inp(f"input.clip_fea.frame{frame}"))
        return replace(self.video, clip=clip).at(window)


def _size(golden: Golden) -> tuple[int, int]:
    table = {float(ratio): tuple(size) for ratio, (size, _) in golden.config["buckets"].items()}
    return nearest(*golden.config["source_hw"], table)


def _still(golden: Golden, coder, picture_u8: torch.Tensor) -> Reference:
    picture = torch.as_tensor(picture_u8).float() / 255
    clip = SimpleNamespace(penultimate_hidden_states=golden.inp("input.clip_fea.frame0"))
    latent = coder.encode(padded_video(picture, golden.config["frame_num"]))
    return Reference(picture, latent, clip, tuple(golden.config["source_hw"]))


def _conditioning(reference: Reference) -> torch.Tensor:
    """Mask and conditioning latent as the model gets them, [20, T, h, w]."""
    latent = host.LATENT_FORMAT.process_in(reference.latent)[0]
    mask = torch.zeros(4, *latent.shape[1:])
    mask[:, 0] = 1
    return torch.cat((mask, latent))


def _voice(golden: Golden, person: int) -> AudioFeatures:
    speech = golden.inp(f"input.audio.person{person}")
    return AudioFeatures(speech, speech.new_zeros(1, *speech.shape[1:]), SILENCE, "recorded")


def _compare(golden: Golden, coder, reference, features) -> Iterator[Result]:
    config = golden.config
    window = WindowConfig(config["frame_num"], config["motion_frame"])
    apg = ApgConfig() if config["apg"] else None
    guidance = GuidanceConfig(config["text_scale"], config["audio_scale"], apg=apg)
    settings = StreamConfig(window, guidance, colour=config["colour_strength"], tail="mirror")
    windows = plan(min(features.frames, config["max_frames_num"]), window)
    sigmas = flow_sigmas(config["steps"], config["shift"])
    last = (config["video_frames"] or 1) - 1

    yield Result("windows", error(torch.tensor([[w.start, w.end] for w in windows]), golden["windows"]), 0)
    yield Result("frame_count", abs(video_frames(windows) - config["results"]["final_frames"]), 0)
    starts = torch.tensor([w.start for w in windows])
    yield Result("reference_frame", error(starts, golden["reference_frame"]), 0)
    yield Result("reference_frame_used", error(starts.clamp(max=last), golden["reference_frame_used"]), 0)
    yield Result("timesteps", error(sigmas * 1000, golden["timesteps"]), 1e-3)
    record, frames = _run(golden, coder, (reference, features), settings, (windows, sigmas))
    for n in range(len(windows)):
        yield Result("motion_latent", error(record.motion[n], golden[f"w{n}.motion_latent"]), LATENT)
        yield Result("latents", error(record.steps[n], golden[f"w{n}.latent_steps"]), LATENT)
        yield Result("guided", error(record.guided[n], golden[f"w{n}.guided"]), LATENT)
        yield Result("decoded", error(record.graded[n], golden[f"w{n}.decoded"].float()), DECODED)
        if f"w{n}.decoded_before_colour" in golden:
            before = golden[f"w{n}.decoded_before_colour"].float()
            yield Result("decoded_before_colour", error(record.ungraded[n][:, ::4], before), DECODED)
    yield Result("video", error(frames, golden["video_u8"]), 1)


def _run(golden: Golden, coder, given: tuple, settings: StreamConfig, schedule) -> tuple[Record, torch.Tensor]:
    """Everything through what the Sampler node uses; only the noise and the recording are ours."""
    (reference, features), (windows, sigmas) = given, schedule
    machine = host.Machine(golden.weights("dit"))
    record = Record()
    noises = {w.seed: golden.inp(f"noise.w{w.index}") for w in windows}
    texts = [[[host.padded_text(golden.inp(key)), {}]] for key in ("input.context", "input.context_null")]
    sampler = host.recording_euler(record.steps, record.guided)
    inputs = host.Inputs(machine.model, None, *texts, features, reference, sampler, sigmas)  # the VAE is in the stages
    denoiser = host.Denoiser(
        inputs,
        settings,
        host.References(reference),
        report=lambda take, step, predicted: None,
        noise=lambda latent, seed: noises[seed][None].clone(),
    )
    kept = {}
    stages = host.make_stages(denoiser, coder, host.Anchor(denoiser), lambda take: kept[take.source])

    def held(take, motion):
        record.motion.append(host.LATENT_FORMAT.process_in(motion)[0])
        result = stages.denoise(take, motion)
        record.steps[-1][-1] = host.LATENT_FORMAT.process_in(result)[0]
        return result

    def grade(take, frames):
        record.ungraded.append(video_of(frames))
        graded = stages.grade(take, frames)
        record.graded.append(video_of(graded))
        return graded

    frames = []
    for part in stream(first_takes(windows), replace(stages, denoise=held, grade=grade)):
        kept[part.take] = part.motion
        frames.append(part.frames)
    return record, torch.cat(frames)
