"""A whole run: check, plan, stream the windows, write the video. The Sampler node's one call.

Everything of the run lives in this call; whatever ends it, the finished windows stay playable.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import folder_paths
import torch

from ..colour import match_colour
from ..config import StreamConfig
from ..disk import check_writable, discard, publish
from ..errors import InputError
from ..reference import Reference
from ..regions import check_regions
from ..schedule import last_steps
from ..step_cache import Tally
from ..stream import Stages, stream
from ..timeline import Window, plan, video_frames
from ..video import VideoWriter, expected_bytes
from .conditioning import check_features
from .denoise import Denoiser, Inputs
from .progress import RunProgress
from .step_cache import check_cache, finish_cache, other_cache, with_cache
from .vae import WanVae, check_vae
from .video_reference import References

TEMP_PREFIX = "InfiniteTalk"
UNFINISHED_PREFIX = "InfiniteTalk/unfinished"


@dataclass(frozen=True)
class Rendered:
    """The video's path; forwards of the model that our step cache skipped; a line on that for the user."""

    path: Path
    skipped: int
    report: str


def render(inputs: Inputs, config: StreamConfig, node_id: str | None = None) -> Rendered:
    """Make the video, with its sound, in the host's temp folder.

    Raises InputError before sampling for inputs that cannot work together, and the host's interrupt
    when the user cancels; the finished windows are then moved to the output folder.
    """
    features, reference = inputs.features, inputs.reference
    check_run(inputs, config)
    windows = plan(features.frames, config.window, config.mode, config.seed, config.cuts)
    path = _temp_path(reference, video_frames(windows))
    steps = len(_sigmas(inputs, config)) - 1
    progress = RunProgress(inputs.model, windows, steps, node_id)
    tally = Tally()
    cached = replace(inputs, model=with_cache(inputs.model, config.cache, tally))
    references = References(reference, inputs.model, len(config.guidance.branches(steps)))
    following = dict(zip(windows, [*windows[1:], None], strict=True))

    def report(window: Window, step: int, predicted: torch.Tensor) -> None:
        progress.step(window, step, predicted)
        references.prepare(following[window])

    denoiser = Denoiser(cached, config, references, report)
    writer = VideoWriter(path, reference.width, reference.height, (features.waveform, features.sample_rate))
    done = 0
    try:
        for finished in stream(windows, make_stages(denoiser, WanVae(inputs.vae))):
            writer.add(finished.frames)
            done += 1
            progress.finished(finished.window, finished.frames)
        path, saved = writer.finish(), finish_cache(config.cache, tally) or other_cache(inputs.model)
    except BaseException:
        # Cancel is a BaseException of the host; out of memory or a full disk must not lose frames either.
        _keep(writer, done, len(windows), progress)
        raise
    finally:
        references.close()
    progress.say(f"{done} windows, {video_frames(windows)} frames. {saved}".strip())
    return Rendered(path, tally.skipped, saved)


def make_stages(denoiser: Denoiser, vae: WanVae) -> Stages:
    """The stages of the run that `denoiser` belongs to."""
    references, config = denoiser.references, denoiser.config
    anchor: list[torch.Tensor] = []  # the picture the colours are pulled to

    def denoise(window: Window, held: torch.Tensor) -> torch.Tensor:
        latent = denoiser(window, held)
        references.settle()
        return latent

    def grade(window: Window, frames: torch.Tensor) -> torch.Tensor:
        if config.colour_reference == "window" or not window.motion:
            anchor[:] = [references.at(window).picture]
        return match_colour(frames, anchor[0], config.colour)

    return Stages(lambda window: references.at(window).first, denoise, vae.decode, grade, vae.encode)


def check_run(inputs: Inputs, config: StreamConfig) -> None:
    """Everything that can be refused before the first model call."""
    check_features(inputs.model, inputs.features)
    check_regions(inputs.features, inputs.reference)
    inputs.reference.conditioning(config.window.frames)
    check_vae(inputs.vae)
    if inputs.reference.still:
        _check_still(config)
    if inputs.sigmas.ndim != 1 or len(inputs.sigmas) < 2 or not torch.isfinite(inputs.sigmas).all():
        raise InputError(
            f"sigmas: {tuple(inputs.sigmas.shape)} is not a schedule of at least one step in plain numbers.",
            "Connect InfiniteTalk Schedule, or a scheduler with 1 or more steps and denoise above 0.",
        )
    check_cache(inputs.model, config.cache, config.guidance, _sigmas(inputs, config))
    for name, conditioning in (("positive", inputs.positive), ("negative", inputs.negative)):
        if not conditioning:
            raise InputError(f"{name}: the conditioning is empty.", "Connect a CLIP Text Encode.")
        wanted = inputs.model.get_model_object("diffusion_model").text_dim
        for embedding, _ in conditioning:
            if embedding.shape[-1] != wanted:
                raise InputError(
                    f"{name}: the text embeddings are {embedding.shape[-1]} wide, the model takes {wanted}.",
                    "Encode the prompt with umt5_xxl (Load CLIP, type wan).",
                )


def _sigmas(inputs: Inputs, config: StreamConfig) -> torch.Tensor:
    """Of the steps that a window samples."""
    return last_steps(inputs.sigmas, config.source_strength)


def _check_still(config: StreamConfig) -> None:
    """Refuse what only a source video can give."""
    remedy = "use InfiniteTalk Video Reference."
    if config.source_strength < 1.0:
        raise InputError(
            f"source_strength: {config.source_strength} starts from a source video, and the reference is a picture.",
            f"Set source_strength to 1, or {remedy}",
        )
    if config.cuts:
        raise InputError(
            f"scenes: {len(config.cuts)} cuts of a source video are given, and the reference is a picture.",
            f"Disconnect scenes, or {remedy}",
        )


def _temp_path(reference: Reference, frames: int) -> Path:
    check_writable(folder_paths.get_output_directory())  # where the finished part goes when the run is stopped
    check_writable(folder_paths.get_temp_directory(), expected_bytes(reference.width, reference.height, frames))
    return _numbered(TEMP_PREFIX, folder_paths.get_temp_directory())


def _numbered(prefix: str, folder: str) -> Path:
    where, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder)
    return Path(where) / f"{name}_{counter:05}_.mp4"


def _move(source: Path, target: Path) -> None:
    """Move a file, to another disk too; the target appears whole or not at all."""
    part = target.with_name(f"{target.stem}.part.mp4")
    try:
        shutil.copyfile(source, part)
        publish(part, target)
    finally:
        discard(part)
    source.unlink()


def _keep(writer: VideoWriter, done: int, windows: int, progress: RunProgress) -> None:
    """Move what is finished to the output folder, or say where it is; what stopped the run stays the error."""
    try:
        kept = writer.abort(keep=done > 0)
        if kept is None:
            return
        target = _numbered(UNFINISHED_PREFIX, folder_paths.get_output_directory())
        _move(kept, target)
    except (OSError, InputError) as error:
        logging.warning("InfiniteTalk: the finished windows could not be moved to the output folder: %s", error)
        progress.say(
            f"Stopped: {done} of {windows} windows are in {writer.path}; copy them before ComfyUI starts again"
        )
        return
    name = os.path.relpath(target, folder_paths.get_output_directory())
    logging.info("InfiniteTalk: %d of %d windows are kept in output/%s", done, windows, name)
    progress.say(f"Stopped: {done} of {windows} windows are kept in output/{name}")
