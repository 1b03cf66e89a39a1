"""What this machine has, and how fast it is: memory, disk, and a probe of a tenth of a second.

Knows nothing of workflows. The speed of a device is measured once in a process.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import folder_paths
import psutil
import torch

from ..check.cost import Machine
from .memory import card_of

LINEAR, ATTENTION = (2048, 5120, 5120), (40, 2048, 128)  # rows, in, out; heads, tokens, width: of a Wan DiT
SMALL = (256, 512, 512), (4, 512, 64)  # on a processor, where the other takes seconds
COPY = 64 * 2**20  # bytes
REPEATS = 4


def this_machine(probe: bool = True) -> Machine:
    """Free memory and disk as they are now; speeds from the probe, where it is wanted."""
    device = comfy.model_management.get_torch_device()
    card = card_of(device)
    memory, free = (None, None) if card is None else (max(0, card.total - card.reserved), max(0, card.free))
    output = Path(folder_paths.get_output_directory()).absolute()
    place = next(folder for folder in (output, *output.parents) if folder.is_dir())  # the run makes what is missing
    ram = psutil.virtual_memory()
    name = comfy.model_management.get_torch_device_name(device)
    found = Machine(name, memory, free, ram.total, ram.available, shutil.disk_usage(place).free)
    linear, attention, copy = speeds(str(device)) if probe else (None, None, None)
    return replace(found, linear=linear, attention=attention, copy=copy)


def speeds(device: str) -> tuple[float | None, float | None, float | None]:
    """(FLOP/s of matrix products, of attention, bytes/s from RAM) of a device; None where there is no room to try.

    What was measured is kept; without room it is tried again the next time.
    """
    try:
        return _measured(device)
    except (torch.OutOfMemoryError, RuntimeError):
        return None, None, None


@functools.cache
def _measured(device: str) -> tuple[float, float, float | None]:
    """As `speeds`; raises what torch does without room, which is not kept."""
    place = torch.device(device)
    kind = torch.float32 if place.type == "cpu" else torch.bfloat16
    (rows, width, out), (heads, tokens, channels) = SMALL if place.type == "cpu" else (LINEAR, ATTENTION)
    x = torch.randn(rows, width, device=place, dtype=kind)
    w = torch.randn(out, width, device=place, dtype=kind)
    q = torch.randn(1, heads, tokens, channels, device=place, dtype=kind)
    linear = 2 * rows * width * out / _seconds(lambda: torch.nn.functional.linear(x, w), place)
    attended = _seconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q), place)
    attention = 4 * heads * tokens * tokens * channels / attended
    if place.type == "cpu":
        return linear, attention, None
    block = torch.empty(COPY, dtype=torch.uint8, pin_memory=place.type == "cuda")
    return linear, attention, COPY / _seconds(lambda: block.to(place, non_blocking=True), place)


def _seconds(work: Callable[[], object], place: torch.device) -> float:
    """The shortest of several times: a single pause of the machine would else double what a window is said to take."""
    work()  # the first call picks and loads the kernels
    _wait(place)
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        _wait(place)
        taken.append(time.perf_counter() - started)
    return min(taken)


def _wait(place: torch.device) -> None:
    if place.type != "cpu":
        getattr(torch, place.type).synchronize()
