"""Finished segments as pieces of a fragmented mp4, each complete in itself: for files that are watched as they grow.

One header, then a fragment per group of pictures with the sound of its time; a player that has the header can
show every fragment as soon as it has it. The picture is copied, the sound encoded once, in step. Holds one group
of pictures. Knows no files of its own, no network and no threads.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from .config import FPS
from .decoding import Decoder
from .join import Splice
from .sound import Sound
from .soundtrack import Soundtrack, check_soundtrack

_SOUND_AHEAD = 3 * 1024  # samples: AAC hands out a block when it has the two after it
# One fragment a file; the offsets count from the fragment itself, which is put elsewhere; its times go on.
_FLAGS = "frag_custom+delay_moov+default_base_moof+skip_trailer"


@dataclass(frozen=True)
class Fragment:
    """data: moof and mdat; frames: of picture in it."""

    data: bytes
    frames: int


class Fragments:
    """A stream from its start. `header` is known once the first fragment is; `frames`: in all segments added.

    sound: is heard from the first frame on; None: a silent film. Raises InputError for unusable sound.
    """

    def __init__(self, sound: Sound | None):
        self.header = b""
        self._splice = Splice()
        self._count = 0
        self._voice: av.AudioStream | None = None
        self._priming = 0  # samples that the encoder puts before the first; players skip them
        self._soundtrack = None
        if sound is not None:
            check_soundtrack(sound)
            self._holder = av.open(io.BytesIO(), "w", format="mp4")  # no packet is written to it
            self._soundtrack = Soundtrack(self._holder, sound)
            self._holder.start_encoding()  # opens the encoder and fills in the stream's description

    @property
    def frames(self) -> int:
        return self._splice.frames

    def add(self, segment: str | Path) -> Iterator[Fragment]:
        """The fragments of a segment, to be read to the end. Raises InputError for one that does not fit."""
        with self._splice.open(segment) as file:
            group: list[av.Packet] = []
            for packet in self._splice.packets(file):
                if packet.is_keyframe and group:
                    yield self._fragment(file, group)
                    group = []
                group.append(packet)
            yield self._fragment(file, group)

    def _fragment(self, file: Decoder, group: list[av.Packet]) -> Fragment:
        sound = self._sound_until(max(packet.pts for packet in group) + 1)
        discontinuous = "+frag_discont" if self._count else ""
        options = {"movflags": _FLAGS + discontinuous, "use_editlist": "1", "fragment_index": str(self._count + 1)}
        data = io.BytesIO()
        with av.open(data, "w", format="mp4", options=options) as output:
            picture = output.add_stream_from_template(file.stream, opaque=True)
            heard = self._voice and output.add_stream_from_template(self._voice, opaque=True)
            for packet in group:
                packet.stream = picture
                output.mux(packet)
            for packet in sound:
                packet.stream = heard
                output.mux(packet)
        self._count += 1
        boxes = list(_split(data.getvalue()))
        if not self.header:
            self.header = b"".join(box for kind, box in boxes if kind in (b"ftyp", b"moov"))
        return Fragment(b"".join(box for kind, box in boxes if kind in (b"moof", b"mdat")), len(group))

    def _sound_until(self, frames: int) -> list[av.Packet]:
        if self._soundtrack is None:
            return []
        until = Fraction(frames, FPS) + Fraction(_SOUND_AHEAD, self._soundtrack.rate)
        packets = [packet for packet in self._soundtrack.encode(until) if packet.size]
        if not self._count:
            self._voice, self._priming = packets[0].stream, -packets[0].pts
        else:
            # FFmpeg counts the times of a later fragment as if the first packet had been shown at 0.
            for packet in packets:
                packet.pts, packet.dts = packet.pts + self._priming, packet.dts + self._priming
        return packets


def _split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole box) of the boxes of the top level."""
    start = 0
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, data[start : start + size]
        start += size
