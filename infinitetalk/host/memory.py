"""The memory settings of a run, applied through the host's seams, and the sizes that `fit` chooses them from.

The host's own memory management stays in charge: it loads, offloads and pages. Knows nothing of windows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import comfy.memory_management
import comfy.model_management
import comfy.model_patcher
import torch

from ..config import StreamConfig
from ..memory import Card, Fitted, Job, MemoryConfig, fit
from ..sizes import size_text
from .attach import attached, with_adapter
from .denoise import Inputs
from .progress import say

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """config: of the run, its windows shortened if need be; memory: without `fit`; told: for the user, or ""."""

    config: StreamConfig
    memory: MemoryConfig
    told: str


def settle(inputs: Inputs, config: StreamConfig, wanted: MemoryConfig | None, branches: int) -> Settled:
    """The settings of a run. branches: the most that a step of it calls.

    Without a GPU there is nothing to choose.
    """
    if wanted is None or not wanted.fit:
        memory = wanted or MemoryConfig()
        told = "" if wanted is None else f"Memory: {described(memory, attached(inputs.model).is_dynamic())}."
        return Settled(config, memory, told)
    card = card_of(inputs.model.load_device)
    if card is None:
        return Settled(config, MemoryConfig(), "Memory: no GPU, nothing to choose.")
    found = fit(card, job_of(inputs, config, branches))
    lines = [*found.reasons, *wider(attached(inputs.model), inputs.model.model.get_dtype_inference())]
    told = f"Memory, {size_text(card.total)} card: {'; '.join(lines)}."
    log.info("InfiniteTalk: %s", told)
    return Settled(_shortened(config, found), found.memory, told)


def told(memory: MemoryConfig, node_id: str | None) -> None:
    """What is set, as text under a node. What fits is known when the run begins, and said there."""
    paged = comfy.memory_management.aimdo_enabled
    say("The run says what it chose and why." if memory.fit else described(memory, paged), node_id)


def described(memory: MemoryConfig, paged: bool = False) -> str:
    """The settings in a few words. paged: the host brings single layers of the adapter to the card by itself."""
    in_vain = paged and memory.adapter != "auto"
    adapter = f"{memory.adapter} (nothing to do: ComfyUI pages it layer by layer)" if in_vain else memory.adapter
    chosen = {"branches ": memory.branches, "VAE ": memory.vae, "adapter ": adapter}
    return ", ".join(name + value for name, value in chosen.items() if value != "auto") or "as ComfyUI does it"


def card_of(device: torch.device) -> Card | None:
    """The card's memory as the host counts it; None for a CPU."""
    if comfy.model_management.is_device_cpu(device):
        return None
    total = int(comfy.model_management.get_total_memory(device))
    reserved = int(comfy.model_management.extra_reserved_memory())
    loaded = sum(
        entry.model_loaded_memory()
        for entry in comfy.model_management.current_loaded_models
        if entry.device == device and entry.model is not None
    )
    free = min(total, int(comfy.model_management.get_free_memory(device)) + loaded) - reserved
    return Card(total, reserved, free)


def job_of(inputs: Inputs, config: StreamConfig, branches: int) -> Job:
    """The sizes of a run, weights as they are kept."""
    model, reference, vae = inputs.model, inputs.reference, inputs.vae
    return Job(
        dim=model.get_model_object("diffusion_model").dim,
        height=reference.height,
        width=reference.width,
        frames=config.window.frames,
        motion=config.window.motion,
        branches=branches,
        base=int(model.model_size()),
        adapter=int(attached(model).model_size()),
        element=model.model.get_dtype_inference().itemsize,
        vae_element=vae.vae_dtype.itemsize,
        paged=attached(model).is_dynamic(),
    )


def with_memory(model, memory: MemoryConfig):
    """The model with its adapter where `memory` wants it; the model itself when that is the host's choice.

    Under dynamic VRAM it always is: the host pages every layer by itself, and a patcher beside that saved nothing.
    """
    if memory.adapter == "auto" or attached(model).is_dynamic():
        return model
    return with_adapter(model, in_ram(attached(model)))


class InRam(comfy.model_patcher.ModelPatcher):
    """A model whose layers stay in RAM, pinned where the host pins, and are brought to the device when they compute.

    What the host does under --novram, for this model alone.
    """

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        loaded = self.model.model_loaded_weight_memory
        return super().partially_load(device_to, NOTHING - loaded, force_patch_weights=force_patch_weights)


NOTHING = 0.1  # bytes; 0 would mean everything to the host


def in_ram(patch) -> InRam:
    """A clone of an adapter's patcher that stays in RAM; it shares the weights with `patch`."""
    plain = patch.clone()
    plain.__class__ = InRam  # `clone` keeps the class of what it copies; all state is the same
    return plain


def _shortened(config: StreamConfig, found: Fitted) -> StreamConfig:
    if found.frames == config.window.frames:
        return config
    return replace(config, window=replace(config.window, frames=found.frames))


def wider(patch, computed: torch.dtype) -> list[str]:
    """A line on an adapter in float32 that is computed in a narrower type: it takes twice the memory for nothing."""
    if computed == torch.float32 or torch.float32 not in {parameter.dtype for parameter in patch.model.parameters()}:
        return []
    size = size_text(patch.model_size())
    return [f"the adapter is in float32, {size}: load it with InfiniteTalk's own nodes, or save it in fp8"]
