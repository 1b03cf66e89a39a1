"""wav2vec2 of any width from a folder or a single file, and its two halves as plain functions.

Files are only ever read as tensors: safetensors, or PyTorch's weights-only loader; nothing is downloaded. Knows
no frame rate, no windows and no host.

Shapes: N samples at 16 kHz, C convolution channels, T convolution frames (50 Hz) or video frames (25 Hz),
H encoder width, L encoder layers.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from .errors import InputError
from .model.kinds import SPEECH, identify
from .safetensors_header import NotSafetensors, is_pickle, read_header, what_is

CONV_STRIDES = [5, 2, 2, 2, 2, 2, 2]  # of every published wav2vec2; strides leave no trace in the tensors
HEAD_WIDTH = 64
PICKLED = (".bin", ".pt", ".pth")
FIRST_CONV = "feature_extractor.conv_layers.0.conv.weight"
POSITION = "encoder.pos_conv_embed.conv."
# torch's newer names of a weight-normalised convolution, by the names most checkpoints use
WEIGHT_NORM = {
    POSITION + "weight_g": POSITION + "parametrizations.weight.original0",
    POSITION + "weight_v": POSITION + "parametrizations.weight.original1",
}
ENCODER_PARTS = ("feature_extractor.", "feature_projection.", "encoder.")
REMEDY = "Use a wav2vec2 base file such as wav2vec2-chinese-base_fp16.safetensors, or its Hugging Face folder."


def load_wav2vec(path: str | Path) -> tuple[Wav2Vec2Model, bool | None]:
    """The encoder in float32, in eval mode on the CPU, and whether its preprocessor file asks for normalised waves.

    path: a Hugging Face folder (weights in *.safetensors or pytorch_model.bin) or a single weights file, whose
    dimensions are then read from the tensors. The second value is None where no preprocessor file says. Raises
    InputError for anything that is not a complete wav2vec2 of finite weights.
    """
    path = Path(path)
    file = weights_file(path)
    state = _encoder_state(_read(file), file)
    described = _json(path / "config.json") if path.is_dir() else {}
    config = _config_from_json(described, path) if described else config_from_tensors(state, file)
    with torch.device("meta"):  # the weights come from the file: nothing is drawn or allocated twice
        model = Wav2Vec2Model(config)
    _check_complete(state, model, file)
    model.load_state_dict({key: state[key] for key in model.state_dict()}, assign=True)
    model.eval().requires_grad_(False)
    preprocessor = _json(path / "preprocessor_config.json") if path.is_dir() else {}
    normalize = preprocessor.get("do_normalize")
    return model, normalize if isinstance(normalize, bool) else None


def conv_features(model: Wav2Vec2Model, wave: torch.Tensor) -> torch.Tensor:
    """The convolution stack at 50 Hz: wave [1, N] -> [1, C, T], T = (N - 400) // 320 + 1."""
    return model.feature_extractor(wave.to(model.dtype))


def hidden_states(model: Wav2Vec2Model, x: torch.Tensor) -> list[torch.Tensor]:
    """The input of the first layer and the output of every layer: [1, T, C] -> L+1 tensors [1, T, H].

    Models that normalise before each layer ("stable layer norm") have their final norm in the last one, as
    transformers' recorded hidden states do. The layers are run here one by one because transformers 5 no longer
    hands out hidden states from a changed forward.
    """
    encoder = model.encoder
    norm_last = model.config.do_stable_layer_norm
    hidden, _ = model.feature_projection(x.to(model.dtype))
    hidden = hidden + encoder.pos_conv_embed(hidden)
    states = [hidden if norm_last else encoder.layer_norm(hidden)]
    for layer in encoder.layers:
        output = layer(states[-1])
        states.append(output[0] if isinstance(output, tuple) else output)  # a tuple before transformers 5
    if norm_last:
        states[-1] = encoder.layer_norm(states[-1])
    return states


def layer_outputs(model: Wav2Vec2Model, x: torch.Tensor) -> list[torch.Tensor]:
    """The output of every layer, without the first one's input: [1, T, C] -> L tensors [1, T, H]."""
    return hidden_states(model, x)[1:]


