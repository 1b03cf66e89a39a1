"""Audio: encoder features, loudness, what each window sees, and its projection to tokens."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from infinitetalk.audio import loudness_gain, normalize_loudness
from infinitetalk.config import SAMPLE_RATE, WindowConfig
from infinitetalk.convolution import ConvStack
from infinitetalk.encoding import Encoder, encode_features, normalize_wave, to_25hz
from infinitetalk.features import (
    TAPS,
    AudioFeatures,
    split_taps,
    window_indices,
    window_taps,
)
from infinitetalk.model.audio_projection import AudioProjection, project
from infinitetalk.sound import MemorySound
from infinitetalk.timeline import feature_frames, plan, video_frames
from infinitetalk.wav2vec import conv_features, layer_outputs, load_wav2vec

from .registry import Golden, Result, case, error

MINUS_INFINITY = -1e9  # how the files write it


def _pcm(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() / 32768.0


def _sound(wave: torch.Tensor) -> MemorySound:
    return MemorySound(wave[None, None], SAMPLE_RATE)


@case("audio_features")
def audio_features(golden: Golden) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        save_file(golden.weights(), Path(folder, "model.safetensors"))
        Path(folder, "config.json").write_text(json.dumps(golden.config["wav2vec2"]), encoding="utf-8")
        model, _ = load_wav2vec(folder)
        for i in range(len(golden.config["samples"])):
            wave = _pcm(golden[f"wave{i}.pcm16"])
            expected = golden[f"wave{i}.features"]
            normalised, head = normalize_wave(wave), golden[f"wave{i}.normalised_head"]
            yield Result("normalised_head", error(normalised[: len(head)], head), 1e-5)
            conv = to_25hz(conv_features(model, normalised[None]), len(expected))[0]
            yield Result("conv_features", error(conv, golden[f"wave{i}.conv_features"]), 1e-5)
            layers = torch.stack([output[0] for output in layer_outputs(model, conv[None])], dim=1)
            yield Result("layers", error(layers, expected), 1e-4)
            if feature_frames(len(wave)) != len(expected):  # lengths at which the reference rounds a frame away
                continue
            encoder = Encoder(ConvStack(model.feature_extractor.conv_layers), lambda x: layer_outputs(model, x))
            speech, _ = encode_features(_sound(wave), encoder, normalize=True)
            yield Result("features", error(speech, expected), 1e-4)


@case("loudness")
def loudness(golden: Golden) -> Iterator[Result]:
    all_lufs, all_gains = golden["lufs"].tolist(), golden["gain"].tolist()
    start, end = golden.config["excerpt"]
    for name, expected_lufs, expected_gain in zip(golden.config["order"], all_lufs, all_gains, strict=True):
        wave = _sound(_pcm(golden[f"{name}.pcm16"]))
        lufs, gain = loudness_gain(wave, golden.config["target_lufs"])
        yield Result("lufs", error(MINUS_INFINITY if lufs == -math.inf else lufs, expected_lufs), 1e-3)
        yield Result("gain", error(gain / expected_gain, 1.0), 1e-4)
        out = normalize_loudness(wave, golden.config["target_lufs"])
        yield Result("out_excerpt", error(out.read(start, end - start)[0], golden[f"{name}.out_excerpt"]), 1e-5)


@case("audio_windows/plan")
def window_plan(golden: Golden) -> Iterator[Result]:
    for run, settings in golden.config["runs"].items():
        windows = _plan(settings)
        starts_ends = torch.tensor([[window.start, window.end] for window in windows])
        yield Result(run, error(starts_ends, golden[f"{run}.windows"]), 0)
        if len(settings["audio_frames"]) == 1:  # with several speakers the recorded length is the last one's
            yield Result(f"{run}.final_frames", error(video_frames(windows), settings["final_frames"]), 0)


@case("audio_windows/taps")
def taps(golden: Golden) -> Iterator[Result]:
    for run, settings in golden.config["runs"].items():
        windows = _plan(settings)
        for person, frames in enumerate(settings["audio_frames"], start=1):
            own_index = torch.arange(frames, dtype=torch.float32)[:, None, None]
            features = AudioFeatures(
                own_index, torch.full((1, 1, 1), -1.0), MemorySound(torch.zeros(1, 1, 1), 16_000), "index"
            )
            for window in windows:
                expected = golden[f"{run}.w{window.index}.person{person}"]
                is_last = window is windows[-1]
                yield Result(run, error(window_indices(frames, window, "mirror", is_last), expected), 0)
                found = window_taps(features, window, "mirror", is_last)[..., 0, 0]
                yield Result(run, error(found, expected), 0)


@case("audio_windows/split")
def split(golden: Golden) -> Iterator[Result]:
    expected_first, expected_latter = golden["split.first"], golden["split.latter"]
    frames = 1 + 4 * len(expected_latter)
    frame, tap = torch.meshgrid(torch.arange(frames), torch.arange(len(TAPS)), indexing="ij")
    first, latter = split_taps(torch.stack((frame, tap), dim=-1))
    yield Result("first", error(first, expected_first), 0)
    yield Result("latter", error(latter, expected_latter), 0)


@case("audio_windows/proj")
def projection(golden: Golden) -> Iterator[Result]:
    weights, audio = golden.weights(), golden.inp("input.audio")
    width, hidden = math.prod(audio.shape[-2:]), weights["proj1.weight"].shape[0]
    token_width = weights["norm.weight"].shape[0]
    tokens = weights["proj3.weight"].shape[0] // token_width
    layers = AudioProjection(width, hidden, tokens, token_width, operations=torch.nn)
    layers.load_state_dict(weights)
    out = torch.cat([project(layers, *split_taps(speaker)) for speaker in audio])
    yield Result("out", error(out, golden["proj.out"]), 1e-5)
    zero = project(layers, *split_taps(torch.zeros_like(audio[0])))
    yield Result("out_zero_audio", error(zero, golden["proj.out_zero_audio"]), 1e-5)


def _plan(settings: dict):
    total = min(settings["audio_frames"][0], settings["max_frames_num"])
    return plan(total, WindowConfig(settings["frame_num"], settings["motion_frame"]))
