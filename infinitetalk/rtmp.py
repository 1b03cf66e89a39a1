"""A live stream to an RTMP server, through rtmp_push.py in a process of its own, and the check of its address.

Every wait here has an end: a server that refuses, hangs or leaves is an OSError after STALL seconds at most.
Messages never show the address beyond its host: the rest is the key of the stream. Knows no run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from .config import FPS
from .errors import InputError
from .fragments import Fragments
from .sound import Sound

HLS = "hls"
STALL = 10.0  # seconds without a sign of life after which a connection is given up
_SLACK = 1.0  # seconds of video that may still be on the way when a segment counts as sent
_REMEDY = 'Give rtmp://HOST/APP/KEY (or rtmps://), "hls" for a folder, or nothing for no live output.'
_SCRIPT = Path(__file__).with_name("rtmp_push.py")
# Not as a script: the modules beside it would come before the standard library's.
_START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"


def check_target(text: str) -> str:
    """The live output that a user wrote: "", "hls" or an RTMP address, without spaces around. Raises InputError."""
    text = text.strip()
    if text in ("", HLS):
        return text
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("rtmp", "rtmps") and bool(parts.hostname) and len(parts.path) > 1
        port = parts.port
    except ValueError:
        raise InputError("live: the address's host or port cannot be read.", _REMEDY) from None
    if not known or port == 0:
        raise InputError(f"live: {text[:10]!r}... is no RTMP address with a host and an application.", _REMEDY)
    if not text.isprintable() or " " in text:
        raise InputError("live: the address holds a space or a control character.", _REMEDY)
    return text


def shown(address: str) -> str:
    """An address without its key."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}"


class RtmpLink:
    """One connection after the other: begin(), then add(); end() at last, or cut() at any time.

    add() waits until the server has the segment, which takes as long as it is watched. sent: seconds of video that
    the server has of this connection. begin(), add() and end() raise OSError when it is lost.
    """

    def __init__(self, address: str):
        self._address = address
        self.sent = 0.0
        self._process: subprocess.Popen | None = None
        self._news = threading.Condition()

    def begin(self, sound: Sound | None) -> None:
        """Start to connect. sound: from the next frame on."""
        self._fragments = Fragments(sound)
        self.sent, self._connected, self._reason = 0.0, False, ""
        self._deadline: float | None = None  # for the next sign of life; None while nothing is expected
        command = [sys.executable, "-c", _START, str(_SCRIPT)]
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, creationflags=hidden
        )
        threading.Thread(target=self._listen, args=(process,), name="live messages", daemon=True).start()
        threading.Thread(target=self._guard, args=(process,), name="live guard", daemon=True).start()
        self._give(self._address.encode() + b"\n")

    def add(self, segment: str | Path) -> None:
        """Send a segment."""
        self._deadline = time.monotonic() + STALL
        begins = not self._fragments.header
        for fragment in self._fragments.add(segment):
            self._give(self._fragments.header + fragment.data if begins else fragment.data)
            begins = False
        with self._news:
            wanted = self._fragments.frames / FPS - _SLACK
            while self._process and not (self._connected and self.sent >= wanted):
                self._news.wait()
            self._deadline = None
        if not self._process:
            raise self._lost()

    def end(self) -> None:
        """Send the rest and hang up."""
        self._deadline = time.monotonic() + STALL
        process = self._process
        if process is None:
            raise self._lost()
        with contextlib.suppress(OSError):
            process.stdin.close()
        with self._news:
            while self._process:
                self._news.wait()
        if self._reason:
            raise self._lost()

    def cut(self) -> None:
        """Give the connection up at once; from any thread."""
        process = self._process
        if process is not None:
            process.kill()

    def _give(self, data: bytes) -> None:
        process = self._process
        if process is None:
            raise self._lost()
        try:
            process.stdin.write(data)
            process.stdin.flush()
        except OSError:
            with self._news:
                while self._process:  # what it died of is still to be read
                    self._news.wait()
            raise self._lost() from None

    def _lost(self) -> OSError:
        return ConnectionError(self._reason or "the connection was closed")

    def _listen(self, process: subprocess.Popen) -> None:
        """The thread that reads what the other process tells, and notices its end."""
        for line in process.stdout:
            kind, _, rest = line.decode(errors="replace").strip().partition(" ")
            with self._news:
                if self._process is not process:  # given up, and another one has its place
                    continue
                self._connected = self._connected or kind == "connected"
                self.sent = float(rest) if kind == "sent" else self.sent
                self._reason = rest if kind == "error" else self._reason
                if self._deadline is not None:
                    self._deadline = time.monotonic() + STALL
                self._news.notify_all()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        with self._news:
            if self._process is process:
                self._process = None
            self._news.notify_all()

    def _guard(self, process: subprocess.Popen) -> None:
        """The thread that ends a connection without signs of life."""
        while process.poll() is None:
            time.sleep(0.1)
            deadline = self._deadline
            if self._process is process and deadline is not None and time.monotonic() > deadline:
                self._reason = f"no answer for {STALL:.0f} s"
                process.kill()
