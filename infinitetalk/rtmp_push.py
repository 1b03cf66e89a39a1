"""Sends the fragmented mp4 on its standard input to an RTMP address, no faster than it is watched. A program.

rtmp.py starts it. In a process of its own because FFmpeg connects while it holds Python's interpreter, so that a
server that never answers would stop everything in the process; this one can be killed. The address is the first
line of the input, where other users of the machine do not see the key in it. It tells on its standard output, one
line each: "connected", "sent SECONDS", and "error TEXT" at last. Imports nothing of the package.
"""

from __future__ import annotations

import os
import sys
import time

import av

AHEAD = 2.0  # seconds of video that may be sent before their time
STEP = 0.4  # seconds of video between two messages


def tell(line: str) -> None:
    print(line, flush=True)


def first_line() -> str:
    """Read byte by byte, to leave the rest to FFmpeg."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        line += byte
    return line.decode()


def push(address: str) -> None:
    """Copy until the input ends."""
    # What a header says is enough: nothing is read ahead to guess at it.
    source = av.open("pipe:0", "r", format="mp4", options={"fpsprobesize": "0", "probesize": "32"})
    with source, av.open(address, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as output:
        streams = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in source.streams}
        output.start_encoding()
        tell("connected")
        start, told = time.monotonic(), 0.0
        for packet in source.demux():
            if not packet.size:
                continue
            shown = float(packet.dts * packet.time_base)
            late = time.monotonic() - start - shown
            if late > 0:
                start += late  # the video was not there yet: the next part has its time from here on
            elif late < -AHEAD:
                time.sleep(-AHEAD - late)
            packet.stream = streams[packet.stream_index]
            output.mux(packet)
            if shown >= told + STEP:
                told = shown
                tell(f"sent {shown:.2f}")


if __name__ == "__main__":
    try:
        push(first_line())
    except (av.FFmpegError, OSError) as problem:
        tell(f"error {problem.strerror or problem}")
        sys.exit(1)