def config_from_tensors(state: dict[str, torch.Tensor], file: Path) -> Wav2Vec2Config:
    """The dimensions of a checkpoint without a config.json.

    The number of heads leaves no trace in the tensors: it is taken as width / 64, which holds for every published
    size (12 for 768, 16 for 1024). Layer norm in the convolutions and norm-before-layer come together in all of them.
    """
    convs = _count(state, "feature_extractor.conv_layers.")
    shapes = [state[f"feature_extractor.conv_layers.{i}.conv.weight"].shape for i in range(convs)]
    hidden = state["encoder.layer_norm.weight"].shape[0]
    if convs != len(CONV_STRIDES) or hidden % HEAD_WIDTH:
        raise InputError(
            f"{file.name}: a wav2vec2 of {convs} convolutions and width {hidden} cannot be read without a config.json.",
            "Give the folder that holds its config.json.",
        )
    position = state[WEIGHT_NORM[POSITION + "weight_v"]].shape
    layer_norm = "feature_extractor.conv_layers.1.layer_norm.weight" in state
    return _config(
        {
            "hidden_size": hidden,
            "num_hidden_layers": _count(state, "encoder.layers."),
            "num_attention_heads": hidden // HEAD_WIDTH,
            "intermediate_size": state["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
            "conv_dim": [shape[0] for shape in shapes],
            "conv_kernel": [shape[2] for shape in shapes],
            "conv_stride": CONV_STRIDES,
            "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in state,
            "feat_extract_norm": "layer" if layer_norm else "group",
            "do_stable_layer_norm": layer_norm,
            "num_conv_pos_embeddings": position[2],
            "num_conv_pos_embedding_groups": hidden // position[1],
        }
    )


def _config(values: dict) -> Wav2Vec2Config:
    # no masking (it is for training) and no adapter after the encoder, so that only encoder weights are expected
    fixed = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "add_adapter": False}
    return Wav2Vec2Config.from_dict(values | fixed, attn_implementation="sdpa")


def _config_from_json(described: dict, path: Path) -> Wav2Vec2Config:
    kind = described.get("model_type", "wav2vec2")
    if kind != "wav2vec2":
        raise InputError(f"{path.name}: its config.json describes a {kind} model, not wav2vec2.", REMEDY)
    return _config(described)


def weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"audio encoder: {path} does not exist.", "Choose another file, or put it there.")
    found = [path / "model.safetensors", *sorted(path.glob("*.safetensors")), path / "pytorch_model.bin"]
    file = next((candidate for candidate in found if candidate.is_file()), None)
    if file is None:
        raise InputError(
            f"{path.name}: the folder holds neither model.safetensors nor pytorch_model.bin.",
            "Download the model's weights into it; they are not fetched on their own.",
        )
    return file


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        with open(file, "rb") as opened:
            start = opened.read(64)
        if file.suffix in PICKLED and not is_pickle(start):
            raise NotSafetensors(what_is(start))
        if file.suffix in PICKLED:
            state = torch.load(file, map_location="cpu", weights_only=True)  # refuses to run any code
        else:
            read_header(file)  # says what is wrong in plainer words
            state = load_file(file)
    except (NotSafetensors, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise InputError(f"{file.name}: it cannot be read as model weights ({reason[:200]}).", REMEDY) from problem
    if not isinstance(state, dict):
        raise InputError(f"{file.name}: it holds a {type(state).__name__}, not named tensors.", REMEDY)
    return state


def _encoder_state(state: dict[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    """The encoder's tensors in float32 under the names torch gives them; heads, quantisers and so on are left out."""
    named = {key.removeprefix("wav2vec2."): value for key, value in state.items() if isinstance(value, torch.Tensor)}
    kept = {WEIGHT_NORM.get(key, key): value for key, value in named.items() if key.startswith(ENCODER_PARTS)}
    kind = identify({key: tuple(value.shape) for key, value in state.items() if isinstance(value, torch.Tensor)})
    if kind.role != SPEECH or FIRST_CONV not in kept or "encoder.layer_norm.weight" not in kept:
        some = ", ".join(list(state)[:3]) or "none"
        raise InputError(f"{file.name}: not a wav2vec2 file but {kind.name}; its tensors are {some} ...", REMEDY)
    return {key: value.float() for key, value in kept.items()}


def _check_complete(state: dict[str, torch.Tensor], model: Wav2Vec2Model, file: Path) -> None:
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    if missing:
        raise InputError(
            f"{file.name}: {len(missing)} of {len(expected)} tensors are missing: {', '.join(missing[:3])} ...",
            "Download the file again; it is cut off or was converted for another program.",
        )
    for key, wanted in expected.items():
        if state[key].shape != wanted.shape:
            raise InputError(
                f"{file.name}: {key} has shape {list(state[key].shape)}, not {list(wanted.shape)} as in config.json.",
                "Take config.json and weights from the same model.",
            )
        if not torch.isfinite(state[key]).all():
            raise InputError(f"{file.name}: {key} holds NaN or infinite weights.", "Download the file again.")


def _count(state: dict[str, torch.Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _json(file: Path) -> dict:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{file}: it is not valid JSON ({problem}).", "Download the file again.") from problem
    if not isinstance(content, dict):
        raise InputError(f"{file}: it holds a {type(content).__name__}, not settings.", "Download the file again.")
    return content
