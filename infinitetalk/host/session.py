"""One call's sampling of a run: the takes that are missing, each made durable in the run's folder before the next.

Made for one call and dropped with it. Knows nothing of the finished video.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import comfy.model_management
import torch

from ..drift import measure, thumbs
from ..extend import last_frames
from ..run_folder import RunFolder
from ..segment import read_tail, write_segment
from ..step_cache import Tally
from ..stream import Finished, stream
from ..takes import Take
from ..voice_activity import with_gate
from .checks import sampled_sigmas
from .denoise import Denoiser, most_branches
from .features import kept_features
from .memory import with_memory
from .planned import Planned
from .progress import RunProgress, say
from .stages import Anchor, make_stages
from .step_cache import with_cache
from .vae import WanVae
from .video_reference import References, in_tiles


class Session:
    """Call sample(), and close() whatever happened. tally: of the step cache in this call."""

    def __init__(self, folder: RunFolder, run: Planned, todo: Sequence[Take], node_id: str | None):
        self._folder, self._run, self._todo = folder, run, todo
        self.tally = Tally()
        inputs, config = run.inputs, run.config
        features = kept_features(folder, inputs.features)
        if config.silence_gate:
            features = with_gate(features, _listened(node_id))
        self._steps = len(sampled_sigmas(inputs, config)) - 1
        self._progress = RunProgress(inputs.model, todo, self._steps, node_id, len(run.takes), run.frames)
        tiled = run.memory.vae == "tiled"
        model = with_memory(inputs.model, run.memory)
        reference = in_tiles(inputs.reference, tiled)
        sampled = replace(
            inputs, model=with_cache(model, config.cache, self.tally), features=features, reference=reference
        )
        branches = most_branches(run.takes, config, self._steps) if run.memory.branches == "auto" else 1
        self._references = References(reference, model, branches, tiled)
        self._following = dict(zip(todo, [*todo[1:], None], strict=True))
        self._denoiser = Denoiser(
            sampled, config, self._references, self._report, memory=run.memory, first=next(iter(todo), None)
        )
        self._vae = WanVae(inputs.vae, tiled)
        self._anchor = Anchor(self._denoiser)
        self._started: torch.Tensor | None = None  # small copies of a start's last frames, for the first window
        self._measured: dict[str, float] = {}
        self._tail = torch.empty(0)

    def sample(self, added: Callable[[], None]) -> None:
        """Sample the takes; added: called when one more is in the folder."""
        stages = replace(make_stages(self._denoiser, self._vae, self._anchor, self._continued), look=self._look)
        started, skipped = time.monotonic(), self.tally.skipped
        for finished in stream(self._todo, stages):
            take, frames = finished.take, self._blended(finished)
            kept = {} if finished.motion is None else {"motion": finished.motion.cpu(), "tail": self._tail}
            told = {
                "frames": len(frames),
                "seconds": round(time.monotonic() - started, 2),
                "skipped": self.tally.skipped - skipped,
                "drift": self._measured,
            }
            self._folder.finish(take, lambda part, frames=frames: write_segment(frames, part), kept, told)
            started, skipped = time.monotonic(), self.tally.skipped
            added()
            self._progress.finished(take, frames)

    def close(self) -> None:
        self._references.close()

    def _report(self, take: Take, step: int, predicted: torch.Tensor) -> None:
        self._progress.step(take, step, predicted)
        self._references.prepare(self._following[take])

    def _continued(self, take: Take) -> torch.Tensor:
        """The latent of the motion frames before a take."""
        if take.source:
            return self._folder.continued(take.source)["motion"]
        reference = self._run.inputs.reference
        frames = last_frames(self._run.wish.start, take.window.motion, reference.width, reference.height)
        self._started = thumbs(frames)
        return self._vae.encode(frames)

    def _look(self, take: Take, frames: torch.Tensor) -> None:
        before = self._folder.continued(take.source)["tail"] if take.source else self._started
        self._started = None
        self._measured = measure(take.window, frames, self._anchor.of(take), before)
        self._tail = thumbs(frames[-take.hand_on :]).cpu() if take.hand_on else torch.empty(0)

    def _blended(self, finished: Finished) -> torch.Tensor:
        """The new frames of a take; a redo's fade at their end into those that the kept next window continues from."""
        take, frames = finished.take, finished.frames
        if take.blend is None:
            return frames
        count = min(take.hand_on, len(frames))
        other = torch.as_tensor(read_tail(self._folder.segment(take.blend), count))
        share = torch.linspace(0, 1, count + 2)[1:-1].view(-1, 1, 1, 1)
        mixed = frames[-count:].float().lerp(other.float(), share)
        return torch.cat((frames[:-count], mixed.round().to(torch.uint8)))


def _listened(node_id: str | None) -> Callable[[int, int], None]:
    """While the silence gate listens: told and interruptible."""

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        say(f"Listening for silence: {100 * done // max(1, total)} %", node_id)

    return report
