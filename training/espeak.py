"""Speech from text by espeak-ng, through the shared library and the voices of the espeakng-loader package.

Knows no corpus. The library keeps one state per process, and what it says depends on what it said before: who wants
the same samples again starts a fresh process. Its licence (GPL-3.0) covers the program, not the sound it makes.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import resample_poly

RATE = 16_000  # Hz of what is handed out
_SYNCHRONOUS, _UTF8, _CHARACTERS = 1, 1, 1  # of espeak's output modes, flags and positions
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # its parameters
_LOUD = 50  # of 100: some variants are distorted at more
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

# Timbres that go with every language; the test split has its own. Left out: robots and what is distorted.
TRAIN_VARIANTS = (
    "m1 m2 m4 m5 m7 m8 f1 f2 f4 Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Lee Mario Michael Mike "
    "Nguyen Reed adam anika aunty belinda benjamin boris caleb edward grandma grandpa ian iven4 klatt klatt2 klatt4 "
    "linda marcelo max michel norbert pablo pedro rob steph travis victor whisper zac"
).split()
TEST_VARIANTS = (
    "m3 m6 f3 f5 RicishayMax Storm Tweaky announcer david gustave john kaukovalta klatt3 klatt6 miguel quincy robert "
    "sandro shelby whisperf"
).split()


@dataclass(frozen=True)
class Voice:
    """language, variant: as espeak-ng names them; speed: words a minute; pitch, melody: 0..100, 50 is normal."""

    language: str
    variant: str
    speed: int
    pitch: int
    melody: int

    @property
    def name(self) -> str:
        return f"{self.language}+{self.variant}"


def say(voice: Voice, text: str) -> np.ndarray:
    """The text spoken: float32 [N] at 16 kHz, without the silence around it. Raises ValueError for unknown voices."""
    library, rate, pieces = _espeak()
    if library.espeak_SetVoiceByName(voice.name.encode()):
        raise ValueError(f"espeak-ng has no voice {voice.name}")
    values = {_RATE: voice.speed, _VOLUME: _LOUD, _PITCH: voice.pitch, _RANGE: voice.melody}
    for parameter, value in values.items():
        library.espeak_SetParameter(parameter, int(value), 0)
    pieces.clear()
    content = text.encode()
    library.espeak_Synth(content, len(content) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(pieces).astype(np.float32) / 32768
    return _trimmed(resample_poly(wave, RATE, rate).astype(np.float32))


def is_fresh() -> bool:
    """Whether nothing was said in this process yet."""
    return _espeak.cache_info().currsize == 0


@cache
def _espeak() -> tuple[ctypes.CDLL, int, list[np.ndarray]]:
    """The library, its sample rate, and the list that its sound arrives in; one per process."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        raise OSError("espeak-ng did not start: its voices are not where espeakng-loader says")
    arrived: list[np.ndarray] = []

    @_Callback
    def receive(samples, count, _events):
        if samples and count > 0:
            arrived.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.receive = receive  # the library keeps a bare pointer to it
    library.espeak_SetSynthCallback(receive)
    return library, rate, arrived


def _trimmed(wave: np.ndarray) -> np.ndarray:
    heard = np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max(initial=1e-9))
    return wave[heard[0] : heard[-1] + 1] if len(heard) else wave[:0]
