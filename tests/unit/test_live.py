"""The growing file and the live outputs, with real files and a real RTMP server that FFmpeg makes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch

from infinitetalk import rtmp
from infinitetalk.errors import InputError
from infinitetalk.live import Growing, LiveOutput
from infinitetalk.rtmp import check_target
from infinitetalk.segment import write_segment
from infinitetalk.sound import MemorySound
from tests.unit.reading import numbered, packets, read

LENGTHS = [72, 1, 17, 51]
TONE = MemorySound((0.5 * torch.sin(2 * torch.pi * 220 * torch.arange(8 * 16_000) / 16_000))[None, None], 16_000)
SERVER = """
import sys, av
address, target = sys.argv[1:]
with open(target, "ab", buffering=0) as file:
    try:
        with av.open(address, "r", options={"listen": "1"}, timeout=(30, 20)) as source:
            for packet in source.demux(video=0):
                if packet.size:
                    file.write(len(bytes(packet)).to_bytes(4, "big") + bytes(packet))
    except OSError:
        pass  # how FFmpeg takes it that the sender hangs up
"""


@pytest.fixture(scope="module")
def segments(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("segments")
    frames, first, made = numbered(sum(LENGTHS)), 0, []
    for index, count in enumerate(LENGTHS):
        made.append(folder / f"{index}.mp4")
        write_segment(frames[first : first + count], made[-1])
        first += count
    return made


def has_tone(samples: np.ndarray, rate: int) -> bool:
    """Whether it is heard without a gap, beside the first and the last moments."""
    piece = rate // 50
    inside = samples[0][2 * piece : -8 * piece]
    loud = np.sqrt((inside[: len(inside) // piece * piece].reshape(-1, piece) ** 2).mean(1))
    return bool(len(loud)) and np.abs(loud - 0.5 / 2**0.5).max() < 0.05


def until(ready, seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 3, 1, 2]], ids=str)
@pytest.mark.parametrize("sound", [TONE, None], ids=["sound", "silent"])
def test_the_growing_file_plays_to_the_end_of_every_added_segment(tmp_path, segments, order, sound):
    growing, frames, coded = Growing(tmp_path / "live.mp4", sound), 0, []
    for index in order:
        growing.add(segments[index])
        frames += LENGTHS[index]
        coded += packets(segments[index])
        video = read(growing.path)
        assert growing.frames == frames
        assert video.times == [Fraction(i, 25) for i in range(frames)] and packets(growing.path) == coded
        if sound and frames > 17:
            assert has_tone(video.samples, video.rate)
            assert 0 <= video.samples.shape[1] - frames * 640 <= 3 * 1024


def test_a_new_growing_file_replaces_an_older_one_and_needs_its_folder(tmp_path, segments):
    for _ in range(2):
        Growing(tmp_path / "live.mp4", TONE).add(segments[2])
    assert len(read(tmp_path / "live.mp4").times) == 17
    with pytest.raises(InputError, match="cannot be written"):
        Growing(tmp_path / "missing" / "live.mp4", TONE)


@pytest.mark.parametrize("text", ["", "hls", "rtmp://host/app", "rtmps://a.b:443/app/key?x=1&y=2", "rtmp://[::1]/a/b"])
def test_targets_that_can_work_are_taken(text):
    assert check_target(f" {text}\n") == text


@pytest.mark.parametrize(
    "text",
    [
        *("HLS ", "folder/hls", "/etc/passwd", "http://host/app", "file:///tmp/x", "rtmp:", "rtmp://", "rtmp:///app"),
        *("rtmp://host", "rtmp://host/", "rtmp://host:port/app", "rtmp://host:0/app", "rtmp://host:70000/app"),
        *("rtmp://host/app key", "rtmp://host/app\nrtmp://other/app", "rtmp://[::1/a", "tcp://host/app"),
    ],
)
def test_targets_that_cannot_work_are_refused_without_showing_the_key(text):
    with pytest.raises(InputError, match="live") as caught:
        check_target(text)
    assert "rtmp://HOST/APP/KEY" in caught.value.remedy and "other" not in caught.value.problem


def played(playlist: Path, frames: int) -> tuple[list[Fraction], np.ndarray]:
    """(times of the first frames, the sound beside them) as a player that starts at the beginning gets them."""
    times, heard = [], []
    with av.open(str(playlist), options={"live_start_index": "0"}) as file:
        for packet in file.demux():
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    times.append(frame.pts * frame.time_base)
                else:
                    heard.append(frame.to_ndarray())
            if len(times) >= frames - 3 and b"ENDLIST" not in playlist.read_bytes():
                break  # the decoder keeps the last ones until more comes
    return times, np.concatenate(heard, axis=1)


def test_hls_plays_after_the_first_window_and_is_complete_at_the_end(tmp_path, segments):
    live, playlist = LiveOutput(tmp_path / "live", TONE), tmp_path / "live" / "index.m3u8"
    live.add(segments[0])
    until(playlist.exists)
    times, _ = played(playlist, 72)
    assert times == [Fraction(i, 25) for i in range(len(times))] and len(times) >= 69
    for segment in segments[1:]:
        live.add(segment)
    assert live.close() == f"Live {playlist}: ended, 4 windows sent"
    frames = sum(LENGTHS)
    times, samples = played(playlist, frames)
    assert times == [Fraction(i, 25) for i in range(frames)] and has_tone(samples, 16_000)
    text = playlist.read_text().splitlines()
    lengths = [float(line[8:-1]) for line in text if line.startswith("#EXTINF:")]
    assert text[0] == "#EXTM3U" and text[-1] == "#EXT-X-ENDLIST" and "#EXT-X-PLAYLIST-TYPE:EVENT" in text
    assert sum(lengths) == pytest.approx(frames / 25) and max(lengths) <= 2 and "#EXT-X-TARGETDURATION:2" in text


def test_hls_replaces_an_older_stream_and_nothing_else(tmp_path, segments):
    for chosen in ([0, 1, 2], [2]):
        live = LiveOutput(tmp_path, TONE)
        for index in chosen:
            live.add(segments[index])
        live.close()
        (tmp_path / "mine.txt").write_text("")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000001.m4s", "index.m3u8", "init-1.mp4", "mine.txt"]


def test_hls_goes_on_after_a_window_that_is_missing(tmp_path, segments):
    live = LiveOutput(tmp_path, TONE)
    for path in (segments[0], tmp_path / "gone.mp4", segments[3]):
        live.add(path)
    live.close()
    text = (tmp_path / "index.m3u8").read_text()
    assert text.endswith("ENDLIST\n")
    for part, index in zip(text.split("#EXT-X-DISCONTINUITY\n"), (0, 3), strict=True):
        names = [line for line in part.splitlines() if line.endswith(".m4s")]
        (header,) = [line.split('"')[1] for line in part.splitlines() if line.startswith("#EXT-X-MAP")]
        (tmp_path / "part.mp4").write_bytes(b"".join((tmp_path / name).read_bytes() for name in (header, *names)))
        assert packets(tmp_path / "part.mp4") == packets(segments[index])


def test_a_folder_that_cannot_be_made_is_told_and_tried_again(tmp_path, segments):
    (tmp_path / "live").write_text("a file is in the way")
    live = LiveOutput(tmp_path / "live", TONE)
    live.add(segments[0])
    until(lambda: "lost" in live.state)
    assert "cannot be written" in live.state and "next window" in live.state
    (tmp_path / "live").unlink()
    live.add(segments[3])
    assert "ended, 1 windows" in live.close()
    times, samples = played(tmp_path / "live" / "index.m3u8", 999)
    assert len(times) == 51 and has_tone(samples, 16_000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def receiver(port: int, target: Path):
    """A server for one connection that writes every packet of the picture to `target`; killed at the end."""
    command = [sys.executable, "-c", SERVER, f"rtmp://127.0.0.1:{port}/live/secret", str(target)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is None and any(c.status == "LISTEN" for c in listening(process)))
        yield process
    finally:
        process.kill()
        process.wait()


def listening(process: subprocess.Popen) -> list:
    of = psutil.Process(process.pid)
    return of.net_connections() if hasattr(of, "net_connections") else of.connections()


def received(target: Path) -> list[bytes]:
    data, found = target.read_bytes(), []
    while data:
        size = int.from_bytes(data[:4], "big")
        found, data = [*found, data[4 : 4 + size]], data[4 + size :]
    return found


def test_rtmp_gets_every_frame_from_the_first_window_on(tmp_path, segments):
    port, target = free_port(), tmp_path / "received"
    with receiver(port, target) as server:
        live = LiveOutput(f"rtmp://127.0.0.1:{port}/live/secret", TONE)
        live.add(segments[0])
        until(lambda: "1 windows sent" in live.state)
        assert len(received(target)) >= 25  # while the run makes the next window
        for segment in segments[1:]:
            live.add(segment)
        assert live.close() == "Live rtmp://127.0.0.1: ended, 4 windows sent"
        server.wait(10)
    assert received(target) == [packet for segment in segments for packet in packets(segment)]


def test_a_server_that_is_killed_gets_later_windows_when_it_is_back(tmp_path, segments):
    port = free_port()
    live = LiveOutput(f"rtmp://127.0.0.1:{port}/live/secret", TONE)
    with receiver(port, tmp_path / "first"):
        live.add(segments[0])
        until(lambda: "1 windows sent" in live.state)
    for _ in range(20):  # the system takes a while to notice
        live.add(segments[1])
        time.sleep(0.1)
        if "lost" in live.state:
            break
    assert "tried again with the next window" in live.state and "secret" not in live.state
    with receiver(port, tmp_path / "second") as server:
        live.add(segments[3])
        assert "windows sent" in live.close()
        server.wait(10)
    assert received(tmp_path / "second") == packets(segments[3])


def test_a_refusing_server_is_told_and_costs_the_run_nothing(segments):
    live = LiveOutput(f"rtmp://127.0.0.1:{free_port()}/live/secret", TONE)
    started = time.monotonic()
    for segment in segments:
        live.add(segment)
    assert time.monotonic() - started < 0.5
    until(lambda: "lost (Connection refused)" in live.state)
    live.close()


def test_a_silent_server_is_given_up_and_close_does_not_wait_for_it(segments, monkeypatch):
    monkeypatch.setattr(rtmp, "STALL", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        live = LiveOutput(f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/secret", TONE)
        live.add(segments[0])
        until(lambda: "lost (no answer for 2 s)" in live.state)
        live.add(segments[1])
        time.sleep(0.3)
        started = time.monotonic()
        assert "ended before everything was sent" in live.close(0.5)
        assert time.monotonic() - started < 1.6
    until(lambda: not psutil.Process().children())


def test_close_ends_a_stream_that_is_behind(tmp_path, segments):
    """Three seconds of video take a server three seconds; who closes earlier leaves the rest out."""
    port = free_port()
    with receiver(port, tmp_path / "received"):
        live = LiveOutput(f"rtmp://127.0.0.1:{port}/live/secret", TONE)
        for _ in range(4):
            live.add(segments[0])
        until(lambda: "windows sent" in live.state)
        started = time.monotonic()
        assert "ended before everything was sent" in live.close(0.2)
        assert time.monotonic() - started < 1.5
    assert not psutil.Process().children()
