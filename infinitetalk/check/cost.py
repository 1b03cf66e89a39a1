"""What a window costs: arithmetic, bytes and seconds, from sizes alone. Knows no files, no workflow and no host.

Units: FLOP (a multiply and an add are two), bytes, seconds. One token is 16x16 pixels of a latent frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import SIZE_STEP
from ..memory import forward_bytes, vae_bytes
from ..timeline import latent_frames

TEXT_TOKENS = 512 + 257  # what text and CLIP cross-attention read
AUDIO_TOKENS = 32  # of one voice in a latent frame
VAE_WIDTH = 96  # channels of the published VAE's first stage
# The Wan VAE in 16 bits takes 1.55 s to decode and 0.97 s to encode 81 frames of 640x640 on an H200 whose matrix
# product reaches 690 TFLOP/s (measured 2026-11-22): as many products as it could have done in that time, per pixel.
DECODE_FLOP, ENCODE_FLOP = 32.2e6, 20.2e6


@dataclass(frozen=True)
class Model:
    """Sizes of a Wan DiT; bytes: of its weights with the adapter's; widths: of a number (2 for bf16)."""

    dim: int
    ffn: int
    layers: int
    bytes: int
    width: int = 2


@dataclass(frozen=True)
class Machine:
    """name: of the device; memory: bytes of it that are ours, None on a processor; free: of them what other programs
    leave now, with what ComfyUI can give back; ram, ram_free, disk_free: bytes.

    linear, attention: FLOP/s; copy: bytes per second to the device; None where they were not measured.
    """

    name: str
    memory: int | None
    free: int | None
    ram: int
    ram_free: int
    disk_free: int
    linear: float | None = None
    attention: float | None = None
    copy: float | None = None


@dataclass(frozen=True)
class Window:
    """frames: sampled at once; height, width: pixels; calls: of the model; motion: frames that are encoded again."""

    frames: int
    height: int
    width: int
    calls: int
    motion: int

    @property
    def tokens(self) -> int:
        return latent_frames(self.frames) * (self.height // SIZE_STEP) * (self.width // SIZE_STEP)


def forward_flop(model: Model, tokens: int) -> tuple[float, float]:
    """(of matrix products, of attention) of one model call with the adapter."""
    dim, ffn = model.dim, model.ffn
    linear = 2 * tokens * (4 * dim * dim + 2 * dim * dim + 2 * dim * dim + 2 * dim * ffn)  # self, cross, audio, FFN
    attention = 4 * tokens * dim * (tokens + TEXT_TOKENS + AUDIO_TOKENS)
    return float(model.layers * linear), float(model.layers * attention)


def activation_bytes(model: Model, window: Window) -> int:
    """Working memory of one model call, as ComfyUI reserves it."""
    return forward_bytes(model.dim, window.height, window.width, window.frames, model.width)


def streamed_bytes(model: Model, window: Window, memory: int) -> int:
    """Weights that do not fit beside a call's working memory and come from RAM at every call."""
    return max(0, model.bytes + activation_bytes(model, window) - memory)


def peak_bytes(model: Model, window: Window, memory: int | None) -> int:
    """Most device memory that a window uses when it may use `memory`; None: as much as it likes."""
    wanted = max(model.bytes + activation_bytes(model, window), vae_bytes(window.height, window.width, model.width))
    return wanted if memory is None else min(wanted, memory)


def window_seconds(model: Model, window: Window, machine: Machine, vae_width: int = VAE_WIDTH) -> float | None:
    """Seconds to sample and decode one window, None where the machine was not measured."""
    if machine.linear is None or machine.attention is None:
        return None
    linear, attention = forward_flop(model, window.tokens)
    call = linear / machine.linear + attention / machine.attention
    if machine.memory is not None and machine.copy:
        call = max(call, streamed_bytes(model, window, machine.memory) / machine.copy)
    share = (vae_width / VAE_WIDTH) ** 2 / machine.linear
    pixels = window.height * window.width
    vae = pixels * (window.frames * DECODE_FLOP + window.motion * ENCODE_FLOP) * share
    return window.calls * call + vae
