"""One sampler of a workflow looked over: its files, its scene, its windows, and what they will cost.

Puts together what the other files of this folder read. Knows no host: files and the machine come in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..config import FPS, VAE_SPACE
from ..memory import Job, fitting_frames, least_bytes
from ..model.kinds import LORA, MODEL
from ..reference import check_held, check_still
from ..sizes import size_text
from ..timeline import Window as Planned
from ..timeline import clock, latent_frames, plan, video_frames
from ..video import run_bytes
from .cost import Machine, Model, Window, activation_bytes, peak_bytes, streamed_bytes, window_seconds
from .graph import Graph
from .loaders import Open, read_weights
from .report import Report
from .scene import Locate, Scene, read_scene
from .settings import Sampling, read_sampling
from .weights import Weights

FEW_STEPS = 12  # fewer than this blur without a distillation LoRA
DISTILLED = ("lightx2v", "fusionx", "distill", "causvid", "accvid", "4step")  # in names: keys do not tell
MERGED = (*DISTILLED, "_lora")  # the reference's models with such a LoRA inside
FULL_WIDTH = 5120  # of Wan 14B, which the advice on steps is about


def check_sampler(  # noqa: PLR0913  # everything that a check looks at
    graph: Graph, sampler: str, locate: Locate, open_weight: Open, machine: Machine, report: Report
) -> None:
    """Tell what a sampler will do, and find what cannot work or works badly."""
    sampling = read_sampling(graph, sampler, report)
    scene = read_scene(graph, sampler, locate, report)
    weights = read_weights(graph, sampler, open_weight, report)
    weights.fit(report)
    weights.check_adapter(scene.voices or 1, report)
    _check_steps(sampling, weights, report)
    _check_reference(sampling, scene, report)  # as the run does, before it shortens windows
    sampling = _fitted(sampling, scene, weights.model(), machine)
    windows = _tell_plan(sampling, scene, report)
    if windows and scene.size:
        _tell_cost(sampling, scene, windows, weights, machine, report)


def _check_steps(sampling: Sampling, weights: Weights, report: Report) -> None:
    """Steps and scales against the LoRA: the commonest cause of a blurred or burnt picture."""
    if weights.base is None or weights.base.dim != FULL_WIDTH or sampling.steps is None:
        return
    marks = {LORA: DISTILLED, MODEL: MERGED}
    distilled = [w.name for w in weights.files if any(mark in w.name.lower() for mark in marks.get(w.role, ()))]
    text = sampling.guidance.at(0, sampling.steps).text if sampling.guidance else None
    if sampling.steps < FEW_STEPS and not distilled:
        report.warn(
            f"steps: {sampling.steps} without a distillation LoRA give a blurred picture.",
            "Load the LightX2V or FusionX LoRA, or use 40 steps.",
        )
    if distilled and text is not None and (sampling.steps >= FEW_STEPS or text > 1.5):
        report.warn(
            f"steps: {sampling.steps} steps at text scale {text:g} with {distilled[0]}, which was made for few steps "
            "at text scale 1.",
            "Choose its preset in InfiniteTalk Preset: 4 steps for LightX2V, 8 for FusionX, text scale 1.",
        )


def _check_reference(sampling: Sampling, scene: Scene, report: Report) -> None:
    """Settings that the picture or video they start from does not give."""
    if scene.held is not None and sampling.window is not None:
        report.attempt(check_held, sampling.window.frames, scene.held)
    if scene.still and sampling.strength is not None:
        report.attempt(check_still, sampling.strength, 0)
    if scene.still and sampling.cut:
        report.warn(
            "scenes: cuts of a source video are given, and the reference is a picture.",
            "Disconnect scenes, or use InfiniteTalk Video Reference.",
        )


def _fitted(sampling: Sampling, scene: Scene, model: Model | None, machine: Machine) -> Sampling:
    """With the window that InfiniteTalk Memory will make of it on this card."""
    window = sampling.window
    if not sampling.fit or None in (window, scene.size, model, machine.memory):
        return sampling
    job = Job(model.dim, *scene.size, window.frames, window.motion, 1, model.bytes, 0, model.width)
    return replace(sampling, window=replace(window, frames=fitting_frames(machine.memory, job)))


def _tell_plan(sampling: Sampling, scene: Scene, report: Report) -> tuple[Planned, ...]:
    """The windows; none while they are not known."""
    if sampling.window is None or scene.frames is None:
        return ()
    windows = plan(scene.frames, sampling.window, sampling.mode, begun=sampling.begun)
    frames = video_frames(windows)
    window, least = sampling.window, "at least " if sampling.cut else ""
    report.tell(
        "Plan",
        f"{least}{len(windows)} {'window' if len(windows) == 1 else 'windows'} of {window.frames} frames, "
        f"{window.motion} of them from the one before: {frames} frames, {frames / FPS:.2f} s of video",
    )
    if sampling.calls is not None:
        branches = len(sampling.guidance.branches(sampling.steps))
        report.tell(
            "Plan",
            f"{sampling.steps} steps, up to {branches} {'branch' if branches == 1 else 'branches'}: "
            f"{sampling.calls} model calls a window, {len(windows) * sampling.calls} in all",
        )
    return windows


def _tell_cost(  # noqa: PLR0913  # what a cost is made of
    sampling: Sampling, scene: Scene, windows: Sequence[Planned], weights: Weights, machine: Machine, report: Report
) -> None:
    """Disk, RAM, GPU memory and time of all windows."""
    height, width = scene.size
    window = Window(sampling.window.frames, height, width, sampling.calls or 0, sampling.window.motion)
    if not sampling.alone:
        _tell_disk(scene, window, windows, weights, machine, report)
    _tell_ram(weights, machine, report)
    model = weights.model()
    if model is None:
        return
    if machine.memory is not None:
        _tell_memory(model, window, machine, report)
    seconds = window_seconds(model, window, machine, weights.vae_width) if sampling.calls else None
    if seconds is not None:
        whole = _time(len(windows) * seconds)
        report.tell("Cost", f"time: about {_time(seconds)} a window, {whole} in all on {machine.name}, after loading")


def _tell_disk(  # noqa: PLR0913  # what lies on it
    scene: Scene, window: Window, windows: Sequence[Planned], weights: Weights, machine: Machine, report: Report
) -> None:
    """Too small a disk is a warning: what is there of the run already is not known here and counted as if nothing were.

    The run itself, which knows it, refuses a disk that lacks room for the rest before it samples.
    """
    frames = video_frames(windows)
    cells = (window.height // VAE_SPACE) * (window.width // VAE_SPACE)
    heard = scene.frames * (scene.voices or 1) * (weights.adapter.features if weights.adapter else 0)
    handed = (len(windows) - 1) * latent_frames(window.motion) * cells
    disk = run_bytes(window.width, window.height, frames, frames, handed, heard)
    report.tell("Cost", f"disk: about {size_text(disk)} of {size_text(machine.disk_free)} free")
    if disk > machine.disk_free:
        report.warn(
            f"disk: the run may need {size_text(disk)}, {size_text(machine.disk_free)} are free.",
            "Free some space, or start ComfyUI with --output-directory on another disk. A run that goes on needs room "
            "for what is not there yet.",
        )


def _tell_ram(weights: Weights, machine: Machine, report: Report) -> None:
    needed = sum({weight.name: weight.bytes for weight in weights.files}.values())  # one file can be two things
    if not needed:
        return
    report.tell(
        "Cost",
        f"RAM: {size_text(needed)} of model files, {size_text(machine.ram)} in this machine, "
        f"{size_text(machine.ram_free)} free now",
    )
    room = machine.ram + (machine.memory or 0)
    if needed > room:
        report.warn(
            f"RAM: the model files are {size_text(needed)}, this machine has {size_text(room)} of memory in all: they "
            "will be read from the disk again and again.",
            "Choose fp8 or GGUF files; the README's table of model files names them.",
        )


def _tell_memory(model: Model, window: Window, machine: Machine, report: Report) -> None:
    work, peak = activation_bytes(model, window), peak_bytes(model, window, machine.memory)
    streamed = streamed_bytes(model, window, machine.memory)
    report.tell(
        "Cost",
        f"GPU memory: peak about {size_text(peak)} of {size_text(machine.memory)}: {size_text(model.bytes)} of "
        f"weights, {size_text(work)} to work in",
    )
    if machine.free is not None:
        report.tell("Cost", f"GPU memory: {size_text(machine.free)} can be had now, the rest is other programs'")
    if streamed:
        report.tell("Cost", f"{size_text(streamed)} of the weights stay in RAM and are sent at every model call")
    least = least_bytes(work)
    if least > machine.memory:  # an estimate, and nodes may make a call smaller: no reason to stop a run
        report.warn(
            f"GPU memory: a window of {window.frames} frames at {window.width}x{window.height} needs about "
            f"{size_text(least)} at once, the card has {size_text(machine.memory)}.",
            "Connect InfiniteTalk Memory on 'fit my card' to the sampler, use fewer frames per window, such as 49 or "
            "33, or a smaller picture.",
        )


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)
