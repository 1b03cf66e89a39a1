"""The transformer's blocks under a cache: replacements of every block that ask a rule and keep the residuals.

The host calls `patches_replace["dit"][("double_block", i)]` in place of a block; ours stand over whatever
stood there before. The residual of a branch is what all blocks together, other nodes' patches between them
included, added to the tokens. Knows the host's way of calling blocks, no rule and no sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch

from ..step_cache import Tally, magnitude_ratio
from .guider import BRANCHES, step_of

_CALL = "infinitetalk_cache_call"
_PLAIN_CFG = ("cond", "uncond")  # what the host's own guidance calls, in its order

Decide = Callable[[dict[Hashable, str], torch.Tensor, dict], bool]  # (branch names by key, e0, options) -> compute


def install(options: dict, blocks: int, cache: BlockCache) -> None:
    """Put `cache` around every block, in transformer_options that are the caller's own."""
    replaced = options.setdefault("patches_replace", {}).setdefault("dit", {})
    for index in range(blocks):
        name = ("double_block", index)
        replaced[name] = CachedBlock(cache, index == 0, index == blocks - 1, replaced.get(name))


@dataclass
class _Call:
    """One forward: the branches in it, the tokens before the blocks, and whether the blocks run."""

    branches: dict[Hashable, str]
    before: torch.Tensor
    compute: bool


@dataclass
class BlockCache:
    """The residuals of one sampling, by branch, and the rule that says when they serve.

    keys: how the branches of a call are told apart; the recorded leak of the reference is made with its own.
    """

    decide: Decide
    tally: Tally
    calibrate: bool = False
    keys: Callable[[dict], dict[Hashable, str] | None] = field(default_factory=lambda: branches_of)
    residuals: dict[Hashable, torch.Tensor] = field(default_factory=dict)
    steps: dict[Hashable, int] = field(default_factory=dict)  # when calibrating: of each residual

    def begin(self, args: dict) -> _Call | None:
        """Before the first block: decide. None when this forward is none of a branch's whole latent."""
        options = args["transformer_options"]
        branches = self.keys(options)
        if branches is None:
            rows = len(options.get("uuids", ())) or 1
            self.tally.computed += rows
            if options.get("context_window") is not None:
                self.tally.windowed += rows
            return None
        call = _Call(branches, args["img"], self.decide(branches, args["vec"], options))
        if call.compute:
            self.tally.computed += len(branches)
        else:
            self.tally.skipped += len(branches)
        return call

    def end(self, call: _Call, after: torch.Tensor, options: dict) -> torch.Tensor:
        """After the last block: keep the residuals of a computed forward, put them in place of a skipped one."""
        parts = call.before.chunk(len(call.branches))
        if not call.compute:
            kept = (self.residuals[key].to(call.before) for key in call.branches)
            return torch.cat([part + residual for part, residual in zip(parts, kept, strict=True)])
        for (key, branch), before, out in zip(
            call.branches.items(), parts, after.chunk(len(call.branches)), strict=True
        ):
            residual = out - before
            if self.calibrate:
                self._measure(key, branch, residual, step_of(options["sigmas"], options)[0])
            self.residuals[key] = residual
        return after

    def _measure(self, key: Hashable, branch: str, residual: torch.Tensor, step: int) -> None:
        if self.steps.get(key) == step - 1:
            self.tally.measure(branch, step, magnitude_ratio(residual, self.residuals[key]))
        self.steps[key] = step


def branches_of(options: dict) -> dict[Hashable, str] | None:
    """Name of each branch in a forward by its key, in the order of its rows; None when it cannot be cached.

    The key is the uuid of the conditioning and the name: of a prompt for an area of the picture the host copies
    the entry, uuid and all, to the other side.
    """
    if options.get("context_window") is not None or not options.get("uuids"):
        return None
    names = options.get(BRANCHES, _PLAIN_CFG)
    called = [names[index] for index in options["cond_or_uncond"]]
    found = {(key, name): name for key, name in zip(options["uuids"], called, strict=True)}
    return found if len(found) == len(options["uuids"]) else None


@dataclass(frozen=True)
class CachedBlock:
    """A replacement of one block: runs it (or what replaced it before), or lets the tokens through."""

    cache: BlockCache
    first: bool
    last: bool
    inner: Callable | None

    def __call__(self, args: dict, extra: dict) -> dict:
        options = args["transformer_options"]
        if self.first:
            options[_CALL] = _begin(self.cache, args)
        call = options[_CALL]
        if call is None or call.compute:
            out = self.inner(args, extra) if self.inner is not None else extra["original_block"](args)
        else:
            out = {"img": args["img"]}
        if self.last and call is not None:
            out = {**out, "img": _end(self.cache, call, out["img"], options)}
            del options[_CALL]
        return out


@torch.compiler.disable
def _begin(cache: BlockCache, args: dict) -> _Call | None:
    return cache.begin(args)


@torch.compiler.disable
def _end(cache: BlockCache, call: _Call, after: torch.Tensor, options: dict) -> torch.Tensor:
    return cache.end(call, after, options)
