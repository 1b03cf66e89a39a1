"""The published sizes with random weights on this machine's GPU: seconds per step and window, and peak memory.

python3 dev.py bench full_size [--steps 2] [--text 5] [--audio 4] [--speakers 1] [--video]
Two windows of 81 frames at 640x640, from the Sampler node's own code: Wan2.1 I2V 14B and the adapter in bf16, the
Wan VAE at its real width. Pictures are noise. --speakers: so many, in equal columns; --video: a source video is the
reference, encoded for every window. `--tiny` runs the same on a CPU at toy sizes, to try the harness.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from demo import small_model
from tests.inprocess import use_host

from .report import Report
from .stream import Clock

FULL = {"dim": 5120, "layers": 40, "ffn": 13824, "vae": 96, "pixels": 640, "frames": 81}
OVERHEAD = 1.08  # the audio attention is 5 % of a block by its arithmetic
OVERLAPPING = ("waiting for the reference",)  # the VAE's time is in it
TINY = {"dim": 256, "layers": 2, "ffn": 256, "vae": 8, "pixels": 64, "frames": 9}


def motion_frames(size: dict) -> int:
    """The published number, or one that fits the small windows of --tiny."""
    return 9 if size["frames"] > 9 else 5


def build(size: dict, steps: int, windows: int = 2):
    """The inputs of a run on the host's devices; the weights are the same in every process on a kind of device."""
    import comfy.sd
    import torch
    from safetensors.torch import save_file

    from infinitetalk.host.attach import attach
    from infinitetalk.host.loading import load_adapter_file
    from tests.host.layouts import adapter_tensors, base_tensors

    torch.manual_seed(0)
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with place:
        base = {
            k: v.to("cpu", torch.bfloat16)
            for k, v in base_tensors(size["dim"], size["layers"], ffn=size["ffn"]).items()
        }
        adapter = adapter_tensors(size["dim"], size["layers"], 12 * 768)
        adapter = {k: v.to("cpu", torch.bfloat16) for k, v in adapter.items()}
    if place.type == "cuda":  # of making the weights; nothing of the product has run yet
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    plain = comfy.sd.load_diffusion_model_state_dict(base)
    with tempfile.TemporaryDirectory() as folder:
        save_file(adapter, Path(folder) / "adapter.safetensors")
        patch = load_adapter_file(str(Path(folder) / "adapter.safetensors"))
    small_model.VAE_WIDTH = size["vae"]
    vae = comfy.sd.VAE(sd=small_model.weights(small_model.vae_shapes(), torch.float32))
    return inputs_of(attach(plain, patch), vae, size, steps, windows)


def inputs_of(model, vae, size: dict, steps: int, windows: int):
    """The inputs of a run of `windows` windows on a MODEL with the adapter: random speech, texts and picture."""
    import comfy.samplers
    import torch

    from infinitetalk.features import AudioFeatures
    from infinitetalk.host.denoise import Inputs
    from infinitetalk.host.vae import WanVae
    from infinitetalk.reference import Reference, padded_video
    from infinitetalk.schedule import flow_sigmas
    from infinitetalk.sound import MemorySound

    torch.manual_seed(0)
    picture = torch.rand(size["pixels"], size["pixels"], 3)
    clip = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 257, 1280))
    reference = Reference(picture, WanVae(vae).encode(padded_video(picture, size["frames"])), clip)
    motion = motion_frames(size)
    total = size["frames"] + (windows - 1) * (size["frames"] - motion)
    sound = torch.zeros(1, 1, total * 640)
    features = AudioFeatures(
        torch.randn(total, 12, 768), torch.randn(100, 12, 768), MemorySound(sound, 16_000), "bench"
    )
    texts = [[[torch.randn(1, 512, 4096), {}]] for _ in range(2)]
    sampler = comfy.samplers.sampler_object("euler")
    return Inputs(model, vae, *texts, features, reference, sampler, flow_sigmas(steps, 7.0))


def with_speakers(inputs, count: int):
    """The same inputs with `count` voices in equal columns."""
    import torch

    from infinitetalk.regions import Canvas, assign
    from infinitetalk.speakers import Speakers

    if count == 1:
        return inputs
    voice, size = inputs.features, inputs.reference.source
    voices = tuple(replace(voice, speech=torch.randn_like(voice.speech)) for _ in range(count))
    regions, _ = assign([None] * count, [f"speaker {n + 1}" for n in range(count)], Canvas(size, size))
    return replace(inputs, features=Speakers(voices, regions, voice.sound))


def with_video(inputs):
    """The same inputs with a moving source of the reference's size, and the fixed CLIP features."""
    import torch

    from infinitetalk.host.reference import make_video_reference
    from infinitetalk.source import PictureSource

    source = PictureSource(torch.rand(8, *inputs.reference.source, 3), 1.0)
    video = make_video_reference(source, inputs.vae, inputs.reference.source, inputs.reference.clip)
    return replace(inputs, reference=video)


