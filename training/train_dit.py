"""Trains the small DiT and its adapter: python -m training.train_dit --help

The real objective (objective.py): flow matching on 81-frame windows whose first latents are held (the picture's, or
motion latents of the frames before), with a reference picture in the condition; text, audio and both dropped at random,
so that guidance with three branches works. One, two and three people; several people's voices are bound to their
regions by the adapter's own rule. Must not know drawing or speech synthesis: `bank.py` and `hearing.py` give latents
and features.

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

from infinitetalk.digests import file_digest

from .bank import LATENT_FRAMES, Bank, Quick, make_bank
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
from .mistakes import Errors
from .muon import Muon
from .objective import AUDIO_DROP, Source, loss_of
from .paths import existing
from .sampling import CLIPS, chain, evaluate
from .vae_export import from_host

RATE, WARM, DECAY, EMA = 8e-4, 300, 0.01, 0.9995
CLIP_NORM = 1.0  # most of the gradient's norm
KEPT = 1024  # errors of the net that are kept for each kind of clip
LOOK = 600  # seconds between two looks at what it can
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
        """Clips in a batch of about TOKENS."""
        return max(1, round(TOKENS / (LATENT_FRAMES * self.size[0] * self.size[1] // 256)))


KINDS = (
    Kind((128, 128), 1, 0.5, 0.5),
    Kind((160, 96), 1, 0.06, 0.07),
    Kind((96, 160), 1, 0.06, 0.07),
    Kind((128, 192), 2, 0.23, 0.22),
    Kind((128, 256), 3, 0.15, 0.14),
)


def make_optimizers(talker: Talker, rate: float) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, scaled to AdamW's rates; AdamW for all else."""
    named = dict(talker.named_parameters())
    matrices = [value for name, value in named.items() if value.ndim == 2 and ".blocks." in name]
    others = [value for name, value in named.items() if value.ndim != 2 or ".blocks." not in name]
    return {
        "muon": Muon(matrices, rate, DECAY),
        "adamw": torch.optim.AdamW(others, rate, (0.9, 0.98), weight_decay=DECAY, fused=others[0].is_cuda),
    }


def late(progress: Progress, enough: float, workers: Workers) -> bool:
    """Whether the time is over, looked at now and then, with one answer for all GPUs."""
    if progress.since % 20:
        return False
    return mean_over(workers, torch.tensor(progress.elapsed(), device=workers.device)).item() > enough


def arguments(given: list[str] | None) -> argparse.Namespace:
    """The options, of the command line by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae", type=existing, required=True, help="file in the host's layout that train_vae wrote")
    parser.add_argument("--encoder", type=existing, required=True, help="folder that train_wav2vec wrote")
    parser.add_argument("--speech", type=existing, required=True, help="corpus to train on, of training.speech")
    parser.add_argument("--unheard", type=existing, required=True, help="corpus of the split test, to look at")
    parser.add_argument("--out", type=Path, required=True, help="gets the averaged weights, dit.safetensors, in fp16")
    parser.add_argument("--state", type=Path, help="whole state of the training: read if it is there, written")
    parser.add_argument("--begin", type=existing, help="models folder to begin with when there is no state")
    parser.add_argument("--seconds", type=float, help="leave after so many")
    parser.add_argument("--steps", type=int, help="of the whole training; without, it is as long as --seconds")
    parser.add_argument("--clips", type=int, default=12_000, help="in the bank of each GPU")
    parser.add_argument("--batch", type=float, default=1.0, help="factor on the size of batches")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device")
    parser.add_argument("--look", type=int, default=CLIPS, help="at so many clips now and then; 0: at none")
    parser.add_argument("--plain", action="store_true", help="do not compile")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    began = time.monotonic()
    options = arguments(given)
    workers = join(options.device)
    torch.set_float32_matmul_precision("high")

    def tell(*words) -> None:
        if workers.first:
            print(f"{time.monotonic() - began:6.1f} s", *words, flush=True)

    made_of = [file_digest(path) for path in (options.vae, options.encoder / "model.safetensors")]
    state = {}
    if options.state and options.state.is_file():
        state, facts = load(options.state, workers.device)
        if facts["made_of"] != made_of:
            raise SystemExit(f"--state: {options.state} is of another VAE or encoder.\nUse --begin, or delete it.")
    vae = Quick(from_host(load_file(options.vae)).to(workers.device))
    speech = hear(options.speech, options.encoder, workers.device, options.seed)
    unheard = hear(options.unheard, options.encoder, workers.device, options.seed)
    tell("speech", tuple(speech.features.shape), "silent pieces", int(speech.silent.sum()))
    seed = 1000 * options.seed + workers.rank
    banks: dict[Kind, Bank] = {}
    for kind in KINDS:
        count = max(1, round(kind.clips * options.clips))
        banks[kind] = make_bank(vae, speech, count, kind.people, kind.size, seed)
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
    if state:
        talker.load_state_dict(under("model.", state))
        ema.load_state_dict(under("ema.", state), facts["step"])
        for name, optimizer in optimizers.items():
            load_optimizer(optimizer, under(f"{name}.", state))
        progress.resume(facts["step"])
    elif options.begin:
        talker.load_state_dict(from_models(options.begin))
        ema.load_state_dict(talker.state_dict(), 0)
    tell("from step", progress.step)
    if not options.plain:
        talker.compile()

    def keep() -> None:
        """Write the averaged weights, and the whole state if it is wanted."""
        facts = {"step": progress.step, "seed": options.seed, "shape": talker.shape.as_dict(), "made_of": made_of}
        save(options.out / "dit.safetensors", {n: t.half() for n, t in ema.state_dict().items()}, facts)
        if options.state:
            parts = [("model.", talker.state_dict()), ("ema.", ema.state_dict())]
            parts += [(f"{name}.", optimizer_tensors(optimizer)) for name, optimizer in optimizers.items()]
            save(options.state, {k: v for prefix, t in parts for k, v in prefixed(prefix, t).items()}, facts, 10**9)

    def look(whole: bool = False) -> None:
        if options.look:
            with ema.used_by(talker):
                tell(evaluate(talker, vae, unheard, whole, options.look))
                tell(chain(talker, vae, unheard, options.out / "windows.png", options.look))

    generator = torch.Generator(workers.device).manual_seed(seed + 10_007 * progress.step)
    choice = torch.Generator().manual_seed(options.seed + progress.step)  # the same on all GPUs
    sources = {
        kind: Source(bank, speech, Errors(KEPT, bank.motion.shape[1:], workers.device)) for kind, bank in banks.items()
    }
    shares = torch.tensor([kind.share for kind in KINDS])
    parameters = list(talker.parameters())
    sums, told, looked = torch.zeros(2, device=workers.device), time.monotonic(), time.monotonic()
    while progress.goes_on() and not late(progress, enough, workers):
        for optimizer in optimizers.values():
            set_rate(optimizer, options.rate * cosine(progress.share, progress.step, WARM))
            optimizer.zero_grad(set_to_none=False)
        kind = KINDS[torch.multinomial(shares, 1, generator=choice).item()]
        deaf = kind.people > 1 and torch.rand((), generator=choice).item() < AUDIO_DROP
        count = max(1, round(kind.batch * options.batch))
        loss = loss_of(talker, sources[kind], count, deaf, generator)
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
            if workers.first and time.monotonic() - looked > LOOK:
                keep()
                look()
                looked = told = time.monotonic()
    if workers.first:
        keep()
        look(whole=True)
    leave(workers)


if __name__ == "__main__":
    main()
