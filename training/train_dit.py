"""Trains the small DiT and its adapter: python -m training.train_dit --help

The real objective: flow matching on 81-frame windows whose first latents are held (the picture's, or motion latents of
the frames before), with a reference picture in the condition; text, audio and both dropped at random, so that guidance
with three branches works. One, two and three people; several people's voices are bound to their regions by the
adapter's own rule. Must not know drawing or speech synthesis: `bank.py` and
`hearing.py` give latents and features.

Shapes as in dit.py and bank.py.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from .bank import LATENT_FRAMES, MOTION_LATENTS, Bank, Quick, Speech, features_of, make_bank
from .checkpoint import (
    Ema,
    Progress,
    Workers,
    average_gradients,
    cosine,
    join,
    leave,
    load,
    load_optimizer,
    mean_over,
    optimizer_tensors,
    prefixed,
    same_weights,
    save,
    set_rate,
    under,
)
from .dit import DiTShape, Talker
from .dit_export import PROMPTS, from_models
from .hearing import hear
from .sampling import conditioned, evaluate
from .vae_export import from_host

RATE, WARM, DECAY, EMA = 8e-4, 300, 0.01, 0.9995
MOUTH, EYES = 5.0, 2.0  # extra weight of the loss where they are
CLIP_NORM = 1.0  # most of the gradient's norm
GRAIN, CLOUDS, TINT = 0.15, 0.2, 0.15  # most noise on motion latents: in each cell, in patches of four, of a channel
DROP = 0.1  # of text, of audio; independent, so 1 % lose both
TOKENS = 90_000  # of a batch on one GPU, about


@dataclass(frozen=True)
class Kind:
    """A picture size with so many people: its share of the batches, and of `--clips` in the bank."""

    size: tuple[int, int]
    people: int
    share: float
    clips: float

    @property
    def batch(self) -> int:
        return max(1, round(TOKENS / (LATENT_FRAMES * self.size[0] * self.size[1] // 256)))


KINDS = (
    Kind((128, 128), 1, 0.5, 0.5),
    Kind((160, 96), 1, 0.06, 0.07),
    Kind((96, 160), 1, 0.06, 0.07),
    Kind((128, 192), 2, 0.23, 0.22),
    Kind((128, 256), 3, 0.15, 0.14),
)


def draw_times(count: int, generator) -> torch.Tensor:
    """Flow times in 0..1: half uniform, half logit-normal, then bent by a shift of 1, 3 or 5."""
    device = generator.device
    uniform = torch.rand(count, generator=generator, device=device)
    normal = torch.sigmoid(torch.randn(count, generator=generator, device=device))
    times = torch.where(torch.arange(count, device=device) % 2 == 0, uniform, normal)
    shift = 1 + 2 * torch.randint(3, (count,), generator=generator, device=device)
    return shift * times / (1 + (shift - 1) * times)


def held_latents(clips: Bank, generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(latents to hold [B, 16, 3, h, w], how many of them [B], references [B, 16, 3, h, w]) of a batch.

    Half of the clips begin a video: one latent, the reference's own. The others continue one: three motion latents,
    spoilt in every second clip because a run's own are never exact, and another picture as the reference: what has
    gone wrong in a window is to be put right in the next.
    """
    count, device = len(clips.latents), clips.latents.device

    def rand(share: float) -> torch.Tensor:
        return torch.rand(count, generator=generator, device=device) < share

    continues, spoilt, strange = rand(0.5), rand(0.5), rand(0.1)
    motion = clips.motion.float()
    motion = motion + spoil(motion.shape, generator) * spoilt[:, None, None, None, None]
    first = clips.latents[:, :, :MOTION_LATENTS].float()
    held = torch.where(continues[:, None, None, None, None], motion, first)
    far = (continues | strange)[:, None, None, None, None]
    reference = torch.where(far, clips.other.float(), clips.own.float())
    return held, torch.where(continues, MOTION_LATENTS, 1), reference


