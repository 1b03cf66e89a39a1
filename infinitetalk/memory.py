"""How much memory a run needs, what trades speed for it, and which of that a card of a given size asks for.

Knows numbers and words only: sizes in bytes come in, a choice and its reasons go out. No torch, no host, no files.
Sources of the formulas: ComfyUI 0.30's own estimates, by which it decides what to keep on the card
(`model_base.py` memory_required with the factor of Wan, `sd.py` of the Wan 2.1 VAE, `samplers.py` for batches).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .config import VAE_SPACE, VAE_TIME
from .errors import InputError
from .timeline import latent_frames

FIT = "fit my card"
BY_HAND = "by hand"
BRANCHES = ("auto", "one by one")
VAES = ("auto", "tiled")
ADAPTERS = ("auto", "in RAM")

GIB, MIB = 2**30, 2**20
BATCH = 1.5  # times the estimate of a batch must be free before the host makes one
USED = 0.75  # of the host's estimate that a forward takes at most; measured: 0.54 on an H100, 0.69 in bf16 on a CPU
SURELY = 0.45  # that it takes at least: 0.49 in float32 on a CPU was the least measured
LEAST = GIB  # beside that: CUDA's own memory, and the buffers that layers kept in RAM are brought into
TILE, OVERLAP = 48, 16  # latent cells a side of a tile of the VAE, and shared with the next one
SHORTEST = 21  # frames: shorter windows are mostly the frames that they continue from


@dataclass(frozen=True)
class MemoryConfig:
    """What of speed is given for memory; "auto" leaves it to the host.

    fit: the rest is chosen by `fit` from the card's size, and the window shortened if nothing else makes it fit.
    branches: "one by one" never samples the guidance's branches as one batch. vae: "tiled" encodes and decodes in
    tiles of 384 pixels. adapter: "in RAM" keeps the audio branch there; its layers come to the card as they compute.
    """

    fit: bool = False
    branches: str = "auto"
    vae: str = "auto"
    adapter: str = "auto"

    def __post_init__(self):
        for name, known in (("branches", BRANCHES), ("vae", VAES), ("adapter", ADAPTERS)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"memory: {name} {value!r} is unknown.", f"Use one of {', '.join(known)}.")
        if self.fit and (self.branches, self.vae, self.adapter) != ("auto", "auto", "auto"):
            raise InputError("memory: fit chooses every setting, and some are given too.", "Use one or the other.")


@dataclass(frozen=True)
class Card:
    """total: bytes of the card; reserved: of them left to others (the host's reserve); free: what this run may use
    now, with what the host has loaded and can give back, but not the reserve."""

    total: int
    reserved: int
    free: int


@dataclass(frozen=True)
class Job:
    """What is sampled: the model's width, the picture in pixels, frames of a window and its motion frames, branches
    of a step, bytes of the base's and the adapter's weights, bytes per number of sampling and of the VAE; paged:
    whether the host brings single layers of the adapter to the card by itself."""

    dim: int
    height: int
    width: int
    frames: int
    motion: int
    branches: int
    base: int
    adapter: int
    element: int = 2
    vae_element: int = 2
    paged: bool = False

    def forward(self, frames: int) -> int:
        """The host's estimate of one branch's forward with a window of so many frames, bytes."""
        return forward_bytes(self.dim, self.height, self.width, frames, self.element)


@dataclass(frozen=True)
class Fitted:
    """memory: with fit off; frames: of a window; reasons: one line for each thing that was chosen."""

    memory: MemoryConfig
    frames: int
    reasons: tuple[str, ...]


def forward_bytes(dim: int, height: int, width: int, frames: int, element: int) -> int:
    """The host's estimate of one branch's forward without weights: the model's width, a window in pixels and frames,
    bytes per number.

    It covers the adapter: an audio attention needs two tensors of [tokens, width] where a block's FFN needs one of
    [tokens, 2.7 width] and more; the map and the rotation of several speakers stay below that too (docs/LOG.md).
    """
    cells = latent_frames(frames) * (height // VAE_SPACE) * (width // VAE_SPACE)
    return int(cells * element * 0.01 * dim / 2222 * MIB)


def least_bytes(forward: int, share: float = USED) -> int:
    """What a card must have for a forward of this estimate when every weight stays in RAM."""
    return int(share * forward) + LEAST


def vae_bytes(height: int, width: int, element: int) -> int:
    """The host's estimate of decoding a window without weights; encoding takes less. Independent of its length."""
    return 7000 * height * width * element


def tile_bytes(job: Job) -> int:
    """The same in tiles, and the whole window's frames in float32 twice: they are joined on the card."""
    side = TILE * VAE_SPACE
    whole = 2 * 4 * 3 * job.frames * job.height * job.width
    return vae_bytes(min(side, job.height), min(side, job.width), job.vae_element) + whole


def fit(card: Card, job: Job) -> Fitted:
    """What makes a job fit a card, the cheapest first, each with its reason.

    The window's length is decided by the card's size alone, so that a run that goes on has the same windows; the
    rest, which does not change the pictures, by what is free.
    """
    frames = fitting_frames(card.total - card.reserved, job)
    reasons = [] if frames == job.frames else [_shorter(card, job, frames)]
    memory, one = MemoryConfig(), job.forward(frames)
    if job.branches > 1 and job.base + job.adapter + BATCH * job.branches * one > card.free:
        memory = replace(memory, branches="one by one")
        reasons.append(
            f"branches one by one: {job.branches} at once want {_gib(BATCH * job.branches * one)} beside "
            f"{_gib(job.base + job.adapter)} of weights, {_gib(card.free)} can be had"
        )
    if not job.paged and job.base + one <= card.free < job.base + job.adapter + one:
        memory = replace(memory, adapter="in RAM")
        reasons.append(
            f"adapter in RAM: the model and one forward need {_gib(job.base + one)} of {_gib(card.free)}, "
            f"the adapter's {_gib(job.adapter)} are too much"
        )
    decode = vae_bytes(job.height, job.width, job.vae_element)
    if decode + LEAST > card.free:
        memory = replace(memory, vae="tiled")
        reasons.append(f"VAE in tiles: a whole window wants {_gib(decode)}, a tile {_gib(tile_bytes(job))}")
    if not reasons:
        reasons.append(f"everything as ComfyUI does it: {_gib(card.free)} are enough")
    return Fitted(memory, frames, tuple(reasons))


def fitting_frames(room: int, job: Job) -> int:
    """The window's length where `room` bytes of a card are ours: shorter only when one forward with all weights in RAM
    does not fit."""

    def fits(frames: int) -> bool:
        return least_bytes(job.forward(frames)) <= room

    shortest = max(SHORTEST, job.motion + VAE_TIME)
    if fits(job.frames) or job.frames <= shortest:
        return job.frames
    return next((n for n in range(job.frames - VAE_TIME, shortest, -VAE_TIME) if fits(n)), shortest)


def _shorter(card: Card, job: Job, frames: int) -> str:
    wanted, found = (_gib(USED * job.forward(n)) for n in (job.frames, frames))
    return (
        f"windows of {frames} frames instead of {job.frames}: a forward takes {found} instead of {wanted}, "
        f"this card has {_gib(card.total - card.reserved - LEAST)} for it; another length is another run"
    )


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"
