"""How a run is sampled: windows, steps, guidance and preset, read from the nodes before a sampler.

What other nodes than ours and ComfyUI's BasicScheduler decide is unknown: None. Knows no files and no host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config import WindowConfig
from ..memory import FIT
from ..presets import PRESETS, Preset
from ..settings import GuidanceConfig, parse_curve
from .graph import UNKNOWN, Graph
from .report import Report

SAMPLERS = ("InfiniteTalkSampler", "InfiniteTalkWindow")


@dataclass(frozen=True)
class Sampling:
    """window: its lengths; steps: that are run in a window; guidance: its scales; preset: the one that gives them;
    mode: as the sampler's; begun: the speech goes on after a video; cut: the source's scenes are known when it runs;
    fit: the window is shortened where the card needs it; strength: of starting from a source video's pictures;
    alone: a single window for other samplers, of which nothing is kept on disk.
    """

    window: WindowConfig | None
    steps: int | None
    guidance: GuidanceConfig | None
    preset: Preset | None
    mode: str = "streaming"
    begun: bool = False
    cut: bool = False
    fit: bool = False
    strength: float | None = 1.0
    alone: bool = False

    @property
    def calls(self) -> int | None:
        """Model calls of one window, a step cache left aside."""
        if self.steps is None or self.guidance is None:
            return None
        return sum(len(self.guidance.at(step, self.steps).branches) for step in range(self.steps))


def read_sampling(graph: Graph, sampler: str, report: Report) -> Sampling:
    """The settings of a sampler; finds those that are refused."""
    frames, motion = (_widget(graph, sampler, *entry) for entry in (("frames_per_window", 81), ("motion_frames", 9)))
    window = None if None in (frames, motion) else report.attempt(WindowConfig, frames, motion)
    nodes = graph.upstream(sampler, "sigmas", "guidance", "model")
    preset = next((one for node in nodes if (one := _preset(graph, node))), None)
    steps = _steps(graph, graph.link(sampler, "sigmas"), preset, report)
    strength = _widget(graph, sampler, "source_strength", 1.0)
    if steps is not None and strength is not None:
        steps = max(1, round(steps * strength))
    guidance = _guidance(graph, graph.link(sampler, "guidance"), preset, report)
    alone = graph.kind(sampler) == "InfiniteTalkWindow"
    mode = "clip" if alone else _widget(graph, sampler, "mode", "streaming") or "streaming"
    begun, cut = (graph.link(sampler, name) is not None for name in ("start", "scenes"))
    memory = graph.link(sampler, "memory")
    fit = graph.kind(memory) == "InfiniteTalkMemory" and graph.value(memory, "choice", FIT) == FIT
    return Sampling(window, steps, guidance, preset, mode, begun, cut, fit, strength, alone)


def _widget(graph: Graph, node: str, name: str, default: Any) -> Any:
    value = graph.value(node, name, default)
    return None if value is UNKNOWN else value


def _preset(graph: Graph, node: str) -> Preset | None:
    return PRESETS.get(graph.value(node, "preset", "")) if graph.kind(node) == "InfiniteTalkPreset" else None


def _steps(graph: Graph, node: str | None, preset: Preset | None, report: Report) -> int | None:
    kind = graph.kind(node)
    if kind == "InfiniteTalkPreset":
        return preset.steps if preset else None
    if kind not in ("InfiniteTalkSchedule", "BasicScheduler"):
        return None
    steps = _widget(graph, node, "steps", 40)
    if not isinstance(steps, int) or steps < 1:
        if steps is not None:
            report.problem(f"{graph.titled(node)}: {steps!r} steps.", "Use 40, or 4 to 8 with a distillation LoRA.")
        return None
    return steps


def _guidance(graph: Graph, node: str | None, preset: Preset | None, report: Report) -> GuidanceConfig | None:
    if node is None:
        return GuidanceConfig()
    if graph.kind(node) == "InfiniteTalkPreset":
        return preset.guidance if preset else None
    if graph.kind(node) != "InfiniteTalkGuidance":
        return None
    defaults = {"text_scale": 5.0, "audio_scale": 4.0, "text_curve": "", "audio_curve": ""}
    given = {name: _widget(graph, node, name, default) for name, default in defaults.items()}
    part = [_widget(graph, node, *entry) for entry in (("start_percent", 0.0), ("end_percent", 1.0))]
    if None in (*given.values(), *part):
        return None

    def made() -> GuidanceConfig:
        text, audio = (
            parse_curve(given[f"{name}_curve"], f"{name}_curve") or float(given[f"{name}_scale"])
            for name in ("text", "audio")
        )
        return GuidanceConfig(text, audio, *map(float, part))

    return report.attempt(made)
