"""A whole run: check, plan, stream the windows, write the video. The Sampler node's one call.

Everything of the run lives in this call; whatever ends it, the finished windows stay playable.
"""

from __future__ import annotations

import logging
import os
import shutil
from functools import partial
from pathlib import Path

import folder_paths

from ..colour import match_colour
from ..config import InputError, StreamConfig
from ..disk import check_writable
from ..reference import Reference
from ..stream import Stages, stream
from ..timeline import plan, video_frames
from ..video import VideoWriter, expected_bytes
from .conditioning import check_features
from .denoise import Denoiser, Inputs
from .progress import RunProgress
from .vae import WanVae

TEMP_PREFIX = "InfiniteTalk"
UNFINISHED_PREFIX = "InfiniteTalk/unfinished"


def render(inputs: Inputs, config: StreamConfig, node_id: str | None = None) -> Path:
    """Make the video, with its sound, in the host's temp folder.

    Raises InputError before sampling for inputs that cannot work together, and the host's interrupt
    when the user cancels; the finished windows are then moved to the output folder.
    """
    features, reference = inputs.features, inputs.reference
    check_run(inputs, config)
    windows = plan(features.frames, config.window, config.mode, config.seed)
    path = _temp_path(reference, video_frames(windows))
    progress = RunProgress(inputs.model, windows, len(inputs.sigmas) - 1, node_id)
    denoise = Denoiser(inputs, config, progress.step)
    vae = WanVae(inputs.vae)
    grade = partial(match_colour, reference=reference.picture, strength=config.colour)
    sound = (features.waveform, features.sample_rate)
    writer = VideoWriter(path, reference.width, reference.height, sound)
    done = 0
    try:
        for finished in stream(windows, reference.first, Stages(denoise, vae.decode, grade, vae.encode)):
            writer.add(finished.frames)
            done += 1
            progress.finished(finished.window, finished.frames)
        return writer.finish()
    except BaseException:
        # Cancel is a BaseException of the host; out of memory or a full disk must not lose frames either.
        _keep(writer, done, len(windows), progress)
        raise


def check_run(inputs: Inputs, config: StreamConfig) -> None:
    """Everything that can be refused before the first model call."""
    check_features(inputs.model, inputs.features)
    inputs.reference.conditioning(config.window.frames)
    WanVae(inputs.vae)
    if inputs.sigmas.ndim != 1 or len(inputs.sigmas) < 2:
        raise InputError(
            f"sigmas: {tuple(inputs.sigmas.shape)} is not a schedule of at least one step.",
            "Connect InfiniteTalk Schedule, or a scheduler with 1 or more steps and denoise above 0.",
        )
    for name, conditioning in (("positive", inputs.positive), ("negative", inputs.negative)):
        if not conditioning:
            raise InputError(f"{name}: the conditioning is empty.", "Connect a CLIP Text Encode.")


def _temp_path(reference: Reference, frames: int) -> Path:
    check_writable(folder_paths.get_output_directory())  # where the finished part goes when the run is stopped
    check_writable(folder_paths.get_temp_directory(), expected_bytes(reference.width, reference.height, frames))
    return _numbered(TEMP_PREFIX, folder_paths.get_temp_directory())


def _numbered(prefix: str, folder: str) -> Path:
    where, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder)
    return Path(where) / f"{name}_{counter:05}_.mp4"


def _keep(writer: VideoWriter, done: int, windows: int, progress: RunProgress) -> None:
    """Move what is finished to the output folder, or say where it is; what stopped the run stays the error."""
    try:
        kept = writer.abort(keep=done > 0)
        if kept is None:
            return
        target = _numbered(UNFINISHED_PREFIX, folder_paths.get_output_directory())
        shutil.move(kept, target)
    except (OSError, InputError) as error:
        logging.warning("InfiniteTalk: the finished windows could not be moved out of %s: %s", writer.path, error)
        return
    name = os.path.relpath(target, folder_paths.get_output_directory())
    logging.info("InfiniteTalk: %d of %d windows are kept in output/%s", done, windows, name)
    progress.say(f"Stopped: {done} of {windows} windows are kept in output/{name}")
