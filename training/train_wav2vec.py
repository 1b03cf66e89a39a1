"""Train a small wav2vec2 to hear what a mouth does: python -m training.train_wav2vec OUT_FOLDER --seconds 30

The layout is that of wav2vec2 base, so the product loads the folder like any other. Linear heads on every layer, not
kept in the folder, predict opening, width and whether somebody speaks, from speech that takes the product's path:
convolutions, 25 Hz, transformer. Excerpts of 2 to 60 s have their truth as if each were a file of its own, at -23 LUFS.
Knows no picture and no DiT.

Shapes: B excerpts, N samples at 16 kHz, F frames, L layers, C channels.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from infinitetalk.encoding import to_25hz
from infinitetalk.timeline import feature_frames
from infinitetalk.wav2vec import WEIGHT_NORM, layer_outputs, load_wav2vec

from .checkpoint import (
    Progress,
    Workers,
    average_gradients,
    cosine,
    join,
    leave,
    load,
    load_optimizer,
    optimizer_tensors,
    prefixed,
    same_weights,
    save,
    set_rate,
    under,
)
from .excerpts import Batch, draw_batch
from .paths import existing
from .speech import Corpus, make_corpus

LAYERS, CHANNELS, HEADS, FFN = 4, 64, 4, 256
RATE, WARM, CLIP = 2e-3, 50, 1.0
KEEP = 60  # seconds between two checkpoints
SHUT_WEIGHT = 0.1  # of the width's error where the mouth is shut
SPEECH_WEIGHT = 0.05  # of the cross-entropy beside the squared errors
CONFIG = {
    "architectures": ["Wav2Vec2Model"],
    "model_type": "wav2vec2",
    "hidden_size": CHANNELS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": FFN,
    "conv_dim": [CHANNELS] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "num_feat_extract_layers": 7,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    "vocab_size": 32,
}
PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "sampling_rate": 16000,
    "padding_value": 0.0,
    "do_normalize": True,
    "return_attention_mask": False,
}


def new_encoder(seed: int) -> Wav2Vec2Model:
    """An untrained encoder, in eval mode: nothing in it is dropped by chance."""
    torch.manual_seed(seed)
    config = Wav2Vec2Config.from_dict(CONFIG | {"mask_time_prob": 0.0}, attn_implementation="sdpa")
    return Wav2Vec2Model(config).eval()


def load_encoder(folder: Path) -> Wav2Vec2Model:
    """The encoder of a folder in float32, frozen, on the CPU, as the product loads it."""
    return load_wav2vec(folder)[0]


def encode_batch(model: Wav2Vec2Model, waves: torch.Tensor) -> torch.Tensor:
    """Features [B, F, L, C] of waves [B, N] at -23 LUFS, as infinitetalk.encoding gives them for each alone."""
    mean, variance = waves.mean(dim=1, keepdim=True), waves.var(dim=1, unbiased=False, keepdim=True)
    conv = model.feature_extractor((waves - mean) / torch.sqrt(variance + 1e-7))
    return torch.stack(list(layer_outputs(model, to_25hz(conv, feature_frames(waves.shape[1])))), dim=2)


def save_encoder(model: Wav2Vec2Model, folder: Path) -> None:
    """Write a Hugging Face folder of float16 weights under the published names."""
    folder.mkdir(parents=True, exist_ok=True)
    published = {new: old for old, new in WEIGHT_NORM.items()}
    state = {published.get(key, key): value.half().cpu().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    for name, content in {"config.json": CONFIG, "preprocessor_config.json": PREPROCESSOR}.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


class Listener(nn.Module):
    """The encoder and, for every layer, a linear head: waves [B, N] -> [B, F, L, 3] (opening, width, speech logit)."""

    def __init__(self, encoder: Wav2Vec2Model):
        super().__init__()
        self.encoder = encoder
        self.weight = nn.Parameter(torch.randn(LAYERS, CHANNELS, 3) * CHANNELS**-0.5)
        self.bias = nn.Parameter(torch.tensor([0.3, 0.4, 0.0]).repeat(LAYERS, 1))

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bflc,lch->bflh", encode_batch(self.encoder, waves), self.weight) + self.bias


def error(heard: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The loss of heard [B, F, L, 3], the mean over frames and layers."""
    opening, width = batch.opening[..., None], batch.width[..., None]
    speaks = (opening > 0).to(heard.dtype)
    shape = ((heard[..., 1] - width).square() * (SHUT_WEIGHT + (1 - SHUT_WEIGHT) * speaks)).mean()
    speech = nn.functional.binary_cross_entropy_with_logits(heard[..., 2], speaks.expand(heard.shape[:-1]))
    return (heard[..., 0] - opening).square().mean() + shape + SPEECH_WEIGHT * speech


