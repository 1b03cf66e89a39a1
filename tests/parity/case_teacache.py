"""TeaCache: when the blocks are skipped, and what two windows look like when they are.

The recorded run with two model calls a step shows the reference's slots, counted modulo three over calls
and windows, mixing the branches. It is reproduced by giving our rule those slots for keys; our own keys keep
the branches apart, and must then decide differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import torch

from infinitetalk.buckets import nearest, resize_crop
from infinitetalk.config import StreamConfig, WindowConfig
from infinitetalk.features import AudioFeatures
from infinitetalk.reference import Reference, padded_video
from infinitetalk.schedule import flow_sigmas
from infinitetalk.settings import CacheConfig, GuidanceConfig
from infinitetalk.sound import MemorySound
from infinitetalk.step_cache import POLYNOMIALS, WARM_UP, Tally, TeaCache, relative_change
from infinitetalk.stream import stream
from infinitetalk.takes import Take, first_takes
from infinitetalk.timeline import Window, plan

from . import host, rule
from .registry import Golden, Result, case, error

LATENT = 1e-4
SLOTS = 3  # of the reference, whatever the number of calls in a step


@case("teacache/rule")
def decisions(golden: Golden) -> Iterator[Result]:
    machine = host.Machine(golden.weights("dit"))
    steps = golden.config["steps"]
    for kind, shift in golden.config["shift"].items():
        label = kind.rpartition("-")[2]
        times = flow_sigmas(steps, shift)[:-1] * 1000
        yield Result("timesteps", error(times, golden[f"{label}.timesteps"]), 1e-3)
        embeddings = [_embedding(machine, golden, time) for time in golden[f"{label}.timesteps"]]
        seen = torch.stack([e0.flatten()[::16] for e0 in embeddings])
        yield Result("e0", error(seen, golden[f"{label}.e0_every16"]), 5e-5)
        moved = [relative_change(new, old) for old, new in zip(embeddings, embeddings[1:], strict=False)]
        yield Result("rel_l1", error(torch.tensor(moved, dtype=torch.float64), golden[f"{label}.rel_l1"]), 1e-5)
        for threshold in golden.config["thresholds"]:
            name = f"{label}.thresh{threshold}"
            computed, accumulated = _decide(embeddings, threshold, POLYNOMIALS[label])
            yield Result("computed", error(computed, golden[f"{name}.computed"]), 0)
            yield Result("accumulated", error(accumulated, golden[f"{name}.accumulated_after"]), 1e-3)


def _embedding(machine, golden: Golden, time: torch.Tensor) -> torch.Tensor:
    """e0 at a timestep, out of the model's whole forward."""
    inputs = {
        "c_concat": golden.inp("input.y"),
        "c_crossattn": host.padded_text(golden.inp("input.context")),
        "clip_fea": golden.inp("input.clip_fea"),
    }
    with machine.watched() as seen:
        machine.velocity(golden.inp("input.x")[None], time[None] / 1000, inputs)
    return seen["time_projection"][0]


def _decide(embeddings: list[torch.Tensor], threshold: float, coefficients: tuple[float, ...]):
    """[steps, 3] computed and accumulated distance of three branches that run one after the other."""
    cache, computed, accumulated = TeaCache(threshold, coefficients), [], []
    for e0 in embeddings:
        computed.append([cache.decide({branch: e0}) for branch in range(3)])
        accumulated.append([cache.slots[branch].accumulated for branch in range(3)])
    return torch.tensor(computed), torch.tensor(accumulated, dtype=torch.float64)


@case("teacache/three_calls")
def three_calls(golden: Golden) -> Iterator[Result]:
    run = Run(golden, "three_calls")
    tally = Tally()
    latents, computed = run.sample(partial(_ours, run, tally))
    yield from _compare(run, latents, computed)
    yield Result("computed_count", abs(tally.computed - sum(computed)), 0)
    yield Result("skipped_count", abs(tally.skipped - (len(computed) - sum(computed))), 0)


@case("teacache/two_calls")
def two_calls(golden: Golden) -> Iterator[Result]:
    run = Run(golden, "two_calls")
    latents, computed = run.sample(partial(_counting, run))
    yield from _compare(run, latents, computed)
    ours, apart = run.sample(partial(_ours, run, Tally()))
    for branch in range(2):
        calls = apart[branch::2]
        fresh = [calls[window * run.steps : window * run.steps + WARM_UP] for window in range(2)]
        yield Result("ours_warms_up_afresh", error(torch.tensor(fresh).float(), torch.ones(2, 5)), 0)
    yield Result("ours_decides_apart", float(apart == computed), 0)
    yield Result("ours_skips", float(all(apart)), 0)
    same = min(error(a, b) for a, b in zip(ours, latents, strict=True)) < LATENT
    yield Result("ours_looks_different", float(same), 0)


def _compare(run: Run, latents: list[torch.Tensor], computed: list[int]) -> Iterator[Result]:
    counts, lap = torch.arange(len(computed)), SLOTS * run.steps
    calls = torch.stack((counts % lap, counts % lap % SLOTS, torch.tensor(computed)), dim=1)
    yield Result("calls", error(calls, run.golden[f"{run.name}.calls_cnt_slot_computed"]), 0)
    yield Result("counter", abs(len(computed) % lap - run.config["cnt_at_end"]), 0)
    for n, latent in enumerate(latents):
        yield Result(f"w{n}.latent", error(latent, run.golden[f"{run.name}.w{n}.latent"]), LATENT)


