"""Who speaks, when and where, and for how long: the nodes behind a sampler's features, and their files' headers.

What other nodes make is unknown until they run. Must not decode anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..audio import MIN_SECONDS, check_format
from ..config import SAMPLE_RATE
from ..regions import Box, Canvas, assign, parse_box
from ..speakers import BY_ORDER, MAX_SPEAKERS, MAX_START, Speaker, begins
from ..timeline import feature_frames
from .graph import UNKNOWN, Graph
from .media import read_recording
from .report import Report

Locate = Callable[[str, str], Path]  # a name in ComfyUI's input folder, a label -> its path; raises InputError

SOUND_FILES = {"LoadAudio": "audio", "InfiniteTalkLoadSpeech": "file"}  # class -> widget
_SPEAKER = re.compile(r"speakers\.speaker(\d+)")


@dataclass(frozen=True)
class Heard:
    """Seconds of speech, None while it is not known."""

    seconds: float | None = None

    @property
    def frames(self) -> int | None:
        return None if self.seconds is None else feature_frames(round(self.seconds * SAMPLE_RATE))


def hear(graph: Graph, features: str | None, locate: Locate, report: Report) -> Heard:
    """What one InfiniteTalk Audio Encode hears; finds recordings that it will refuse."""
    if graph.kind(features) != "InfiniteTalkAudioEncode":
        return Heard()
    audio = graph.link(features, "audio")
    widget = SOUND_FILES.get(graph.kind(audio))
    name = graph.value(audio, widget) if widget else None
    if graph.kind(audio) == "GetVideoComponents" and graph.kind(graph.link(audio, "video")) == "LoadVideo":
        name = graph.value(graph.link(audio, "video"), "file")
    if not isinstance(name, str):
        return Heard()
    label = graph.titled(audio)
    recording = report.attempt(lambda: read_recording(locate(name, label), label))
    if recording is None:
        return Heard()
    report.attempt(check_format, recording.channels, recording.rate, label)
    if recording.seconds is None or recording.seconds > MAX_START:  # a header may say anything
        return Heard()
    if recording.seconds < MIN_SECONDS:
        # Headers of packed sound are some hundredths of a second off.
        report.unless(recording.seconds > MIN_SECONDS / 2).problem(
            f"{label}: {name} lasts {recording.seconds:.4g} s.", f"Give at least {MIN_SECONDS:g} s of speech."
        )
        return Heard()
    report.tell("Speech", f"{name}: {recording.seconds:.2f} s, {recording.rate} Hz")
    return Heard(recording.seconds)


def conversation(
    graph: Graph, node: str, locate: Locate, report: Report, canvas: Canvas | None
) -> tuple[int | None, int]:
    """(frames, voices) of an InfiniteTalk Speakers node; its regions are laid out as it will do it."""
    links = {name: source for name, source in graph.links(node).items() if _SPEAKER.fullmatch(name)}
    people = [links[name] for name in sorted(links, key=lambda name: int(_SPEAKER.fullmatch(name)[1]))]
    if not 1 <= len(people) <= MAX_SPEAKERS:
        report.problem(
            f"speakers: {len(people)} are connected, the node takes 1 to {MAX_SPEAKERS}.",
            "Connect InfiniteTalk Speaker nodes; people who say nothing can share the background.",
        )
    # Who is chosen by another node is known when it runs.
    if not people or any(graph.kind(person) != "InfiniteTalkSpeaker" for person in people):
        return None, len(people)
    lengths, starts, known = [], [], True
    for person in people:
        features, start = graph.link(person, "features"), graph.value(person, "start", BY_ORDER)
        heard = hear(graph, features, locate, report).seconds
        known &= start is not UNKNOWN and (features is None or heard is not None)
        lengths.append(0 if heard is None else round(heard * SAMPLE_RATE))
        begins_at = None if start in (UNKNOWN, BY_ORDER) else start
        report.at(graph.titled(person)).attempt(lambda when=begins_at: Speaker(start=when))
        starts.append(None if begins_at is None else max(0, round(begins_at * SAMPLE_RATE)))
    if not any(graph.link(person, "features") for person in people):
        report.problem(
            f"speakers: none of the {len(people)} speakers has a voice.",
            "Connect the features of at least one InfiniteTalk Audio Encode.",
        )
    bound = _regions(graph, people, report, canvas)
    order = graph.value(node, "order", "para")
    if not known or order is UNKNOWN:
        return None, len(people) + (len(people) == 1 and bound)
    first = report.at(graph.titled(node)).attempt(begins, lengths, order, starts) or []
    total = max((begin + length for begin, length in zip(first, lengths, strict=False) if length), default=0)
    return (feature_frames(total) if total else None), len(people) + (len(people) == 1 and bound)


def _regions(graph: Graph, people: list[str], report: Report, canvas: Canvas | None) -> bool:
    """Whether regions are given; refuses those that cannot be bound."""
    regions: list[Box | None] = []
    drawn = perhaps = 0  # given by a mask or a detector, which is seen when it runs; by a text that may be empty
    for person in people:
        text, linked = graph.value(person, "box", ""), [name for name in ("mask", "boxes") if graph.link(person, name)]
        box = None if text is UNKNOWN else report.at(graph.titled(person)).attempt(parse_box, text)
        ways = [*linked, *(["box"] if box else [])]
        if len(ways) > 1:
            report.problem(
                f"{graph.titled(person)}: {' and '.join(ways)} give the same person {len(ways)} regions.",
                "Keep one of them.",
            )
        drawn += bool(linked)
        perhaps += text is UNKNOWN and not linked
        regions.append(box)
    given = drawn + sum(region is not None for region in regions)
    names = [graph.value(person, "name", "") for person in people]
    titles = [f"speaker {n}" if name in ("", UNKNOWN) else name for n, name in enumerate(names, 1)]
    if perhaps:
        return bool(given)
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
