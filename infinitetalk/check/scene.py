"""Who speaks, where, for how long, and what is seen: read from the nodes before a sampler and their files' headers.

Knows our nodes and ComfyUI's loaders by their classes and widgets. What other nodes make is unknown until they run:
None. Must not decode more than the first frame of a video.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..buckets import check_sides, pick_bucket
from ..config import FPS, check_size
from ..panzoom import output_size
from ..regions import Canvas
from ..timeline import clock
from .graph import Graph
from .media import Film, Picture, read_film, read_picture
from .people import Locate, conversation, hear
from .report import Report


@dataclass(frozen=True)
class Scene:
    """frames: of the speech; voices: how many, 1 for one person without a region; size: (height, width) of the video;
    still: whether one picture is the reference; held: frames that it is encoded for. None: known when the nodes run.
    """

    frames: int | None = None
    voices: int | None = None
    size: tuple[int, int] | None = None
    still: bool | None = None
    held: int | None = None


@dataclass(frozen=True)
class Seen:
    """What a reference shows. source, video: (height, width); still: whether it is one picture; seconds: of a film."""

    source: tuple[int, int] | None = None
    video: tuple[int, int] | None = None
    still: bool | None = None
    seconds: float | None = None


def read_scene(graph: Graph, sampler: str, locate: Locate, report: Report) -> Scene:
    """What comes in at a sampler's `features` and `reference`; tells it and finds what cannot work."""
    reference = graph.link(sampler, "reference")
    seen = _reference(graph, reference, locate, report)
    features = graph.link(sampler, "features")
    if graph.kind(features) == "InfiniteTalkSpeakers":
        own = graph.link(features, "reference")
        drawn = seen if own in (None, reference) else _reference(graph, own, locate, report)
        canvas = Canvas(drawn.source, drawn.video) if drawn.source and drawn.video else None
        frames, voices = conversation(graph, features, locate, report, canvas)
    else:
        frames, voices = hear(graph, features, locate, report).frames, (1 if features else None)
    if frames is not None:
        people = "" if voices == 1 else f", {voices} voices"
        report.tell("Speech", f"{clock(frames / FPS)} of speech, {frames} frames at {FPS} fps{people}")
    elif features is not None:
        report.tell("Speech", "its length is known when the speech is read")
    over = 0.0 if frames is None or seen.seconds is None else frames / FPS - seen.seconds
    if over >= 1 / FPS:
        report.tell("Picture", f"the video ends {over:.2f} s before the speech: its last picture is held for the rest")
    held = graph.value(reference, "window_frames", 81) if seen.still else None
    return Scene(frames, voices, seen.video, seen.still, held if isinstance(held, int) else None)


def _reference(graph: Graph, node: str | None, locate: Locate, report: Report) -> Seen:
    kind = graph.kind(node)
    if kind not in ("InfiniteTalkReference", "InfiniteTalkVideoReference"):
        return Seen()
    still, seconds = kind == "InfiniteTalkReference", None
    if still:
        source = _picture(graph, graph.link(node, "image"), locate, report)
    else:
        source, seconds = _film(graph, node, locate, report)
    if not any(graph.link(node, name) for name in ("clip_vision", "clip_vision_output")):
        report.problem(
            f"{graph.titled(node)}: clip_vision: nothing is connected.",
            "Connect Load CLIP Vision with clip_vision_h.safetensors.",
        )
    size, width, height = (graph.value(node, *entry) for entry in (("size", "480p"), ("width", 0), ("height", 0)))
    video = None
    if size == "custom" and isinstance(width, int) and isinstance(height, int):
        fine = report.at(graph.titled(node)).attempt(lambda: (check_size(width, height), True))
        video = (height, width) if fine else None
    elif size in ("480p", "720p") and source:
        video = report.attempt(pick_bucket, *source, size.removesuffix("p"))
    if video:
        report.tell("Picture", f"the video: {video[1]}x{video[0]} px, {video[1] // 16}x{video[0] // 16} tokens a frame")
    return Seen(source, video, still, seconds)


def _picture(graph: Graph, node: str | None, locate: Locate, report: Report) -> tuple[int, int] | None:
    name = graph.value(node, "image") if graph.kind(node) == "LoadImage" else None
    if not isinstance(name, str):
        return None
    label = graph.titled(node)
    found = report.attempt(lambda: read_picture(locate(name, label), label))
    return _told(found, name, label, report) if found else None


def _film(graph: Graph, node: str, locate: Locate, report: Report) -> tuple[tuple[int, int] | None, float | None]:
    """((height, width), seconds) of a source video."""
    video = graph.link(node, "video")
    if (video is None) == (graph.link(node, "images") is None):
        many = "both" if video else "neither"
        report.problem(
            f"{graph.titled(node)}: {many} of video and images {'are' if video else 'is'} connected.",
            "Connect one of the two.",
        )
    if graph.kind(video) == "InfiniteTalkPanZoom":
        still = _picture(graph, graph.link(video, "image"), locate, report)
        return (None if still is None else output_size(still[1], still[0])[::-1]), None
    name = graph.value(video, "file") if graph.kind(video) == "LoadVideo" else None
    if not isinstance(name, str):
        return None, None
    label = graph.titled(video)
    film = report.attempt(lambda: read_film(locate(name, label), label))
    if film is None:
        return None, None
    size = _told(film, name, label, report)
    long = "" if film.seconds is None else f", {film.seconds:.2f} s"
    rate = "read by time, at its own rate" if abs(film.fps - FPS) > 0.01 else "the video's own rate"
    report.tell("Picture", f"{name}: {film.fps:g} fps{long}; {rate}")
    return size, film.seconds


def _told(found: Picture | Film, name: str, label: str, report: Report) -> tuple[int, int]:
    report.tell("Picture", f"{name}: {found.width}x{found.height} px")
    report.attempt(check_sides, found.height, found.width, label)
    return found.height, found.width