def _ours(run: Run, tally: Tally, model):
    from infinitetalk.host.step_cache import with_cache

    return with_cache(model, CacheConfig(threshold=run.config["thresh"]), tally)


def _counting(run: Run, model):
    """The reference's cache: one state for the whole generation, its slots counted over all calls."""
    from infinitetalk.host.block_cache import BlockCache, install
    from infinitetalk.host.step_cache import by_embedding

    rule, calls = TeaCache(run.config["thresh"], POLYNOMIALS["480"]), iter(range(1000))

    def slot(options):
        lap, count = divmod(next(calls), SLOTS * run.steps)  # at the end of a lap the first calls are computed again
        return {(lap, count % SLOTS): ""}

    cache = BlockCache(by_embedding(rule), Tally(), keys=slot)
    model = model.clone()
    install(model.model_options["transformer_options"], len(run.machine.plain.model.diffusion_model.blocks), cache)
    return model


@dataclass
class Run:
    """The recorded sampling of two windows, through what the Sampler node uses, one branch in each model call."""

    golden: Golden
    name: str
    config: dict = field(init=False)
    steps: int = field(init=False)

    def __post_init__(self):
        self.config = self.golden.config["sampling"][self.name]
        self.steps = self.config["steps"]
        self.machine = host.Machine(self.golden.weights("dit"))
        self.coder = host.WanVae(host.make_vae(self.golden.weights("vae")))

    def sample(self, cached) -> tuple[list[torch.Tensor], list[int]]:
        """(final latent of each window, 1 for each model call whose blocks ran); cached(model) puts the cache on."""
        golden, config = self.golden, self.config
        window = WindowConfig(config["frame_num"], config["motion_frame"])
        windows = plan(config["audio_frames"], window)
        assert [[w.start, w.end] for w in windows] == config["windows"]
        settings = StreamConfig(
            window, GuidanceConfig(config["text_scale"], config["audio_scale"]), colour=0.0, tail="mirror"
        )
        reference = self._reference()
        model, calls = _watched(cached(_one_by_one(self.machine.model)))
        texts = [[[host.padded_text(golden.inp(key)), {}]] for key in ("input.context", "input.context_null")]
        sigmas = flow_sigmas(self.steps, config["shift"])
        sampler = host.recording_euler([], [])
        inputs = host.Inputs(model, None, *texts, self._voice(), reference, sampler, sigmas)
        noises = {w.seed: self._noise(w, reference) for w in windows}
        denoiser = host.Denoiser(
            inputs,
            settings,
            host.References(reference),
            report=lambda take, step, predicted: None,
            noise=lambda latent, seed: noises[seed].clone(),
        )
        kept, latents = {}, []
        stages = host.make_stages(denoiser, self.coder, host.Anchor(denoiser), lambda take: kept[take.source])

        def denoise(take: Take, held: torch.Tensor) -> torch.Tensor:
            latent = stages.denoise(take, held)
            latents.append(host.LATENT_FORMAT.process_in(latent)[0])
            return latent

        first_block = self.machine.plain.model.diffusion_model.blocks[0]
        hook = first_block.register_forward_hook(lambda *args: calls.__setitem__(-1, 1))
        try:
            for part in stream(first_takes(windows), replace(stages, denoise=denoise)):
                kept[part.take] = part.motion
        finally:
            hook.remove()
        return latents, calls

    def _reference(self) -> Reference:
        golden, size = self.golden, self.config["image"][:2]
        table = {float(ratio): tuple(target) for ratio, (target, _) in golden.config["buckets"].items()}
        picture = torch.as_tensor(resize_crop(golden.inp("input.image"), *nearest(*size, table))).float() / 255
        clip = SimpleNamespace(penultimate_hidden_states=golden.inp("input.clip_fea"))
        return Reference(picture, self.coder.encode(padded_video(picture, self.config["frame_num"])), clip, tuple(size))

    def _voice(self) -> AudioFeatures:
        speech = self.golden.inp("input.audio.person1")
        silent = MemorySound(torch.zeros(1, 1, 16_000), 16_000)
        return AudioFeatures(speech, speech.new_zeros(1, *speech.shape[1:]), silent, "recorded")

    def _noise(self, window: Window, reference: Reference) -> torch.Tensor:
        shape = (16, (window.frames - 1) // 4 + 1, *reference.latent.shape[-2:])
        return torch.from_numpy(rule.inp(f"noise.w{window.index}", shape, self.golden.seed))[None]


def _one_by_one(model):
    """A clone of `model` that runs the branches of a step in calls of their own, as the reference does."""
    import comfy.samplers

    def batches(args):
        rest = args["input"], args["sigma"], args["model_options"]
        return [comfy.samplers.calc_cond_batch(args["model"], [cond], *rest)[0] for cond in args["conds"]]

    model = model.clone()
    model.set_model_sampler_calc_cond_batch_function(batches)
    return model


def _watched(model) -> tuple[object, list[int]]:
    """A clone of `model` and a list that gets a 0 for each model call."""
    from comfy.patcher_extension import WrappersMP

    calls: list[int] = []

    def count(executor, *args, **kwargs):
        calls.append(0)
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count", count)
    return model, calls
