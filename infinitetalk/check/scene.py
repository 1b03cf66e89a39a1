"""Who speaks, where, for how long, and what is seen: read from the nodes before a sampler and their files' headers.

Knows our nodes and ComfyUI's loaders by their classes and widgets. What other nodes make is unknown until they run:
None. Must not decode more than the first frame of a video.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..audio import MIN_SECONDS
from ..buckets import MIN_SIDE, pick_bucket
from ..config import FPS, SAMPLE_RATE, check_size
from ..regions import Box, Canvas, assign, parse_box
from ..speakers import MAX_SPEAKERS, begins
from ..timeline import clock, feature_frames
from .graph import UNKNOWN, Graph
from .media import Film, Picture, read_film, read_picture, read_recording
from .report import Report

Locate = Callable[[str], Path]  # a name in ComfyUI's input folder -> its path; raises InputError

SOUND_FILES = {"LoadAudio": "audio", "InfiniteTalkLoadSpeech": "file"}  # class -> widget


@dataclass(frozen=True)
class Scene:
    """frames: of the speech; voices: how many, 1 for one person without a region; size: (height, width) of the video;
    still: whether one picture is the reference. None: known when the nodes run."""

    frames: int | None = None
    voices: int | None = None
    size: tuple[int, int] | None = None
    still: bool | None = None


def read_scene(graph: Graph, sampler: str, locate: Locate, report: Report) -> Scene:
    """What comes in at a sampler's `features` and `reference`; tells it and finds what cannot work."""
    source, size, still = _reference(graph, graph.link(sampler, "reference"), locate, report)
    features = graph.link(sampler, "features")
    if graph.kind(features) == "InfiniteTalkSpeakers":
        canvas = Canvas(source, size) if source and size else None
        frames, voices = _conversation(graph, features, locate, report, canvas)
    else:
        heard = _seconds(graph, features, locate, report)
        frames, voices = (None if heard is None else _frames(heard)), (1 if features else None)
    if frames is not None:
        people = "" if voices == 1 else f", {voices} voices"
        report.tell("Speech", f"{clock(frames / FPS)} of speech, {frames} frames at {FPS} fps{people}")
    elif features is not None:
        report.tell("Speech", "its length is known when the speech is read")
    return Scene(frames, voices, size, still)


def _frames(seconds: float) -> int:
    return feature_frames(round(seconds * SAMPLE_RATE))


def _seconds(graph: Graph, features: str | None, locate: Locate, report: Report) -> float | None:
    """Length of what one Audio Encode hears."""
    if graph.kind(features) != "InfiniteTalkAudioEncode":
        return None
    audio = graph.link(features, "audio")
    widget = SOUND_FILES.get(graph.kind(audio))
    name = graph.value(audio, widget) if widget else None
    if graph.kind(audio) == "GetVideoComponents" and graph.kind(graph.link(audio, "video")) == "LoadVideo":
        name = graph.value(graph.link(audio, "video"), "file")
    if not isinstance(name, str):
        return None
    label = graph.titled(audio)
    recording = report.attempt(lambda: read_recording(locate(name), label))
    if recording is None or recording.seconds is None:
        return None
    if recording.seconds < MIN_SECONDS:
        report.problem(
            f"{label}: {name} lasts {recording.seconds:.3f} s.", f"Give at least {MIN_SECONDS:g} s of speech."
        )
        return None
    report.tell("Speech", f"{name}: {recording.seconds:.2f} s, {recording.rate} Hz")
    return recording.seconds


def _conversation(
    graph: Graph, node: str, locate: Locate, report: Report, canvas: Canvas | None
) -> tuple[int | None, int]:
    """(frames, voices) of an InfiniteTalk Speakers node; its regions are laid out as it will do it."""
    links = {name: source for name, source in graph.links(node).items() if name.startswith("speakers.")}
    people = [links[name] for name in sorted(links, key=lambda name: int(name.rpartition("speaker")[2]))]
    if not 1 <= len(people) <= MAX_SPEAKERS:
        report.problem(
            f"speakers: {len(people)} are connected, the node takes 1 to {MAX_SPEAKERS}.",
            "Connect InfiniteTalk Speaker nodes; people who say nothing can share the background.",
        )
    lengths, starts, known = [], [], True
    for person in people:
        features, start = graph.link(person, "features"), graph.value(person, "start", -1.0)
        heard = _seconds(graph, features, locate, report)
        known &= start is not UNKNOWN and (features is None or heard is not None)
        lengths.append(0 if heard is None else round(heard * SAMPLE_RATE))
        starts.append(None if start is UNKNOWN or start < 0 else round(start * SAMPLE_RATE))
    if not any(graph.link(person, "features") for person in people):
        report.problem(
            f"speakers: none of the {len(people)} speakers has a voice.",
            "Connect the features of at least one InfiniteTalk Audio Encode.",
        )
    bound = _regions(graph, people, report, canvas)
    order = graph.value(node, "order", "para")
    if not known or order is UNKNOWN:
        return None, len(people) + (len(people) == 1 and bound)
    first = report.attempt(begins, lengths, order, starts) or []
    total = max((begin + length for begin, length in zip(first, lengths, strict=False) if length), default=0)
    return (feature_frames(total) if total else None), len(people) + (len(people) == 1 and bound)


