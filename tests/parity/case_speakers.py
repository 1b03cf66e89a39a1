"""Several speakers: their waveforms, their regions on every grid, and the map of attention to regions."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from infinitetalk.audio import normalize_loudness
from infinitetalk.buckets import pick_bucket, resize_crop_mask
from infinitetalk.config import SAMPLE_RATE
from infinitetalk.model.speaker_map import speaker_map
from infinitetalk.regions import box_mask, default_masks, reference_box, to_latent, to_tokens, with_background
from infinitetalk.sound import MemorySound, Sound
from infinitetalk.speakers import arrange
from infinitetalk.timeline import feature_frames

from .case_model import MAP, attention
from .registry import Golden, Result, case, error


@case("two_speaker_mix")
def two_speaker_mix(golden: Golden) -> Iterator[Result]:
    for name, recorded in golden.config["results"].items():
        if "error" in recorded:  # lengths that the reference cannot add; silence is put behind the shorter one here
            continue
        order, *files = name.split(".")
        waves = [
            None if file == "None" else normalize_loudness(_sound(golden[f"{file}.pcm16"].float() / 32768.0))
            for file in files
        ]
        # The reference gives a speaker without a file silence as long as the other's sound, and that takes its turn.
        length = max(wave.samples for wave in waves if wave is not None)
        voices = arrange([_sound(torch.zeros(length)) if wave is None else wave for wave in waves], order)
        for side, wave in zip(("left", "right"), voices, strict=True):
            yield Result(order, error(_whole(wave), golden[f"{name}.{side}"]), 1e-5)
            yield Result("frames", abs(feature_frames(wave.samples) - recorded["frames"]), 0)
        if order == "para":
            for one, other in zip(arrange(waves, order), voices, strict=True):
                yield Result("silent_speaker", error(_whole(one), _whole(other)), 0)


@case("speaker_map/masks")
def masks(golden: Golden) -> Iterator[Result]:
    for name, entry in golden.config["cases"].items():
        size, target = tuple(entry["src"]), pick_bucket(*entry["src"], entry["size"].removeprefix("infinitetalk-"))
        yield Result("target", error(torch.tensor(target), torch.tensor(entry["target"])), 0)
        if entry["persons"] == 1:  # the reference makes three equal masks that decide nothing
            persons = default_masks(1, size).expand(3, -1, -1)
        elif entry["bbox"] is None:
            persons = with_background(default_masks(2, size))
        else:
            boxes = [box_mask(reference_box(numbers), size) for numbers in entry["bbox"].values()]
            persons = with_background(torch.stack(boxes))
        recorded = torch.tensor(entry["source_rows_cols_area"])
        yield Result("source", error(torch.stack([_extent(mask) for mask in persons]), recorded), 0)
        video = resize_crop_mask(persons, *target)
        yield Result("latent", error(to_latent(video), golden[f"{name}.latent_masks"]), 0)
        yield Result("tokens", error(to_tokens(video), golden[f"{name}.token_masks"]), 0)
        if entry["persons"] == 2:  # the background found on the video's own pixels is the same
            yield Result("background", error(to_tokens(with_background(video[:2])), to_tokens(video)), 0)


@case("speaker_map/map")
def attention_map(golden: Golden) -> Iterator[Result]:
    classes = golden["map.masks"].flatten(1)[None]
    for heads, name in ((golden.config["map"]["heads"], "map.out"), (3, "map.out_3heads")):
        q, k = (golden.inp(f"input.{part}{'3' if heads == 3 else ''}") for part in "qk")
        yield Result(f"{q.shape[2]}_heads", error(speaker_map(q, k, classes, attention)[0], golden[name]), MAP)


def _sound(wave: torch.Tensor) -> MemorySound:
    return MemorySound(wave[None, None], SAMPLE_RATE)


def _whole(sound: Sound) -> torch.Tensor:
    return sound.read(0, sound.samples)[0]


def _extent(mask: torch.Tensor) -> torch.Tensor:
    """[first row, row end, first column, column end, pixels] of a mask."""
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(5, dtype=torch.int64)
    return torch.tensor([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1, int(mask.sum())])