def spoil(shape: torch.Size, generator) -> torch.Tensor:
    """What windows do to motion latents [B, 16, 3, h, w] in the course of a run: grain, clouds and tints."""
    batch, channels, frames, height, width = shape

    def noise(most: float, *size: int) -> torch.Tensor:
        strength = most * torch.rand(batch, 1, 1, 1, 1, generator=generator, device=generator.device)
        return strength * torch.randn(batch, channels, *size, generator=generator, device=generator.device)

    patches = noise(CLOUDS, 1, -(-height // 4), -(-width // 4))
    clouds = torch.nn.functional.interpolate(patches[:, :, 0], size=(height, width), mode="bilinear")[:, :, None]
    return noise(GRAIN, frames, height, width) + clouds + noise(TINT, 1, 1, 1)


def loss_of(talker: Talker, bank: Bank, speech: Speech, count: int, deaf: bool, generator) -> torch.Tensor:  # noqa: PLR0913
    """The weighted flow matching loss of a random batch; deaf: several people without audio."""
    device = bank.latents.device
    clips = bank.take(torch.randint(len(bank.latents), (count,), generator=generator, device=device))
    clean = clips.latents.float()
    held, length, reference = held_latents(clips, generator)
    times = draw_times(count, generator)
    sigma = times[:, None, None, None, None]
    noise = torch.randn(clean.shape, generator=generator, device=device)
    free = torch.arange(LATENT_FRAMES, device=device) >= length[:, None]  # [B, T]
    free = free[:, None, :, None, None]
    start = torch.cat((held, clean[:, :, MOTION_LATENTS:]), dim=2)
    x = torch.where(free, torch.lerp(clean, noise, sigma), start)

    people = clips.piece.shape[1]
    dropped = torch.rand(count, generator=generator, device=device) < DROP
    first, latter = features_of(speech, clips.piece, clips.start)  # [B, P, 5, L, C], [B, P, 20, 8, L, C]
    first, latter = first.float(), latter.float()
    if people == 1:
        first, latter = (part * ~dropped.view(-1, *[1] * (part.ndim - 1)) for part in (first, latter))
    if deaf:  # as in a run: the branches without audio have one voice and know no regions
        first, latter = torch.zeros_like(first[:, :1]), torch.zeros_like(latter[:, :1])
    prompts = clips.prompts * (torch.rand(count, generator=generator, device=device) >= DROP)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        voices = [talker.audio_tokens(first[:, n], latter[:, n]) for n in range(first.shape[1])]
        masks = clips.masks.to(voices[0].dtype) if people > 1 and not deaf else None
        velocity = talker(
            x, conditioned(reference, clips.grey), 1000 * times, prompts, torch.cat(voices, dim=2), masks, rare=deaf
        )
    weight = (1 + MOUTH * clips.mouth + EYES * clips.eyes)[:, None] * free
    error = (velocity - (noise - clean)).square() * weight
    return error.sum() / (weight.sum() * clean.shape[1])


def make_optimizers(talker: Talker, rate: float) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, scaled to AdamW's rates; AdamW for all else."""
    named = dict(talker.named_parameters())
    matrices = [value for name, value in named.items() if value.ndim == 2 and ".blocks." in name]
    others = [value for name, value in named.items() if value.ndim != 2 or ".blocks." not in name]
    return {
        "muon": torch.optim.Muon(matrices, rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        "adamw": torch.optim.AdamW(others, rate, (0.9, 0.98), weight_decay=DECAY, fused=others[0].is_cuda),
    }


def late(progress: Progress, enough: float, workers: Workers) -> bool:
    """Whether the time is over, looked at now and then, with one answer for all GPUs."""
    if progress.since % 20:
        return False
    return mean_over(workers, torch.tensor(progress.elapsed(), device=workers.device)).item() > enough


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae", type=Path, required=True, help="file in the host's layout that train_vae wrote")
    parser.add_argument("--encoder", type=Path, required=True, help="folder that train_wav2vec wrote")
    parser.add_argument("--speech", type=Path, required=True, help="corpus to train on, of training.speech")
    parser.add_argument("--unheard", type=Path, required=True, help="corpus of the split test, to look at")
    parser.add_argument("--out", type=Path, required=True, help="gets the averaged weights, dit.safetensors, in fp16")
    parser.add_argument("--state", type=Path, help="whole state of the training: read if it is there, written")
    parser.add_argument("--begin", type=Path, help="folder of a models' layout to begin with when there is no state")
    parser.add_argument("--banks", type=Path, help="folder in which the clips are kept for the next call")
    parser.add_argument("--seconds", type=float, help="leave after so many")
    parser.add_argument("--steps", type=int, help="of the whole training; without, it is as long as --seconds")
    parser.add_argument("--clips", type=int, default=12_000, help="in the bank of each GPU")
    parser.add_argument("--batch", type=float, default=1.0, help="factor on the size of batches")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device")
    parser.add_argument("--plain", action="store_true", help="do not compile")
    return parser.parse_args()


def main() -> None:
    began = time.monotonic()
    options = arguments()
    workers = join(options.device)
    torch.set_float32_matmul_precision("high")

    def tell(*words) -> None:
        if workers.first:
            print(f"{time.monotonic() - began:6.1f} s", *words, flush=True)

    vae = Quick(from_host(load_file(options.vae)).to(workers.device))
    speech = hear(options.speech, options.encoder, workers.device, options.seed)
    unheard = hear(options.unheard, options.encoder, workers.device, options.seed)
    tell("speech", tuple(speech.features.shape), "silent pieces", int(speech.silent.sum()))
    seed = 1000 * options.seed + workers.rank
    banks = {}
    for kind in KINDS:
        count = max(2, round(kind.clips * options.clips))
        name = f"{kind.size[0]}x{kind.size[1]}-{workers.rank}.safetensors"
        if options.banks and (options.banks / name).is_file():
            banks[kind] = Bank.load(options.banks / name, workers.device)
        else:
            banks[kind] = make_bank(vae, speech, count, kind.people, kind.size, seed)
            if options.banks:
                banks[kind].save(options.banks / name)
        tell("bank", kind.size, len(banks[kind].latents))
    layers, channels = speech.features.shape[2:]
    torch.manual_seed(options.seed)
    talker = Talker(DiTShape(blocks=options.blocks, features=layers * channels, prompts=len(PROMPTS))).to(
        workers.device
    )
    optimizers = make_optimizers(talker, options.rate)
    same_weights(workers, talker.parameters())
    ema = Ema(talker, EMA)
    progress = Progress(workers, None if options.steps else options.seconds, options.steps, began)
    enough = math.inf if options.seconds is None else options.seconds
    if options.state and options.state.is_file():
        tensors, facts = load(options.state, workers.device)
        talker.load_state_dict(under("model.", tensors))
        ema.load_state_dict(under("ema.", tensors), facts["step"])
        for name, optimizer in optimizers.items():
            load_optimizer(optimizer, under(f"{name}.", tensors))
        progress.resume(facts["step"])
    elif options.begin:
        talker.load_state_dict(from_models(options.begin))
        ema.load_state_dict(talker.state_dict(), 0)
    tell("from step", progress.step)
    if not options.plain:
        talker.compile()

    def keep() -> None:
        """The averaged weights, to carry away, and the whole state."""
        facts = {"step": progress.step, "seed": options.seed, "shape": talker.shape.as_dict()}
        save(options.out / "dit.safetensors", {n: t.half() for n, t in ema.state_dict().items()}, facts)
        if options.state:
            parts = [("model.", talker.state_dict()), ("ema.", ema.state_dict())]
            parts += [(f"{name}.", optimizer_tensors(optimizer)) for name, optimizer in optimizers.items()]
            save(options.state, {k: v for prefix, t in parts for k, v in prefixed(prefix, t).items()}, facts, 10**9)

    def look() -> None:
        with ema.used_by(talker):
            tell(evaluate(talker, vae, unheard))

    generator = torch.Generator(workers.device).manual_seed(seed)
    choice = torch.Generator().manual_seed(options.seed + progress.step)  # the same on all GPUs
    shares = torch.tensor([kind.share for kind in KINDS])
    parameters = list(talker.parameters())
    sums, told, looked = torch.zeros(2, device=workers.device), time.monotonic(), time.monotonic()
    while progress.goes_on() and not late(progress, enough, workers):
        for optimizer in optimizers.values():
            set_rate(optimizer, options.rate * cosine(progress.share, progress.step, WARM))
            optimizer.zero_grad(set_to_none=False)
        kind = KINDS[torch.multinomial(shares, 1, generator=choice).item()]
        deaf = kind.people > 1 and torch.rand((), generator=choice).item() < DROP
        count = max(1, round(kind.batch * options.batch))
        loss = loss_of(talker, banks[kind], speech, count, deaf, generator)
        loss.backward()
        average_gradients(workers, parameters)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(talker)
        progress.advance()
        sums += torch.stack((loss.detach(), torch.ones_like(loss)))
        if progress.since % 100 == 0 or progress.step == options.steps:
            mean = (mean_over(workers, sums[0]) / sums[1]).item()
            tell(f"step {progress.step} loss {mean:.4f} {(time.monotonic() - told) / 100 * 1000:.1f} ms a step")
            sums.zero_()
            told = time.monotonic()
            if workers.first and time.monotonic() - looked > 100:
                look()
                keep()
                looked = told = time.monotonic()
    if workers.first:
        keep()
        with ema.used_by(talker):
            tell(evaluate(talker, vae, unheard, whole=True))
    leave(workers)


if __name__ == "__main__":
    main()