def _regions(graph: Graph, people: list[str], report: Report, canvas: Canvas | None) -> bool:
    """Whether regions are given; refuses those that cannot be bound."""
    regions: list[Box | None] = []
    drawn = 0  # given by a mask or a detector: seen when it runs
    for person in people:
        text, linked = graph.value(person, "box", ""), [name for name in ("mask", "boxes") if graph.link(person, name)]
        box = None if text is UNKNOWN else report.attempt(parse_box, text)
        ways = [*linked, *(["box"] if box or text is UNKNOWN else [])]
        if len(ways) > 1:
            report.problem(
                f"{graph.titled(person)}: {' and '.join(ways)} give the same person {len(ways)} regions.",
                "Keep one of them.",
            )
        drawn += bool(linked) or text is UNKNOWN
        regions.append(box)
    given = drawn + sum(region is not None for region in regions)
    titles = [str(graph.value(person, "name", "") or f"speaker {n}") for n, person in enumerate(people, 1)]
    if given not in (0, len(people)):
        report.problem(
            f"speakers: {given} of {len(people)} speakers have a region.",
            "Give every speaker a mask or box, or none of them.",
        )
    elif not drawn and canvas is not None:
        laid = report.attempt(assign, regions, titles, canvas)
        for note in laid[1] if laid else ():
            report.tell("Speakers", note)
    shared = "their masks or boxes" if given else "equal columns from left to right; no masks are needed"
    report.tell("Speakers", f"{', '.join(titles)}: {shared}" if len(people) > 1 else titles[0] if people else "none")
    return bool(given)


def _reference(
    graph: Graph, node: str | None, locate: Locate, report: Report
) -> tuple[tuple[int, int] | None, tuple[int, int] | None, bool | None]:
    """((height, width) of the source, of the video, whether it is a still)."""
    kind = graph.kind(node)
    if kind not in ("InfiniteTalkReference", "InfiniteTalkVideoReference"):
        return None, None, None
    still = kind == "InfiniteTalkReference"
    source = _picture(graph, graph.link(node, "image"), locate, report) if still else _film(graph, node, locate, report)
    if not any(graph.link(node, name) for name in ("clip_vision", "clip_vision_output")):
        report.problem(
            f"{graph.titled(node)}: clip_vision: nothing is connected.",
            "Connect Load CLIP Vision with clip_vision_h.safetensors.",
        )
    size, width, height = (graph.value(node, name) for name in ("size", "width", "height"))
    video = None
    if size == "custom" and isinstance(width, int) and isinstance(height, int):
        report.attempt(check_size, width, height)
        video = (height, width)
    elif size in ("480p", "720p") and source:
        video = report.attempt(pick_bucket, *source, size.removesuffix("p"))
    if video:
        report.tell("Picture", f"the video: {video[1]}x{video[0]} px, {video[1] // 16}x{video[0] // 16} tokens a frame")
    return source, video, still


def _picture(graph: Graph, node: str | None, locate: Locate, report: Report) -> tuple[int, int] | None:
    name = graph.value(node, "image") if graph.kind(node) == "LoadImage" else None
    if not isinstance(name, str):
        return None
    label = graph.titled(node)
    found = report.attempt(lambda: read_picture(locate(name), label))
    return _told(found, name, label, report) if found else None


def _film(graph: Graph, node: str, locate: Locate, report: Report) -> tuple[int, int] | None:
    video = graph.link(node, "video")
    if (video is None) == (graph.link(node, "images") is None):
        many = "both" if video else "neither"
        report.problem(
            f"{graph.titled(node)}: {many} of video and images {'are' if video else 'is'} connected.",
            "Connect one of the two.",
        )
    if graph.kind(video) == "InfiniteTalkPanZoom":
        return _picture(graph, graph.link(video, "image"), locate, report)
    name = graph.value(video, "file") if graph.kind(video) == "LoadVideo" else None
    if not isinstance(name, str):
        return None
    label = graph.titled(video)
    film = report.attempt(lambda: read_film(locate(name), label))
    if film is None:
        return None
    size = _told(film, name, label, report)
    long = "" if film.seconds is None else f", {film.seconds:.2f} s"
    rate = "read by time, at its own rate" if abs(film.fps - FPS) > 0.01 else "the video's own rate"
    report.tell("Picture", f"{name}: {film.fps:g} fps{long}; {rate}")
    return size


def _told(found: Picture | Film, name: str, label: str, report: Report) -> tuple[int, int]:
    report.tell("Picture", f"{name}: {found.width}x{found.height} px")
    if min(found.height, found.width) < MIN_SIDE:
        report.problem(
            f"{label}: {found.width}x{found.height} pixels is too small.",
            f"Use a picture of at least {MIN_SIDE}x{MIN_SIDE} pixels.",
        )
    return found.height, found.width
