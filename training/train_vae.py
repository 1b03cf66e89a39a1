"""Train the VAE: python -m training.train_vae --out DIR (torchrun --nproc_per_node=2 -m ... for several GPUs).

Writes DIR/vae.safetensors (the host's layout, float16), DIR/vae_state.safetensors (to --resume from) and DIR/vae.png
(unseen frames above what becomes of them), now and then and at the end.
Loss: squares and absolute differences of the pixels, more for mouths and eyes; squares of the error's changes from
frame to frame (absolute values would reward a still picture); a little Kullback-Leibler divergence.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import checkpoint
from .checkpoint import Ema, Progress, Workers
from .paths import existing
from .vae import GROUP, Vae
from .vae_clips import KINDS, Kind, Pool
from .vae_export import to_host
from .vae_score import draw_strip, score, take_statistics

WARM, EMA = 200, 0.999
SQUARES, ABSOLUTE, MOTION, KL = 5.0, 0.5, 5.0, 5e-3
MOUTH, EYES = 5.0, 2.5
REFRESH = 50  # steps between two chunks of new clips
RESERVE = 20  # seconds kept for the end: statistics, export, last score
EXPORT, STATE, STRIP = "vae.safetensors", "vae_state.safetensors", "vae.png"


def losses(vae: Vae, pictures: torch.Tensor, weights: torch.Tensor, singles: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss, and [weighted absolute error, squared error, squared error of motion, divergence], detached."""
    x = (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
        mean, log_variance = vae.to_latents(x, singles)
        mean, log_variance = mean.float(), log_variance.float().clamp(-20, 4)
        y = vae.to_pictures(mean + torch.exp(log_variance / 2) * torch.randn_like(mean), singles)
    error = y.float() - x
    weights = weights / weights.mean()
    absolute = (error.abs() * weights).mean()
    squares = (error.square() * weights).mean()
    groups = error[singles:].unflatten(0, (-1, GROUP))
    change = (groups[:, 1:] - groups[:, :-1]).square()
    motion = (change * weights[singles:].unflatten(0, (-1, GROUP))[:, 1:]).mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    loss = SQUARES * squares + ABSOLUTE * absolute + MOTION * motion + KL * divergence
    return loss, torch.stack((absolute, error.square().mean(), motion, divergence)).detach()


def options(given: list[str] | None) -> argparse.Namespace:
    """The options, of the command line by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--seconds", type=float, default=480, help="of the whole run, drawing and compiling included")
    parser.add_argument("--steps", type=int, help="train so many steps instead")
    parser.add_argument("--resume", type=existing, help="a vae_state.safetensors to go on from")
    parser.add_argument("--width", type=int, default=8, help="channels of the first level")
    parser.add_argument("--groups", type=int, default=32, help="groups of four frames in a batch, per device")
    parser.add_argument("--singles", type=int, default=8, help="single pictures in a batch, per device")
    parser.add_argument("--clips", type=int, default=24_000, help="clips kept in memory, 0.2 MB each, per device")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate")
    parser.add_argument("--scores", type=float, default=8, help="how often to measure and save, over the whole run")
    parser.add_argument("--score-clips", type=int, default=4, help="clips measured, speaking and fluttering each")
    parser.add_argument("--print-every", type=int, default=200, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, or the rank's own GPU")
    return parser.parse_args(given)


class Training:
    """The net, its running mean, the optimizer, and how far they are."""

    def __init__(self, args: argparse.Namespace, workers: Workers, began: float) -> None:
        self.args, self.workers = args, workers
        torch.manual_seed(args.seed)
        self.vae = Vae(args.width).to(workers.device, memory_format=torch.channels_last)
        checkpoint.same_weights(workers, self.vae.parameters())
        decays = [p for p in self.vae.parameters() if p.ndim > 1]
        others = [p for p in self.vae.parameters() if p.ndim == 1]
        groups = [{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        fused = workers.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.99), fused=fused)
        self.ema = Ema(self.vae, EMA)
        seconds = None if args.steps else args.seconds - RESERVE
        self.progress = Progress(workers, seconds, args.steps, began)
        if args.resume:
            self.resume(args.resume)
        torch.manual_seed(args.seed + 1000 * workers.rank + self.progress.step)
        self.losses = torch.compile(losses, dynamic=False, fullgraph=True) if fused else losses

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        tensors, facts = checkpoint.load(path, self.workers.device)
        self.vae.load_state_dict(checkpoint.under("model.", tensors))
        self.ema.load_state_dict(checkpoint.under("ema.", tensors), facts["updates"])
        checkpoint.load_optimizer(self.optimizer, checkpoint.under("optimizer.", tensors))
        self.progress.resume(facts["step"])

    def step(self, pool: Pool) -> torch.Tensor:
        """One step of all workers; returns the parts of the loss, see `losses`."""
        args, progress = self.args, self.progress
        rate = args.rate * checkpoint.cosine(progress.share, progress.since if args.resume else progress.step, WARM)
        checkpoint.set_rate(self.optimizer, rate)
        squares = pool.squares(args.groups, args.singles, MOUTH, EYES)
        loss, parts = self.losses(self.vae, *squares, args.singles)
        loss.backward()
        checkpoint.average_gradients(self.workers, self.vae.parameters())
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.vae)
        progress.advance()
        return parts

    def score(self, kind: Kind = KINDS[0]) -> dict[str, float]:
        """The mean weights' score, each worker on clips of its own."""
        with self.ema.used_by(self.vae):
            found = score(self.vae, 1000 * self.workers.rank, self.workers.device, self.args.score_clips, kind)
        values = torch.tensor(list(found.values()), dtype=torch.float32, device=self.workers.device)
        return dict(zip(found, checkpoint.mean_over(self.workers, values).tolist(), strict=True))

    def save(self, pool: Pool) -> None:
        """Write the state, and the file for the host, made of the mean weights; the first worker does it."""
        if not self.workers.first:
            return
        facts = {"step": self.progress.step, "updates": self.ema.updates, "seed": self.args.seed}
        parts = {"model.": self.vae.state_dict(), "ema.": self.ema.state_dict()}
        parts["optimizer."] = checkpoint.optimizer_tensors(self.optimizer)
        tensors = {}
        for prefix, values in parts.items():
            tensors |= checkpoint.prefixed(prefix, values)
        checkpoint.save(self.args.out / STATE, tensors, facts)
        with self.ema.used_by(self.vae):
            take_statistics(self.vae, pool.shelves[0].frames[:512])
            file = to_host(self.vae)
            draw_strip(self.vae, self.args.out / STRIP, self.workers.device)
        self.vae.latent_mean.zero_()
        self.vae.latent_std.fill_(1)
        notes = {"format": "pt", "trained": f"step {facts['step']}, seed {self.args.seed}"}
        save_file(file, self.args.out / EXPORT, notes)


def main(given: list[str] | None = None) -> None:
    began = time.monotonic()
    args = options(given)
    workers = checkpoint.join(args.device)
    torch.backends.cudnn.benchmark = True  # every step has the same shapes
    training = Training(args, workers, began)
    progress = training.progress

    def say(*texts: str) -> None:
        if workers.first:
            print(f"{progress.elapsed():6.1f} s", *texts, sep="  ", flush=True)

    pool = Pool(args.clips, args.seed * workers.world + workers.rank + progress.step, workers.device)
    say(f"{sum(len(shelf.frames) for shelf in pool.shelves)} clips are drawn")
    parts, since, next_score = [], time.monotonic(), None
    while progress.goes_on():
        next_score = next_score or progress.share + (1 / args.scores if args.scores else math.inf)
        parts.append(training.step(pool))
        if progress.step % REFRESH == 0:
            pool.refresh()
        if progress.since == 1 or progress.step % args.print_every == 0:
            absolute, squares, motion, divergence = torch.stack(parts).mean(0).tolist()
            if not math.isfinite(absolute):
                raise FloatingPointError(
                    f"The loss is {absolute} at step {progress.step}.\nResume with a lower --rate."
                )
            say(f"step {progress.step}", f"{1000 * (time.monotonic() - since) / len(parts):.1f} ms",
                f"weighted {absolute:.4f}", f"psnr {10 * math.log10(4 / squares):.2f}",
                f"motion {motion:.5f}", f"divergence {divergence:.3f}")  # fmt: skip
            parts, since = [], time.monotonic()
        if progress.share >= next_score:
            if args.score_clips:
                say(f"step {progress.step}", table(training.score()))
            training.save(pool)
            parts, since, next_score = [], time.monotonic(), next_score + 1 / args.scores
    training.save(pool)
    for kind in KINDS if args.score_clips else ():
        say(f"{kind.size[0]}x{kind.size[1]}, people: {kind.people}", table(training.score(kind=kind)))
    if workers.device.type == "cuda":
        say(f"memory at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    checkpoint.leave(workers)


def table(values: dict[str, float]) -> str:
    """Names and numbers on one line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


if __name__ == "__main__":
    main()
