"""A trained `dit.Talker` as the files that hosts load: python -m training.dit_export CHECKPOINT FOLDER

Diffusion model, adapter and embeddings, all in fp16.

The image-embedding branch is in the file with values of zero, so any CLIP features add exactly nothing; the text
branch is live and knows the prompts of `PROMPTS`. Must not know training.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .checkpoint import load
from .dit import DiTShape, Talker, prompt_codes
from .paths import existing

PROMPTS = ("", "still", "left", "right", "in", "out")  # the empty one stands for no text; the others for the camera
CLIP_TOKENS, CLIP_WIDTH = 257, 1280
UNUSED = re.compile(r"img_emb|_img\.")  # tensors of the CLIP branch


def diffusion_model(talker: Talker) -> dict[str, torch.Tensor]:
    """The diffusion model under the host's keys, fp16, the unused CLIP branch added."""
    state = {key: value.detach().cpu() for key, value in talker.dit.state_dict().items()}
    dim = talker.shape.dim
    for index in range(talker.shape.blocks):
        prefix = f"blocks.{index}.cross_attn."
        for name in ("k_img", "v_img"):
            state[f"{prefix}{name}.weight"], state[f"{prefix}{name}.bias"] = torch.zeros(dim, dim), torch.zeros(dim)
        state[f"{prefix}norm_k_img.weight"] = torch.ones(dim)
    widths = {0: (CLIP_WIDTH,), 1: (CLIP_WIDTH, CLIP_WIDTH), 3: (dim, CLIP_WIDTH), 4: (dim,)}
    for layer, shape in widths.items():
        state[f"img_emb.proj.{layer}.weight"] = torch.zeros(shape)
        state[f"img_emb.proj.{layer}.bias"] = torch.zeros(shape[0])
    return {key: value.half().contiguous() for key, value in state.items()}


def adapter(talker: Talker) -> dict[str, torch.Tensor]:
    """The adapter under its published keys, fp16."""
    return {key: value.detach().cpu().half().contiguous() for key, value in talker.adapter.state_dict().items()}


def embeds(prompt: str) -> dict[str, torch.Tensor]:
    """Embeddings of a prompt, of none, and (unused) CLIP features, as Load InfiniteTalk Embeds reads them."""
    codes = prompt_codes(len(PROMPTS)).half()  # exact
    positive = codes[PROMPTS.index(prompt)][None]
    return {
        "positive": positive.contiguous(),
        "negative": codes[:1].contiguous(),
        "clip_vision": torch.zeros(1, CLIP_TOKENS, CLIP_WIDTH, dtype=torch.float16),
    }


def write(talker: Talker, folder: Path, metadata: dict[str, str]) -> list[Path]:
    """All files below `folder`, which is made; returns their paths. metadata: of the weights; embeddings are fixed."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"dit.safetensors": diffusion_model(talker), "adapter.safetensors": adapter(talker)}
    texts = {f"{name}_embeds.safetensors": embeds(name) for name in PROMPTS[1:]}
    for name, tensors in (weights | texts).items():
        save_file(tensors, folder / name, {"format": "pt", **(metadata if name in weights else {})})
    return [folder / name for name in (*weights, *texts)]


def from_checkpoint(path: Path) -> tuple[Talker, dict]:
    """The model that train_dit saved, with its facts."""
    tensors, facts = load(path)
    talker = Talker(DiTShape(**facts["shape"]))
    talker.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return talker, facts


def from_models(folder: Path) -> dict[str, torch.Tensor]:
    """The training form's float32 weights out of a folder with the layout of a host's models, such as demo/models."""
    parts = (("dit.", "diffusion_models/*_i2v.safetensors"), ("adapter.", "model_patches/*_adapter.safetensors"))
    state = {}
    for prefix, pattern in parts:
        (file,) = folder.glob(pattern)
        state |= {prefix + key: value.float() for key, value in load_file(file).items() if not UNUSED.search(key)}
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=existing, help="dit.safetensors of train_dit")
    parser.add_argument("folder", type=Path, help="gets the files")
    given = parser.parse_args()
    trained, known = from_checkpoint(given.checkpoint)
    for written in write(trained, given.folder, {"step": str(known["step"]), "seed": str(known["seed"])}):
        print(written, written.stat().st_size)
