"""The whole loop: our stream, guidance, denoiser and colour correction on the host's model, sampler seam and VAE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch

from infinitetalk.buckets import nearest, resize_crop
from infinitetalk.colour import match_colour
from infinitetalk.config import GuidanceConfig, StreamConfig, WindowConfig
from infinitetalk.features import AudioFeatures
from infinitetalk.reference import Reference, padded_video
from infinitetalk.schedule import flow_sigmas
from infinitetalk.stream import Stages, stream
from infinitetalk.timeline import plan, video_frames

from . import host
from .case_vae import video_of
from .registry import Golden, Result, case, error

LATENT = 1e-3
DECODED = 2e-3


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
    config = golden.config
    coder = host.WanVae(host.make_vae(golden.weights("vae")))
    table = {float(ratio): tuple(size) for ratio, (size, _) in config["buckets"].items()}
    picture_u8 = resize_crop(golden.inp("input.image"), *nearest(*config["source_hw"], table))
    picture = torch.as_tensor(picture_u8).float() / 255
    clip = SimpleNamespace(penultimate_hidden_states=golden.inp("input.clip_fea.frame0"))
    reference = Reference(picture, coder.encode(padded_video(picture, config["frame_num"])), clip)

    window = WindowConfig(config["frame_num"], config["motion_frame"])
    guidance = GuidanceConfig(config["text_scale"], config["audio_scale"])
    settings = StreamConfig(window, guidance, colour=config["colour_strength"], tail="mirror")
    total = min(config["audio_frames"][0], config["max_frames_num"])
    windows = plan(total, window)
    sigmas = flow_sigmas(config["steps"], config["shift"])

    yield Result("windows", error(torch.tensor([[w.start, w.end] for w in windows]), golden["windows"]), 0)
    yield Result("frame_count", abs(video_frames(windows) - config["results"]["final_frames"]), 0)
    yield Result("reference_frame", error(torch.tensor([w.start for w in windows]), golden["reference_frame"]), 0)
    yield Result("reference_frame", error(torch.zeros(len(windows)), golden["reference_frame_used"]), 0)
    yield Result("timesteps", error(sigmas * 1000, golden["timesteps"]), 1e-3)
    latent = host.LATENT_FORMAT.process_in(reference.latent)[0]
    mask = torch.zeros(4, *latent.shape[1:])
    mask[:, 0] = 1
    record, frames = _run(golden, coder, reference, settings, (windows, sigmas))
    yield Result("picture", error(torch.as_tensor(picture_u8), golden["w0.cond_image_u8"]), 1)
    yield Result("conditioning", error(torch.cat((mask, latent)), golden["w0.y"]), LATENT)
    for n in range(len(windows)):
        yield Result("motion_latent", error(record.motion[n], golden[f"w{n}.motion_latent"]), LATENT)
        yield Result("latents", error(record.steps[n], golden[f"w{n}.latent_steps"]), LATENT)
        yield Result("guided", error(record.guided[n], golden[f"w{n}.guided"]), LATENT)
        yield Result("decoded", error(record.graded[n], golden[f"w{n}.decoded"].float()), DECODED)
        if f"w{n}.decoded_before_colour" in golden:
            before = golden[f"w{n}.decoded_before_colour"].float()
            yield Result("decoded_before_colour", error(record.ungraded[n][:, ::4], before), DECODED)
    yield Result("video", error(frames, golden["video_u8"]), 1)


def _run(golden: Golden, coder, reference: Reference, settings: StreamConfig, schedule) -> tuple[Record, torch.Tensor]:
    """Everything through the classes that the Sampler node uses; only the noise and the recording are ours."""
    from infinitetalk.host.denoise import Denoiser, Inputs

    windows, sigmas = schedule
    machine = host.Machine(golden.weights("dit"))
    record = Record()
    speech = golden.inp("input.audio.person1")
    features = AudioFeatures(speech, speech.new_zeros(1, *speech.shape[1:]), torch.zeros(1, 1, 16000), 16000)
    noises = {w.seed: golden.inp(f"noise.w{w.index}") for w in windows}
    texts = [[[host.padded_text(golden.inp(key)), {}]] for key in ("input.context", "input.context_null")]
    inputs = Inputs(
        machine.model,
        None,  # the VAE is given to the stages
        *texts,
        features,
        reference,
        host.recording_euler(record.steps, record.guided),
        sigmas,
    )
    denoise = Denoiser(
        inputs,
        settings,
        report=lambda window, step, predicted: None,
        noise=lambda latent, seed: noises[seed][None].clone(),
    )

    def held(window, motion):
        record.motion.append(host.LATENT_FORMAT.process_in(motion)[0])
        result = denoise(window, motion)
        record.steps[-1][-1] = host.LATENT_FORMAT.process_in(result)[0]
        return result

    def grade(frames):
        record.ungraded.append(video_of(frames))
        graded = match_colour(frames, reference.picture, settings.colour)
        record.graded.append(video_of(graded))
        return graded

    finished = stream(windows, reference.first, Stages(held, coder.decode, grade, coder.encode))
    return record, torch.cat([part.frames for part in finished])