@torch.no_grad()
def hearing(listener: Listener, corpus: Corpus, device: torch.device) -> dict[str, float]:
    """What the last layer's head hears in whole pieces: correlation of opening and of width (while speaking), and the
    share of frames in which it tells speech from none."""
    said, true = [], []
    for n in range(len(corpus)):
        piece = corpus.piece(n)
        said.append(listener(piece.wave[None].to(device))[0, :, -1].float().cpu())
        true.append(torch.stack((piece.opening, piece.width), dim=1))
    said, true = torch.cat(said), torch.cat(true)
    speaks = true[:, 0] > 0

    def together(kind: int, frames: torch.Tensor) -> float:
        return torch.corrcoef(torch.stack((said[frames, kind], true[frames, kind])))[0, 1].item()

    right = ((said[:, 2] > 0) == speaks).float().mean().item()
    return {"opening": together(0, speaks | ~speaks), "width": together(1, speaks), "speech": right}


def train(listener: Listener, corpus: Corpus, progress: Progress, workers: Workers, given: argparse.Namespace) -> None:
    """Until progress is over, from given.checkpoint if it is there; it is written once a minute and at the end."""
    optimizer = torch.optim.AdamW(listener.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    if given.checkpoint and given.checkpoint.exists():
        tensors, facts = load(given.checkpoint, workers.device)
        listener.load_state_dict(under("model.", tensors))
        load_optimizer(optimizer, under("optimizer.", tensors))
        progress.resume(facts["step"])
    same_weights(workers, listener.parameters())
    generator = torch.Generator(workers.device).manual_seed(given.seed + workers.rank + 1000 * progress.step)
    corpus = corpus.to(workers.device)

    def keep() -> None:
        if workers.first and given.checkpoint:
            state = prefixed("model.", listener.state_dict()) | prefixed("optimizer.", optimizer_tensors(optimizer))
            save(given.checkpoint, state, {"step": progress.step})

    told = kept = time.monotonic()
    while progress.goes_on():
        set_rate(optimizer, RATE * cosine(progress.share, progress.step, WARM))
        # All ranks take excerpts of one length, or one would wait for the other.
        batch = draw_batch(corpus, given.batch_seconds, given.seed * 100_003 + progress.step, generator)
        loss = error(listener(batch.wave), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(workers, listener.parameters())
        nn.utils.clip_grad_norm_(listener.parameters(), CLIP)
        optimizer.step()
        progress.advance()
        if workers.first and time.monotonic() - told > 2:
            told = time.monotonic()
            print(f"step {progress.step} share {progress.share:.2f} loss {loss.item():.4f}", flush=True)
        if time.monotonic() - kept > KEEP:
            keep()
            kept = time.monotonic()
    keep()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the small speech encoder; writes a Hugging Face folder.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=existing, help="of training.speech; made here if there is none")
    parser.add_argument("--test", type=existing, help="the same of the test split")
    parser.add_argument("--corpus-seconds", type=float, default=7200.0)
    parser.add_argument("--seconds", type=float, help="of training, without the making of the corpus")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch-seconds", type=float, default=320.0, help="of sound in one step and process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--checkpoint", type=Path, help="go on from it if it is there, write it now and then")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    corpus = _corpus(given.corpus, given.corpus_seconds, given.seed, "train")
    test = _corpus(given.test, given.corpus_seconds / 20, given.seed, "test")
    workers = join(given.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if workers.first:
        print(f"{len(corpus.level) / 25:.0f} s of speech there after {time.monotonic() - begun:.1f} s", flush=True)
    listener = Listener(new_encoder(given.seed)).to(workers.device)
    progress = Progress(workers, given.seconds, given.steps)
    train(listener, corpus, progress, workers, given)
    if workers.first:
        save_encoder(listener.encoder, given.out)
        heard = ", ".join(f"{name} {value:.4f}" for name, value in hearing(listener, test, workers.device).items())
        print(f"{progress.step} steps in {progress.elapsed():.1f} s; on test voices: {heard}", flush=True)
    leave(workers)


def _corpus(path: Path | None, seconds: float, seed: int, split: str) -> Corpus:
    """Read, or made anew: every process of a torchrun makes the same."""
    return Corpus.load(path) if path else make_corpus(seconds, seed, split)


if __name__ == "__main__":
    main()
