"""GGUF headers: what is read from a good one and how quickly, and that no claim of a file is believed unchecked."""

from __future__ import annotations

import random
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infinitetalk.errors import InputError
from infinitetalk.gguf_header import NotGguf, Stored, gguf_header, stored_tensors
from infinitetalk.tensor_file import read_header

STRING, ARRAY, UINT32, INT32, FLOAT32 = 8, 9, 4, 5, 6
F32, Q8_0 = 0, 8


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def array(kind: int, count: int, content: bytes) -> bytes:
    return struct.pack("<IIQ", ARRAY, kind, count) + content


def tensor(name: str, sides: tuple[int, ...], kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


def gguf(
    values: dict[str, bytes], tensors: list[bytes], data: int = 0, version: int = 3, counts: tuple | None = None
) -> bytes:
    count = counts or (len(tensors), len(values))
    head = b"GGUF" + struct.pack("<IQQ", version, *count)
    head += b"".join(text(key) + value for key, value in values.items()) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32 + data)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_names_kinds_shapes_and_places_are_read(tmp_path, version):
    values = {
        "general.architecture": struct.pack("<I", STRING) + text("wan"),
        "general.quantization_version": struct.pack("<II", UINT32, 2),
        "comfy.gguf.orig_shape.b": array(INT32, 5, struct.pack("<5i", 2, 2, 2, 2, 4)),
    }
    tensors = [tensor("a", (64, 3), Q8_0, 64), tensor("b", (64,), F32, 288), tensor("c", (), F32, 0)]
    content = gguf(values, tensors, 544, version)
    start = len(content) - 544
    path = written(tmp_path, content)
    assert stored_tensors(path) == {
        "a": Stored((3, 64), "Q8_0", start + 64, 204, 68),
        "b": Stored((2, 2, 2, 2, 4), "F32", start + 288, 256, 256),
        "c": Stored((), "F32", start, 4, 4),
    }
    assert gguf_header(path)[1] == {"a": "Q8_0", "b": "F32", "c": "F32"}


def test_the_alignment_in_the_header_counts(tmp_path):
    content = gguf({"general.alignment": struct.pack("<II", UINT32, 64)}, [tensor("a", (1,))])
    content += b"\0" * (-len(content) % 64 + 4)
    assert stored_tensors(written(tmp_path, content))["a"].start == len(content) - 4


