"""Source videos and picture batches by time: which frame is shown when, and what is refused, on real files."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.source import PictureSource, VideoSource
from infinitetalk.timeline import plan

from .clips import NTSC, Numbered, number_of, numbered_picture, write_clip

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 10
MS = Fraction(1, 1000)
ONE = 1 << 16  # in a display matrix


def shown(times: list[Fraction], second: Fraction) -> int:
    """The frame that a player shows at `second`: the last whose time has come."""
    return max(index for index, time in enumerate(times) if time <= second)


@pytest.fixture(scope="module")
def ntsc(tmp_path_factory) -> Path:
    """Ten minutes of 29.97 frames per second."""
    count = int(MINUTES * 60 * NTSC)
    return write_clip(tmp_path_factory.mktemp("ntsc") / "v.mp4", Numbered(count), NTSC)


@pytest.fixture(scope="module")
def variable(tmp_path_factory) -> tuple[Path, list[int]]:
    """Ten minutes at a rate that changes with every frame, and the frames' times in ms."""
    lengths = np.random.default_rng(0).integers(17, 160, 20 * MINUTES * 60).cumsum()
    times = [0, *lengths[lengths < MINUTES * 60_000].tolist()]
    path = tmp_path_factory.mktemp("variable") / "v.mkv"
    return write_clip(path, Numbered(len(times)), 25, times, MS), times


def test_a_29_97_source_stays_in_time_over_ten_minutes_of_plan(ntsc):
    source = VideoSource(ntsc)
    assert source.seconds == pytest.approx(MINUTES * 60, abs=0.05)
    windows = plan(MINUTES * 60 * 25, WindowConfig())
    assert len(windows) > 200
    for window in windows:
        second = Fraction(window.start, 25)  # when the window's first sound is heard
        number = number_of(source.frame(window.start / 25))
        assert number / NTSC <= second < (number + 1) / NTSC


def test_a_source_of_variable_rate_stays_in_time_over_ten_minutes_of_plan(variable):
    path, times = variable
    source = VideoSource(path)
    for window in plan(MINUTES * 60 * 25, WindowConfig()):
        number = number_of(source.frame(window.start / 25))
        following = times[number + 1] if number + 1 < len(times) else MINUTES * 60_000
        assert times[number] <= window.start * 40 < following


def test_one_pass_and_single_reads_agree_from_end_to_end(variable):
    path, times = variable
    source = VideoSource(path)
    numbers = [number_of(picture) for picture in source.frames(0.0, MINUTES * 60 * 25)]
    exact = np.searchsorted(times, np.arange(MINUTES * 60 * 25) * 40, side="right") - 1
    assert numbers == exact.tolist()
    for index in (0, 1, 777, 7501, 14_999):
        assert number_of(source.frame(index / 25)) == numbers[index]


def test_a_pass_begins_anywhere_and_goes_on_with_the_last_frame(ntsc):
    source = VideoSource(ntsc)
    numbers = [number_of(picture) for picture in source.frames(599.5, 40)]
    last = int(MINUTES * 60 * NTSC) - 1
    assert numbers == [min(int((Fraction(1199, 2) + Fraction(i, 25)) * NTSC), last) for i in range(40)]
    assert number_of(source.frame(1e6)) == last and number_of(source.frame(-3.0)) == 0


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "mov"])
@pytest.mark.parametrize("rate", [Fraction(12), Fraction(24000, 1001), Fraction(25), NTSC, Fraction(50)])
def test_every_container_and_rate_shows_the_latest_frame_that_has_come(tmp_path, ending, rate):
    source = VideoSource(write_clip(tmp_path / f"v.{ending}", Numbered(40), rate))
    times = [Fraction(index) / rate for index in range(40)]
    if ending == "mkv":  # stores whole ms
        times = [Fraction(round(time * 1000) - Fraction(1, 2), 1000) for time in times]
    wanted = [shown(times, Fraction(index, 25)) for index in range(30)]
    assert [number_of(picture) for picture in source.frames(0.0, 30)] == wanted
    assert [number_of(source.frame(index / 25)) for index in (0, 7, 29)] == [wanted[index] for index in (0, 7, 29)]
    assert source.seconds == pytest.approx(float(40 / rate), abs=0.01)


