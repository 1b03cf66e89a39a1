"""A small CLIP of the host's own classes for Wan: the layout of UMT5, one layer, a vocabulary of its own.

Random by a fixed seed and as wide as the real one, so that its CONDITIONING fits the small model. Import after the
`host` fixture has put ComfyUI on the path.
"""

from __future__ import annotations

import io
from types import SimpleNamespace

import comfy.sd
import comfy.text_encoders.wan
import sentencepiece
import torch

VOCABULARY = 64
SIZES = {"vocab_size": VOCABULARY, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 16, "d_model": 4096}
SENTENCES = [
    "a person talks to the camera",
    "she laughs and waves quickly",
    "he jumps over my big dog",
    "0123456789 .,!?",
]


def tokenizer_model() -> torch.Tensor:
    """A SentencePiece model as bytes, as the text encoder's file holds it; specials are numbered as in UMT5."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20), model_writer=model, vocab_size=VOCABULARY, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def small_clip():
    target = SimpleNamespace(
        params={}, clip=comfy.text_encoders.wan.te(), tokenizer=comfy.text_encoders.wan.WanT5Tokenizer
    )
    clip = comfy.sd.CLIP(
        target,
        tokenizer_data={"spiece_model": tokenizer_model()},
        model_options={"umt5xxl_model_config": SIZES, "dtype": torch.float32},
    )
    generator = torch.Generator().manual_seed(6)
    state = clip.cond_stage_model.umt5xxl.transformer.state_dict()
    clip.load_sd({key: torch.randn(value.shape, generator=generator) * 0.3 for key, value in state.items()})
    return clip
