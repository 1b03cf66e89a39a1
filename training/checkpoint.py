"""What every training script needs around its loop: ranks, schedule, averaged weights, and checkpoints to resume from.

A script reads like this:

    workers = join()                                   # 1 process, or those that torchrun started
    same_weights(workers, model.parameters())
    ema = Ema(model, 0.999)
    progress = Progress(workers, seconds=480)          # or steps=1000
    while progress.goes_on():
        set_rate(optimizer, 2e-3 * cosine(progress.share, progress.step, warm=100))
        loss(...).backward()
        average_gradients(workers, model.parameters())
        optimizer.step()
        ema.update(model)
        progress.advance()
    if workers.first:
        save(path, {**prefixed("model.", model.state_dict()), ...}, {"step": progress.step})
    leave(workers)

Knows no model, no data and no loss.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Workers:
    """This process among those that train together: `rank` of `world`, computing on `device`."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0


def join(device: str | None = None) -> Workers:
    """Meet the other processes of a torchrun (alone without one); `device` overrides the rank's own GPU ("cpu")."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world > 1:
        if place.type == "cuda":
            dist.init_process_group("nccl", device_id=place)
        else:
            dist.init_process_group("gloo")
    return Workers(rank, world, place)


def leave(workers: Workers) -> None:
    """Part from the other processes, when all of them have come here."""
    if workers.world > 1:
        dist.barrier()
        dist.destroy_process_group()


def same_weights(workers: Workers, tensors: Iterable[torch.Tensor]) -> None:
    """Give every process the first one's values, in place."""
    if workers.world > 1:
        for tensor in tensors:
            dist.broadcast(tensor.data, 0)


def average_gradients(workers: Workers, parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes: one message for all, between backward and clipping.

    Every process must have gradients for the same parameters.
    """
    if workers.world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= workers.world
    pieces = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)])


def mean_over(workers: Workers, value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes; each must call it, with the same shape."""
    if workers.world > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= workers.world
    return value


class Progress:
    """How far a training is: `step` (those done, resumed ones included) and `share` (0..1 of its budget).

    The budget is `seconds` from `began` (time.monotonic(); now if not given) or a number of `steps`; resumed training
    gets `seconds` anew. All processes see the same share, because one that ended earlier would leave the rest waiting;
    it is agreed on every `every` steps, so a budget is met within that many.
    """

    def __init__(self, workers: Workers, seconds: float | None = None, steps: int | None = None,
                 began: float | None = None, every: int = 10) -> None:  # fmt: skip
        if (seconds is None) == (steps is None):
            raise ValueError("Give a budget either in seconds or in steps.")
        self.workers, self.seconds, self.steps, self.every = workers, seconds, steps, every
        self.began = time.monotonic() if began is None else began
        self.step = self.since = 0
        self.share = 0.0

    def resume(self, step: int) -> None:
        """Count on from a checkpoint's step. A budget in steps is a total; one in seconds begins now."""
        self.step = step
        self.since = 0

    def goes_on(self) -> bool:
        """Whether another step is due; call it once before each."""
        if self.steps is not None:
            self.share = min(1.0, self.step / self.steps)
        elif self.since % self.every == 0:
            share = torch.tensor(self.elapsed() / self.seconds, device=self.workers.device)
            if self.workers.world > 1:
                dist.broadcast(share, 0)
            self.share = min(1.0, share.item())
        return self.share < 1.0

    def advance(self) -> None:
        """One step is done."""
        self.step += 1
        self.since += 1

    def elapsed(self) -> float:
        """Seconds since the budget began to run."""
        return time.monotonic() - self.began


def cosine(share: float, step: int, warm: int = 100, floor: float = 0.02) -> float:
    """Factor of the learning rate: linear rise over `warm` steps, then half a cosine of `share` from 1 to `floor`."""
    return min(1.0, (step + 1) / warm) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups; a group's own "factor" (1 if absent) multiplies it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


class Ema:
    """A running mean of a model's parameters in float32: the weights to measure and to export.

    Young means follow faster: after n updates the decay is at most (1 + n) / (10 + n).
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.names = [name for name, _ in model.named_parameters()]
        self.mean = [p.detach().float().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.mean, [p.detach().float() for p in model.parameters()], 1 - decay)

    @contextlib.contextmanager
    def used_by(self, model: torch.nn.Module) -> Iterator[torch.nn.Module]:
        """Within the block the model has the mean weights; afterwards its own again."""
        parameters = [p.data for p in model.parameters()]
        own = [p.clone() for p in parameters]
        torch._foreach_copy_(parameters, self.mean)
        try:
            yield model
        finally:
            torch._foreach_copy_(parameters, own)

    def state_dict(self) -> Tensors:
        """The mean weights under the model's parameter names."""
        return dict(zip(self.names, self.mean, strict=True))

    @torch.no_grad()
    def load_state_dict(self, tensors: Tensors, updates: int) -> None:
        """Take over the mean weights of a checkpoint, and how often they were updated."""
        for name, mean in zip(self.names, self.mean, strict=True):
            mean.copy_(tensors[name])
        self.updates = updates


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """The same tensors with longer names: {"a": t} -> {"model.a": t}."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose names begin with the prefix, without it; undoes `prefixed`."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """An Adam-like optimizer's moments as flat names, such as "3.exp_avg"."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Undo `optimizer_tensors`; rates and other settings stay the optimizer's own.

    Moments get their parameter's memory format, which files do not know and fused steps ask for.
    """
    whole = optimizer.state_dict()
    state: dict[int, Tensors] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def save(path: Path, tensors: Tensors, facts: dict, most: int = 15_000_000) -> list[Path]:
    """Write a checkpoint and return its files: path itself, then path-1, path-2 ..., each of at most `most` bytes
    (one larger tensor has a file of its own), as large ones do not pass everywhere. `facts` is anything json takes,
    such as the step.

    Half-written files never carry the final names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shards: list[Tensors] = [{}]
    room = most
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = most
        shards[-1][name] = tensor.detach().cpu().contiguous().clone()
        room -= size
    files = [_shard(path, n) for n in range(len(shards))]
    for n, (file, shard) in enumerate(zip(files, shards, strict=True)):
        notes = {"facts": json.dumps(facts), "shard": str(n), "shards": str(len(shards)), "format": "pt"}
        save_file(shard, file.with_suffix(".part"), notes)
    for file in files:
        os.replace(file.with_suffix(".part"), file)
    return files


def load(path: Path, device: str | torch.device = "cpu") -> tuple[Tensors, dict]:
    """Read what `save` wrote: the tensors of all files, and the facts."""
    tensors: Tensors = {}
    facts, shards, n = None, 1, 0
    while n < shards:
        with safe_open(_shard(path, n), framework="pt", device=str(device)) as file:
            notes = file.metadata()
            if facts is not None and notes["facts"] != facts:
                raise ValueError(
                    f"{_shard(path, n)} is of another moment than {path}.\nDelete both, or restore the set."
                )
            facts, shards = notes["facts"], int(notes["shards"])
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        n += 1
    return tensors, json.loads(facts)


def _shard(path: Path, n: int) -> Path:
    return path if n == 0 else path.with_name(f"{path.stem}-{n}{path.suffix}")
