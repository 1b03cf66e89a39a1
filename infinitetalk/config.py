"""The settings of a run as frozen values that check themselves.

Knows numbers and words only: no torch, no host, no files.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError
from .settings import CacheConfig, GuidanceConfig

MATHS = 1  # raised whenever the same inputs give other pictures than before: finished windows are then not continued
FPS = 25  # output frames per second; the audio features have the same rate
SAMPLE_RATE = 16_000  # what wav2vec2 hears, Hz
VAE_TIME = 4  # frames per latent frame (after the first)
VAE_SPACE = 8  # pixels per latent cell
SIZE_STEP = 16  # pixels per token: VAE_SPACE times the DiT's 2x2 patch
MAX_SIDE = 4096  # pixels; twice the largest trained side
MAX_FRAMES = 401  # per window; five times the trained length
MAX_MOTION = 397  # one latent frame less than a window

MODES = ("streaming", "clip")
TAILS = ("silence", "mirror")
COLOUR_REFERENCES = ("first", "window")


def _whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name}: {value!r} is not a whole number.", "Give a whole number of frames.")


def _beside(value: int, least: int, most: int) -> str:
    """The numbers of the form 4n+1 next to one that is not, of those from `least` to `most`: "5 or 9"."""
    lower = max(least, (value - 1) // VAE_TIME * VAE_TIME + 1)
    return " or ".join(str(number) for number in (lower, lower + VAE_TIME) if number <= most)


@dataclass(frozen=True)
class WindowConfig:
    """Length of one sampling window and of its overlap with the window before, in frames at 25 fps.

    frames: 4n+1, 5 or more (the reference uses 81). motion: frames of the previous window that the
    next one continues from, 4n+1 and smaller than frames (the reference uses 9).
    """

    frames: int = 81
    motion: int = 9

    def __post_init__(self):
        _whole(self.frames, "frames per window")
        _whole(self.motion, "motion frames")
        if self.frames > MAX_FRAMES:
            raise InputError(
                f"frames per window: {self.frames} is more than {MAX_FRAMES}.",
                "Use 81, the trained length; long speech is made of many windows.",
            )
        if self.frames < 5 or (self.frames - 1) % VAE_TIME:
            raise InputError(
                f"frames per window: {self.frames} is not of the form 4n+1.",
                f"Use {_beside(self.frames, 5, MAX_FRAMES)}; the model was trained with 81.",
            )
        most = self.frames - VAE_TIME
        if self.motion >= self.frames:
            raise InputError(
                f"motion frames: {self.motion} is not smaller than the {self.frames} frames of a window.",
                f"Use at most {most}, so that every window adds new frames.",
            )
        if self.motion < 1 or (self.motion - 1) % VAE_TIME:
            raise InputError(
                f"motion frames: {self.motion} is not of the form 4n+1.",
                f"Use {_beside(self.motion, 1, most)}; the usual value is 9.",
            )


@dataclass(frozen=True)
class StreamConfig:
    """Everything about a run but its models and inputs.

    colour: strength of the colour correction against the reference picture, 0-1. colour_reference: which
    picture that is with a source video, the scene's "first" (as the reference) or each "window"'s own.
    mode: "streaming" for the whole speech, "clip" for one window.
    tail: what is heard after the speech ends inside the last window: "silence", or "mirror" as the
    reference does it (the speech backwards, which makes lips move).
    source_strength: 1 starts from noise; less is SDEdit: the share of the steps that are run, from the
    source's noised latents on. cuts: frames where a new scene of the source begins. cache: skips forwards.
    silence_gate: where nobody speaks the model hears the silence after speech, which closes the mouth.
    """

    window: WindowConfig = WindowConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    seed: int = 0
    colour: float = 1.0
    mode: str = "streaming"
    tail: str = "silence"
    colour_reference: str = "first"
    source_strength: float = 1.0
    cuts: tuple[int, ...] = ()
    cache: CacheConfig | None = None
    silence_gate: bool = False

    def __post_init__(self):
        if not 0.0 <= self.colour <= 1.0:
            raise InputError(
                f"colour correction: {self.colour} is outside 0 to 1.", "Use 1 for full strength, 0 for off."
            )
        if not 0.0 < self.source_strength <= 1.0:
            raise InputError(
                f"source strength: {self.source_strength} is not above 0 and at most 1.",
                "Use 1 to start from noise, about 0.7 to keep the source's camera movement.",
            )
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("tail", self.tail, TAILS),
            ("colour reference", self.colour_reference, COLOUR_REFERENCES),
        ):
            if value not in known:
                raise InputError(f"{name}: {value!r} is unknown.", f"Use one of {', '.join(known)}.")


def check_size(width: int, height: int) -> None:
    """Refuse a picture size, in pixels, that the model's token grid cannot hold."""
    for name, value in (("width", width), ("height", height)):
        if value < SIZE_STEP:
            raise InputError(f"{name}: {value} is below {SIZE_STEP}.", "Use 480p or 720p, the trained sizes.")
        if value > MAX_SIDE:
            raise InputError(
                f"{name}: {value} pixels are more than {MAX_SIDE}.", "Use 480p or 720p, the trained sizes."
            )
        if value % SIZE_STEP:
            down = value // SIZE_STEP * SIZE_STEP
            raise InputError(f"{name}: {value} is not a multiple of {SIZE_STEP}.", f"Use {down} or {down + SIZE_STEP}.")