def test_every_kind_has_the_size_that_the_package_says():
    from gguf import GGML_QUANT_SIZES

    from infinitetalk.gguf_header import _KINDS

    assert {kind.value: (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}.items() <= _KINDS.items()


def test_a_text_encoder_s_tokenizer_costs_a_fraction_of_a_second(tmp_path):
    """256,384 words, scores and types, as UMT5's."""
    count = 256_384
    words = b"".join(text(f"word{n}") for n in range(count))
    values = {
        "tokenizer.ggml.tokens": array(STRING, count, words),
        "tokenizer.ggml.scores": array(FLOAT32, count, bytes(4 * count)),
        "tokenizer.ggml.token_type": array(INT32, count, bytes(4 * count)),
    }
    path = written(tmp_path, gguf(values, [tensor("token_embd.weight", (32, 4), Q8_0)], 136))
    begun = time.process_time()
    assert gguf_header(path)[0] == {"token_embd.weight": (4, 32)}
    assert time.process_time() - begun < 1.5  # measured 0.16; by objects of each word 19


ONE = [tensor("a", (8,))]
NEGATIVE = array(INT32, 2, struct.pack("<2i", -2, -4))
NESTED = struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 100_000
HOSTILE = {
    "an endless array": (gguf({"k": array(UINT32, 1 << 40, b"")}, ONE, 32), "more bytes at byte"),
    "an endless array of words": (gguf({"k": array(STRING, 1 << 40, b"")}, ONE, 32), "more bytes at byte"),
    "a size beyond 64 bits": (gguf({"k": array(10, (1 << 64) - 1, b"")}, ONE, 32), "more bytes at byte"),
    "arrays in arrays": (gguf({"k": NESTED}, ONE, 32), "an array in an array"),
    "a value of no type": (gguf({"k": struct.pack("<I", 77)}, ONE, 32), "of type 77"),
    "more values than bytes": (gguf({}, ONE, 32, counts=(1, 1 << 50)), "more bytes at byte"),
    "more tensors than bytes": (gguf({}, ONE, 32, counts=(1 << 50, 0)), "more bytes at byte"),
    "an endless name": (gguf({}, [struct.pack("<Q", 1 << 60)], 32), "a name in its header has 1152921504606846976"),
    "a name that is no text": (gguf({}, [struct.pack("<Q", 2) + b"\xff\xfe"], 64), "a name in its header is no text"),
    "too many sides": (gguf({}, [text("a") + struct.pack("<I", 1 << 31)], 32), "has 2147483648 sides"),
    "a side of nothing": (gguf({}, [tensor("a", (1 << 62, 0))], 32), r"sides \(4611686018427387904, 0\)"),
    "more numbers than bytes": (gguf({}, [tensor("a", (1 << 62, 1 << 62))], 32), "'a' ends at"),
    "numbers past the end": (gguf({}, [tensor("a", (8,), F32, 1 << 63)], 32), "'a' ends at"),
    "numbers cut off": (gguf({}, ONE, 31), "bytes where its tensor 'a' ends at"),
    "two in one place": (gguf({}, [*ONE, tensor("b", (8,), F32, 16)], 64), "'b' lies over another one"),
    "two of one name": (gguf({}, [*ONE, tensor("a", (8,), F32, 32)], 64), "two tensors 'a'"),
    "half a block": (gguf({}, [tensor("a", (33,), Q8_0)], 64), "in blocks of 32"),
    "no known kind": (gguf({}, [tensor("a", (8,), 4)], 64), "of kind 4"),
    "no power of two": (gguf({"general.alignment": struct.pack("<II", UINT32, 24)}, ONE, 32), "alignment is 24"),
    "no alignment": (gguf({"general.alignment": struct.pack("<IB", 0, 8)}, ONE, 32), "alignment is 0"),
    "another shape": (gguf({"comfy.gguf.orig_shape.a": NEGATIVE}, ONE, 32), r"-2, -4"),
    "version 1": (gguf({}, ONE, 32, version=1), "version 0x1"),
    "big-endian": (gguf({}, ONE, 32, version=3 << 24), "the other way round"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_file_claims_is_checked_first(tmp_path, name):
    content, told = HOSTILE[name]
    path = written(tmp_path, content)
    begun = time.process_time()
    with pytest.raises(NotGguf, match=told):
        stored_tensors(path)
    assert time.process_time() - begun < 1
    with pytest.raises(InputError, match=r"vae: x.gguf is not a readable safetensors or GGUF file .*\n.*fetch it"):
        read_header(path, "vae")


def test_no_claim_takes_memory(tmp_path):
    """In a process of its own that may have little: a file of 1 kB claiming 2^40 numbers."""
    path = written(tmp_path, HOSTILE["an endless array"][0])
    code = f"from infinitetalk.gguf_header import *\ntry: stored_tensors({str(path)!r})\nexcept NotGguf: print('no')"
    # Importing the library takes torch in; only what is beyond that matters.
    limit = 6_000_000_000

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, preexec_fn=little)
    assert done.stdout == "no\n", done.stderr


def test_no_damage_to_a_header_is_anything_but_a_refusal(tmp_path):
    values = {
        "general.alignment": struct.pack("<II", UINT32, 32),
        "tokens": array(STRING, 3, text("a") + text("bb") + text("")),
        "comfy.gguf.orig_shape.b": array(INT32, 2, struct.pack("<2i", 4, 8)),
    }
    whole = gguf(values, [tensor("a", (32, 2), Q8_0), tensor("b", (32,), F32, 96)], 224)
    rng = random.Random(0)
    path, refused = tmp_path / "x.gguf", 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(4, len(whole) - 224)] = rng.choice((0, 1, 9, 127, 128, 255))
        path.write_bytes(damaged[: rng.choice((len(whole), rng.randrange(len(whole))))])
        try:
            stored_tensors(path)
        except NotGguf:
            refused += 1
    assert refused > 1500