def plain_seconds(inputs, size: dict, steps: int, clock: Clock) -> float:
    """Seconds of one branch of one step of the same model without the adapter, sampled by the host alone."""
    import comfy.samplers
    import torch
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.host.attach import detach
    from infinitetalk.reference import latent_shape
    from infinitetalk.timeline import Window

    reference = inputs.reference.at(Window(0, 0, size["frames"], 0, 0, 0))
    latent = reference.latent
    mask = torch.ones(1, 1, *latent.shape[2:])
    given = {"concat_latent_image": latent, "concat_mask": mask, "clip_vision_output": reference.clip}
    conds = [[[text[0][0], given]] for text in (inputs.positive, inputs.negative)]
    model = detach(inputs.model)
    model.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, "bench")
    model.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL,
        "bench",
        lambda executor, *args, **kwargs: clock.around("plain", executor)(*args, **kwargs),
    )
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    empty = torch.zeros(latent_shape(inputs.reference, size["frames"]))
    for _ in range(2):  # the first one warms up
        clock.seconds.pop("plain", None)
        guider.sample(torch.randn_like(empty), empty, inputs.sampler, inputs.sigmas, seed=0)
    return clock.seconds["plain"] / steps


def timed_model(inputs, clock: Clock) -> list:
    """Time every model call, VAE call, colour correction and audio projection of a run; the calls' shapes."""
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.host import denoise, run, session, stages, vae, video_reference

    calls = []

    def forward(executor, x, *args, **kwargs):
        calls.append((tuple(x.shape), x.device.type, x.dtype))
        return clock.around("DiT", executor)(x, *args, **kwargs)

    inputs.model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "bench", forward)
    vae.WanVae.encode = clock.around("VAE", vae.WanVae.encode)
    vae.WanVae.decode = clock.around("VAE", vae.WanVae.decode)
    stages.match_colour = clock.around("colour", stages.match_colour)
    session.measure = clock.around("drift", session.measure)
    run.RunFolder.finish = clock.around("keeping the window", run.RunFolder.finish)
    run.Outputs.finish = clock.around("joining", run.Outputs.finish)
    run.Outputs.add = clock.around("growing file", run.Outputs.add)
    denoise.window_tokens = clock.around("audio", denoise.window_tokens)
    waiting = video_reference.References
    waiting.at = clock.around("waiting for the reference", waiting.at)
    waiting.settle = clock.around("waiting for the reference", waiting.settle)
    return calls


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench full_size", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--text", type=float, default=5.0)
    parser.add_argument("--audio", type=float, default=4.0)
    parser.add_argument("--speakers", type=int, default=1)
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    size = TINY if options.tiny else FULL
    use_host(cpu=options.tiny)
    import torch

    from infinitetalk.config import StreamConfig, WindowConfig
    from infinitetalk.host import run
    from infinitetalk.settings import GuidanceConfig
    from tests.host.machine import folders

    if not options.tiny and not torch.cuda.is_available():
        print("full_size: this machine has no CUDA GPU; --tiny tries the harness on a CPU.")
        return 1
    report, clock = Report("full_size"), Clock(synchronize=not options.tiny)
    with torch.inference_mode():  # as the host runs nodes
        inputs = with_speakers(build(size, options.steps), options.speakers)
        inputs = with_video(inputs) if options.video else inputs
    calls = timed_model(inputs, clock)
    guidance = GuidanceConfig(options.text, options.audio)
    config = StreamConfig(WindowConfig(size["frames"], motion_frames(size)), guidance)
    with tempfile.TemporaryDirectory() as folder, folders(Path(folder)), torch.inference_mode():
        for name, settings in (("first", config), ("warm", replace(config, seed=1))):
            clock.seconds.clear()
            calls.clear()
            start = time.perf_counter()
            path = run.render(inputs, settings).path
            whole = time.perf_counter() - start
            print(f"{name} run: {path.stat().st_size / 1e6:.1f} MB of mp4, {len(calls)} model calls of {set(calls)}")
            for part, seconds in sorted(clock.seconds.items()):
                report.figure(f"{part}, per window", seconds / 2, "s")
            rest = whole - sum(seconds for part, seconds in clock.seconds.items() if part not in OVERLAPPING)
            report.figure("rest, per window", rest / 2, "s")
            report.figure("whole window", whole / 2, "s")
        branch = clock.seconds["DiT"] / (2 * options.steps * len(guidance.branches(options.steps)))
        report.figure("rest, share of the warm run", 100 * rest / whole, "%", 5)
        plain = plain_seconds(inputs, size, options.steps, clock)
    report.figure("one branch of one step", branch, "s")
    report.figure("the same without the adapter", plain, "s")
    report.figure("with the adapter against without", branch / plain, "times", OVERHEAD)
    if torch.cuda.is_available():
        report.figure("peak GPU memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
    return report.verdict()


if __name__ == "__main__":
    sys.exit(main())