def test_times_count_from_the_first_frame(tmp_path):
    times = [5000 + 40 * index for index in range(20)]
    source = VideoSource(write_clip(tmp_path / "v.mkv", Numbered(20), 25, times, MS))
    assert [number_of(picture) for picture in source.frames(0.0, 22)] == [*range(20), 19, 19]
    assert source.seconds == pytest.approx(0.8, abs=0.002)


def test_a_trimmed_video_begins_and_ends_where_it_was_cut(tmp_path):
    path = write_clip(tmp_path / "v.mp4", Numbered(400), 25)
    source = VideoSource(path, start=8.0, duration=2.0)
    assert source.seconds == 2.0
    assert [number_of(picture) for picture in source.frames(0.0, 60)] == [*range(200, 250), *[249] * 10]
    assert number_of(source.frame(0.0)) == 200 and number_of(source.frame(99.0)) == 249
    assert VideoSource(path, start=15.0, duration=90.0).seconds == 1.0
    with pytest.raises(InputError, match=r"v\.mp4 is 16\.00 s long, and the part to use begins at 16 s"):
        VideoSource(path, start=16.0)


def test_bytes_in_memory_are_read_by_several_threads_at_once(tmp_path):
    data = io.BytesIO(write_clip(tmp_path / "v.mp4", Numbered(300), 25).read_bytes())
    source, found = VideoSource(data), {}

    def read(start: int) -> None:
        found[start] = [number_of(picture) for picture in source.frames(start / 25, 60)]

    threads = [threading.Thread(target=read, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {start: list(range(start, start + 60)) for start in (0, 100, 200)}


def test_memory_does_not_grow_with_the_length(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (128, 256, 3), dtype=np.uint8)
    write_clip(tmp_path / "v.mp4", [picture] * 1500, 25)
    code = """
import sys, psutil
from infinitetalk.source import VideoSource
process, resident = psutil.Process(), []
for number, _ in enumerate(VideoSource(sys.argv[1]).frames(0, 1500)):
    resident.append(process.memory_info().rss / 2**20)
print(max(resident[:300]), max(resident))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "v.mp4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    early, late = map(float, done.stdout.split())  # the frames in between are 112 MB
    assert late - early < 8, done.stdout


CORNERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "grey": (128, 128, 128)}


def corners(width: int = 96, height: int = 64) -> np.ndarray:
    """red | green over blue | grey."""
    picture = np.zeros((height, width, 3), np.uint8)
    half, middle = height // 2, width // 2
    picture[:half, :middle], picture[:half, middle:] = CORNERS["red"], CORNERS["green"]
    picture[half:, :middle], picture[half:, middle:] = CORNERS["blue"], CORNERS["grey"]
    return picture


def names(picture: torch.Tensor) -> list[str]:
    """Of the four corners, row by row."""
    height, width = picture.shape[:2]
    spots = [picture[y, x].float() for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [
        min(CORNERS, key=lambda name: (torch.tensor(CORNERS[name]) - spot).abs().sum().item()) for spot in spots
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ["red", "green", "blue", "grey"]),
        ({"rotation": 90}, ["green", "grey", "red", "blue"]),
        ({"rotation": 180}, ["grey", "blue", "green", "red"]),
        ({"rotation": -90}, ["blue", "red", "grey", "green"]),
        ({"matrix": (-ONE, 0, 0, 0, ONE, 0, 0, 0, ONE << 14)}, ["green", "red", "grey", "blue"]),  # a mirror
        ({"matrix": (0, ONE, 0, ONE, 0, 0, 0, 0, ONE << 14)}, ["red", "blue", "green", "grey"]),  # and a turn
    ],
)
def test_a_turned_video_is_seen_as_players_show_it(tmp_path, options, wanted):
    source = VideoSource(write_clip(tmp_path / "v.mp4", [corners()] * 3, 25, **options))
    picture = source.frame(0.0)
    size = (96, 64) if wanted[0] + wanted[1] in ("redgreen", "greenred", "greyblue") else (64, 96)
    assert (source.width, source.height) == size == (picture.shape[1], picture.shape[0])
    assert names(picture) == wanted
    assert next(source.frames(0.0, 1, longest=48)).shape == (size[1] // 2, size[0] // 2, 3)


def colours(path: Path, codec: str, pixels: str, matrix: str, full: bool) -> Path:
    """A clip of the corners with stated matrix and range."""
    reformat = {"dst_colorspace": matrix, "dst_color_range": "JPEG" if full else "MPEG", "src_color_range": "JPEG"}
    context = {"color_range": 2 if full else 1}
    context["colorspace"] = {"ITU709": 1, "ITU601": 6}[matrix]
    return write_clip(path, [corners()] * 3, 25, codec=codec, pixels=pixels, reformat=reformat, context=context)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["ITU709", "ITU601"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv444p10le"])
def test_colours_come_back_from_eight_and_ten_bits_of_either_range_and_matrix(tmp_path, pixels, matrix, full):
    source = VideoSource(colours(tmp_path / "v.mp4", "libx264", pixels, matrix, full))
    picture = source.frame(0.0).int()
    assert picture.dtype == torch.int32 and names(picture) == list(CORNERS)
    for name, (y, x) in zip(CORNERS, [(16, 24), (16, 72), (48, 24), (48, 72)], strict=True):
        assert (picture[y, x] - torch.tensor(CORNERS[name])).abs().max() <= 4, name


@pytest.mark.parametrize(
    ("ending", "codec", "pixels", "size"),
    [
        ("mkv", "libx264rgb", "rgb24", (96, 64)),
        ("avi", "mjpeg", "yuvj420p", (96, 64)),
        ("mov", "prores_ks", "yuv422p10le", (96, 64)),
        ("mp4", "libx264", "yuv420p", (96, 64)),  # nothing stated
        ("mp4", "libx264", "yuv420p", (96, 600)),  # nothing stated, and high: BT.709
    ],
)
def test_colours_of_other_pixels_and_of_files_that_state_nothing(tmp_path, ending, codec, pixels, size):
    options = {"codec": codec, "pixels": pixels, "stream": {"qscale": "1"} if codec == "mjpeg" else {}}
    if size[1] > 576:
        options["reformat"] = {"dst_colorspace": "ITU709"}
    elif codec == "mjpeg":
        options["reformat"] = {"dst_color_range": "JPEG"}
    picture = VideoSource(write_clip(tmp_path / f"v.{ending}", [corners(*size)] * 2, 25, **options)).frame(0.0).int()
    for name, (y, x) in zip(CORNERS, [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)], strict=True):
        spot = picture[int(y * size[1]), int(x * size[0])]
        assert (spot - torch.tensor(CORNERS[name])).abs().max() <= 5, (name, spot)


def test_odd_sizes_are_read_alike_every_time(tmp_path):
    picture = np.random.default_rng(1).integers(0, 255, (74, 90, 3), dtype=np.uint8)
    source = VideoSource(write_clip(tmp_path / "v.mp4", [picture] * 3, 25))
    assert all(torch.equal(source.frame(0.0), source.frame(0.0)) for _ in range(5))


def no_frames(path: Path) -> Path:
    """A picture stream beside a second of sound, without one frame."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        _silence(file)
    return path


def only_sound(path: Path) -> Path:
    with av.open(str(path), "w") as file:
        _silence(file)
    return path


def _silence(file: av.container.OutputContainer) -> None:
    stream = file.add_stream("aac", rate=16_000, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 16_000
    file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def torn(path: Path, kept: float, container: dict) -> Path:
    whole = write_clip(path, Numbered(500), 25, stream={"g": "25"}, container=container).read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    return path


def raw(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BAD = {
    "gone": (lambda at: at / "none.mp4", r"video: none\.mp4 is not there"),
    "empty": (lambda at: raw(at / "v.mp4", b""), r"v\.mp4 is empty \(0 bytes\)"),
    "no video": (lambda at: raw(at / "v.mp4", b"abc" * 999), r"v\.mp4 \(2997 bytes\) cannot be read as a video"),
    "half": (lambda at: torn(at / "v.mp4", 0.5, {}), r"v\.mp4 \(\d+ bytes\) cannot be read as a video"),
    "torn mp4": (
        lambda at: torn(at / "v.mp4", 0.6, {"movflags": "faststart"}),
        r"v\.mp4 is torn: it should last 20\.0 s and ends after \d+\.\d s",
    ),
    "torn mkv": (lambda at: torn(at / "v.mkv", 0.6, {}), r"v\.mkv is torn: it should last 20\.0 s and ends after"),
    "no frames": (lambda at: no_frames(at / "v.mkv"), r"v\.mkv holds no frame"),
    "only sound": (lambda at: only_sound(at / "v.mp4"), r"v\.mp4 has no picture \(1 audio streams, 0 video streams\)"),
    "prores alpha": (
        lambda at: write_clip(at / "v.mov", Numbered(2), 25, codec="prores_ks", pixels="yuva444p10le"),
        r"v\.mov: its pixels have transparency \(alpha, yuva444p\d+le, 64x64\)",
    ),
    "vp9 alpha": (
        lambda at: write_clip(at / "v.webm", Numbered(2), 25, codec="libvpx-vp9", pixels="yuva420p"),
        r"v\.webm: its pixels have transparency",
    ),
    "hdr": (
        lambda at: write_clip(
            at / "v.mp4", Numbered(2), 25, pixels="yuv420p10le", context={"color_trc": 16, "colorspace": 9}
        ),
        r"v\.mp4: its colours are HDR \(PQ, yuv420p10le\)",
    ),
    "askew": (lambda at: write_clip(at / "v.mp4", Numbered(2), 25, rotation=45), r"v\.mp4 is turned by -?45 degrees"),
    "tiny": (lambda at: write_clip(at / "v.mp4", [corners(60, 40)], 25), r"v\.mp4: 60x40 pixels is too small"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_a_source_is_refused_with_its_name_numbers_and_a_remedy(tmp_path, kind):
    make, message = BAD[kind]
    with pytest.raises(InputError, match=message) as raised:
        VideoSource(make(tmp_path))
    assert len(str(raised.value).splitlines()) == 2


def test_damage_in_the_middle_keeps_the_time_of_what_comes_after(tmp_path, caplog):
    path = write_clip(tmp_path / "v.mp4", Numbered(300), 25, stream={"g": "25"}, container={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).integers(0, 255, 3000, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    numbers = [number_of(picture) for picture in VideoSource(path).frames(0.0, 300)]
    assert numbers[:90] == list(range(90)) and numbers[250:] == list(range(250, 300))
    assert numbers != list(range(300)) and "damaged packets" in caplog.text


def test_pictures_are_shown_at_their_rate_and_not_copied():
    images = torch.stack([torch.from_numpy(numbered_picture(index)).float() / 255 for index in range(12)])
    source = PictureSource(images, NTSC)
    assert (source.width, source.height, source.seconds) == (64, 64, pytest.approx(12 * 1.001 / 30))
    wanted = [min(int(Fraction(index, 25) * NTSC), 11) for index in range(20)]
    assert [number_of(picture) for picture in source.frames(0.0, 20)] == wanted
    assert number_of(source.frame(-1.0)) == 0 and source.frame(0.0).dtype == torch.uint8
    images[3] = 1.0  # the batch itself is read
    assert number_of(source.frame(3 / float(NTSC))) == 65_535
    assert next(source.frames(0.0, 1, longest=32)).shape == (32, 32, 3)


def test_a_rate_given_as_a_float_hits_every_frame():
    images = torch.stack([torch.from_numpy(numbered_picture(index)).float() / 255 for index in range(600)])
    for rate in (30000 / 1001, 29.97, 25, 24000 / 1001):
        source = PictureSource(images, rate)
        assert [number_of(source.frame(index / rate)) for index in range(0, 600, 7)] == list(range(0, 600, 7))


@pytest.mark.parametrize(
    ("images", "rate", "message"),
    [
        (torch.zeros(0, 64, 64, 3), 25, "the batch holds no picture"),
        (torch.zeros(2, 64, 64, 4), 25, "4 channels"),
        (torch.zeros(2, 40, 64, 3), 25, "64x40 pixels is too small"),
        (torch.zeros(64, 64, 3), 25, "3 dimensions"),
        (torch.zeros(2, 64, 64, 3), 0.0, "0.0 frames per second"),
        (torch.zeros(2, 64, 64, 3), float("nan"), "nan frames per second"),
        (torch.tensor([0.0, float("nan")])[:, None, None, None].expand(2, 64, 64, 3), 25, "frame 1 holds values"),
    ],
)
def test_pictures_that_cannot_be_a_source_are_refused(images, rate, message):
    with pytest.raises(InputError, match=message):
        PictureSource(images, rate)
