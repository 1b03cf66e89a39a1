"""The settings that belong together: the public implementation's own, and those of the distillation LoRAs.

Also what to tell the user when a preset does not fit the inputs. Knows no model, no LoRA file and no sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

from .settings import GuidanceConfig

NAMES = ("reference 480p", "reference 720p", "FusionX 8 steps", "LightX2V 4 steps")
SHIFTING_SECONDS = 60  # the public README: FusionX's colour shift grows beyond one minute of image to video


@dataclass(frozen=True)
class Preset:
    """steps, shift: of the noise schedule; guidance: text and audio scales; lora: the LoRA it is meant for, "" for
    none; shifts: that LoRA's colours drift in a long video from a still picture."""

    steps: int
    shift: float
    guidance: GuidanceConfig
    lora: str = ""
    shifts: bool = False


_REFERENCE, _DISTILLED = GuidanceConfig(5.0, 4.0), GuidanceConfig(1.0, 2.0)
# Source: the README and the command line's defaults of the public InfiniteTalk implementation.
PRESETS = dict(
    zip(
        NAMES,
        (
            Preset(40, 7.0, _REFERENCE),
            Preset(40, 11.0, _REFERENCE),
            Preset(8, 2.0, _DISTILLED, lora="FusionX", shifts=True),
            Preset(4, 2.0, _DISTILLED, lora="LightX2V"),
        ),
        strict=True,
    )
)
SAMPLER = "euler"  # of every preset: the reference steps along the schedule in straight lines, with a LoRA too


def warnings(preset: Preset, lora: bool | None, seconds: float | None, still: bool | None) -> tuple[str, ...]:
    """What does not fit a preset, one sentence or two each: the problem and what to do.

    lora: whether the model has a LoRA; seconds: length of the speech; still: whether the reference is one picture;
    each None when not known.
    """
    found = []
    if preset.lora and lora is False:
        found.append(
            f"The {preset.lora} LoRA is not loaded: {preset.steps} steps without it give a blurred picture. Put "
            "LoraLoaderModelOnly before this node, strength 1; if it is merged into the model file, ignore this."
        )
    if not preset.lora and lora:
        found.append(
            f"A LoRA is loaded, and this preset is for the plain model: {preset.steps} steps at text scale "
            f"{preset.guidance.text:g}. With FusionX or LightX2V choose its preset; for any other LoRA ignore this."
        )
    if preset.shifts and seconds is not None and seconds > SHIFTING_SECONDS and still is not False:
        source = "from one picture" if still else "if the reference is one picture"
        found.append(
            f"The speech is {seconds:.0f} s long: with {preset.lora} colours shift beyond {SHIFTING_SECONDS} s "
            f"{source}. Make the reference move with InfiniteTalk Pan and Zoom, or use LightX2V."
        )
    return tuple(found)
