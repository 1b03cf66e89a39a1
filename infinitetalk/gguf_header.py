"""The header of a GGUF file, versions 2 and 3: names, kinds, shapes and places of its tensors, nothing else.

The gguf package's reader makes an object of every word of a tokenizer, which takes seconds, and as many as the file
claims. Here each count is held against the bytes that are left, and arrays are stepped over. Knows no model and needs
no package. Source: the published format (docs/gguf.md of ggml), little-endian; kinds as in gguf's constants.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
MAX_HEADER = 100_000_000  # bytes; a UMT5's, with all words of its tokenizer, has 7 million
MAX_NAME, MAX_SIDES = 65_535, 8  # a key's length by the format; it allows 4 sides, and files with 5 exist
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value of each plain type
_INTS = {2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_ALIGNMENT, _SHAPE_OF = "general.alignment", "comfy.gguf.orig_shape."
_KINDS = {  # number -> name, numbers in a block, bytes of a block
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


class NotGguf(Exception):
    """A file that begins as GGUF does and is cut off or of no known kind; the text says why."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. shape: as torch has it; kind: "F32", "Q8_0", "Q4_K" ...; start, bytes: where its blocks lie,
    in rows of row_bytes."""

    shape: tuple[int, ...]
    kind: str
    start: int
    bytes: int
    row_bytes: int


def is_gguf(path: str | Path) -> bool:
    """Whether a file begins as GGUF does, whatever its name. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def gguf_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """(key -> shape as torch has it, key -> how it is stored: "F32", "Q8_0", "Q4_K" ...). Raises NotGguf, OSError."""
    found = stored_tensors(path)
    return {key: tensor.shape for key, tensor in found.items()}, {key: tensor.kind for key, tensor in found.items()}


def stored_tensors(path: str | Path) -> dict[str, Stored]:
    """Key -> its tensor's place. Raises NotGguf, also for a file that ends before its numbers do, and OSError."""
    size = os.path.getsize(path)
    with open(path, "rb", buffering=1 << 20) as file:
        header = _Header(file, min(size, MAX_HEADER))
        if header.take(4) != MAGIC:
            raise NotGguf("it does not begin as GGUF does")
        version, tensors, values = header.numbers("IQQ")
        if version not in (2, 3):
            raise NotGguf(f"it is of version {version:#x}, or of a machine that writes numbers the other way round")
        noted = dict(header.value() for _ in header.counted(values, 12))
        told = [header.tensor() for _ in header.counted(tensors, 24)]
    align = noted.get(_ALIGNMENT, (32,))[0]
    if align <= 0 or align & (align - 1):
        raise NotGguf(f"its alignment is {align}, no power of two")
    first = -(-header.at // align) * align
    found = {}
    for name, sides, kind, offset in told:
        if name in found:
            raise NotGguf(f"it has two tensors {_told(name)}")
        found[name] = _stored(name, sides, kind, first + offset, noted.get(_SHAPE_OF + name))
    _check_places(found, size)
    return found


class _Header:
    """Steps through a header and never past what the file has. at: bytes read so far."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size, self.at = file, size, 0

    def take(self, count: int) -> bytes:
        self.at += self._checked(count)
        return self._file.read(count)

    def skip(self, count: int) -> None:
        self.at += self._checked(count)
        self._file.seek(count, os.SEEK_CUR)

    def counted(self, count: int, least: int) -> range:
        """A loop over `count` things of at least `least` bytes."""
        self._checked(count * least)
        return range(count)

    def numbers(self, form: str) -> tuple[int, ...]:
        form = f"<{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def name(self) -> str:
        (length,) = self.numbers("Q")
        if length > MAX_NAME:
            raise NotGguf(f"a name in its header has {length} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise NotGguf(f"a name in its header is no text ({error})") from error

    def value(self) -> tuple[str, tuple[int, ...]]:
        """A key with its whole numbers, where it is one that is needed; with () otherwise."""
        key, (kind,) = self.name(), self.numbers("I")
        if key == _ALIGNMENT and kind == _UINT32:
            return key, self.numbers("I")
        if kind != _ARRAY:
            self._pass(kind, 1)
            return key, (0,) if key == _ALIGNMENT else ()
        kind, count = self.numbers("IQ")
        if key.startswith(_SHAPE_OF) and kind in _INTS and count <= MAX_SIDES:
            return key, self.numbers(f"{count}{_INTS[kind]}")
        self._pass(kind, count)
        return key, ()

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """(name, sides with the width first, number of the kind, offset)."""
        name, (count,) = self.name(), self.numbers("I")
        if count > MAX_SIDES:
            raise NotGguf(f"its tensor {_told(name)} has {count} sides")
        *sides, kind, offset = self.numbers(f"{count}QIQ")
        return name, tuple(sides), kind, offset

    def _pass(self, kind: int, count: int) -> None:
        if kind in _SIZES:
            self.skip(count * _SIZES[kind])
        elif kind == _STRING:
            for _ in self.counted(count, 8):
                self.skip(int.from_bytes(self.take(8), "little"))
        else:
            raise NotGguf(f"a value in its header is of type {kind}, which is not known or an array in an array")

    def _checked(self, count: int) -> int:
        if count > self._size - self.at:
            raise NotGguf(f"its header wants {count} more bytes at byte {self.at}, and {self._size - self.at} are left")
        return count


def _stored(name: str, sides: tuple[int, ...], number: int, start: int, original: tuple[int, ...] | None) -> Stored:
    """original: the shape of a tensor of more sides than GGUF allows, which is stored flat with its shape beside it."""
    if number not in _KINDS:
        raise NotGguf(f"its tensor {_told(name)} is of kind {number}, which is not known")
    kind, block, block_bytes = _KINDS[number]
    width, count = sides[0] if sides else 1, math.prod(sides)
    if 0 in sides or width % block:
        raise NotGguf(f"its tensor {_told(name)} has the sides {sides} in blocks of {block} ({kind})")
    shape = original or tuple(reversed(sides))
    if any(side < 0 for side in shape) or math.prod(shape) != count:
        raise NotGguf(f"its tensor {_told(name)} has {count} numbers and the shape {list(shape)}")
    return Stored(shape, kind, start, count // block * block_bytes, width // block * block_bytes)


def _told(name: str) -> str:
    return repr(name[:80])


def _check_places(found: dict[str, Stored], size: int) -> None:
    end = 0
    for name, tensor in sorted(found.items(), key=lambda item: (item[1].start, item[1].bytes)):
        if tensor.start < end:
            raise NotGguf(f"its tensor {_told(name)} lies over another one")
        end = tensor.start + tensor.bytes
        if end > size:
            raise NotGguf(f"it has {size} bytes where its tensor {_told(name)} ends at {end}")
