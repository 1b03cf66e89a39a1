"""Windows, steps, guidance and presets read from a workflow's widgets; the check's report and its costs."""

from __future__ import annotations

import pytest

from infinitetalk.check.cost import (
    Machine,
    Model,
    Window,
    activation_bytes,
    forward_flop,
    peak_bytes,
    streamed_bytes,
    window_seconds,
)
from infinitetalk.check.report import Report
from infinitetalk.check.settings import Sampling, read_sampling
from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.settings import GuidanceConfig
from tests.unit.workflow import graph

WAN = Model(dim=5120, ffn=13824, layers=40, bytes=38_000_000_000)
AT_480P = Window(frames=81, height=640, width=640, calls=120, motion=9)
CARD = Machine("a card", 80 * 10**9, 79 * 10**9, 128 * 10**9, 100 * 10**9, 10**12, 690e12, 364e12, 50e9)


def look(*given, **nodes) -> tuple[Sampling, Report]:
    report = Report()
    return read_sampling(graph(*given, **nodes), "sampler", report), report


def test_the_references_settings_are_read():
    sampling, report = look()
    assert sampling == Sampling(WindowConfig(81, 9), 40, GuidanceConfig(5.0, 4.0), None)
    assert sampling.calls == 120 and not report.findings


@pytest.mark.parametrize(("text", "audio", "calls"), [(1.0, 1.0, 40), (1.0, 2.0, 80), (5.0, 1.0, 80), (5.0, 4.0, 120)])
def test_scales_of_one_save_calls(text, audio, calls):
    assert look({"guidance": {"text_scale": text, "audio_scale": audio}})[0].calls == calls


def test_curves_and_parts_count_step_by_step():
    assert look({"guidance": {"start_percent": 0.5}})[0].calls == 20 + 20 * 3
    assert look({"guidance": {"audio_curve": "0:4 0.4:1 1:1"}})[0].calls == 16 * 3 + 24 * 2


@pytest.mark.parametrize("frames", [107, 80, 3, 405])
def test_windows_that_are_not_4n_plus_1_are_found(frames):
    """Elsewhere: can't divide axis of length 107 in chunks of 4."""
    sampling, report = look({"sampler": {"frames_per_window": frames}})
    assert sampling.window is None
    assert f"frames per window: {frames} is" in report.problems[0].what


def test_motion_frames_beyond_the_window_are_found():
    assert "motion frames: 81 is not smaller" in look({"sampler": {"motion_frames": 81}})[1].problems[0].what


def test_a_curve_that_cannot_be_read_is_found():
    assert "'x' is not a number" in look({"guidance": {"text_curve": "x"}})[1].problems[0].what


def test_a_preset_gives_steps_and_scales():
    links = {"sigmas": ["preset", 1], "guidance": ["preset", 2]}
    sampling, _ = look({"sampler": links}, preset=("InfiniteTalkPreset", {"preset": "LightX2V 4 steps"}))
    assert (sampling.steps, sampling.calls, sampling.preset.lora) == (4, 8, "LightX2V")


def test_sdedit_runs_a_share_of_the_steps():
    assert look({"sampler": {"source_strength": 0.5}})[0].steps == 20


def test_what_other_nodes_decide_is_unknown():
    sampling, report = look({"sampler": {"sigmas": ["other", 0]}}, other=("ManualSigmas", {"sigmas": "1, 0"}))
    assert sampling.steps is None and sampling.calls is None and not report.findings
    assert look({"schedule": {"steps": ["other", 0]}}, other=("PrimitiveInt", {"value": 8}))[0].steps is None


def test_a_forward_has_the_measured_arithmetic():
    """1,891 TFLOP at 640x640 and 6,602 at 1280x704, counted independently when the peers were measured."""
    assert AT_480P.tokens == 33_600
    assert sum(forward_flop(WAN, 33_600)) == pytest.approx(1891e12, rel=2e-3)
    assert sum(forward_flop(WAN, 73_920)) == pytest.approx(6602e12, rel=1e-2)


def test_memory_adds_up():
    work = activation_bytes(WAN, AT_480P)
    assert work == pytest.approx(6.05 * 2**30, rel=0.01)  # as ComfyUI reserves it
    assert streamed_bytes(WAN, AT_480P, 80 * 10**9) == 0
    assert streamed_bytes(WAN, AT_480P, 16 * 10**9) == WAN.bytes + work - 16 * 10**9
    assert peak_bytes(WAN, AT_480P, None) == WAN.bytes + work and peak_bytes(WAN, AT_480P, 16 * 10**9) == 16 * 10**9
    shorter = Window(41, 640, 640, 120, 9)
    assert activation_bytes(WAN, shorter) == pytest.approx(work * 11 / 21, rel=1e-6)


def test_time_grows_where_weights_are_sent():
    whole, small = window_seconds(WAN, AT_480P, CARD), window_seconds(WAN, AT_480P, card_of(16 * 10**9, copy=5e9))
    assert 350 < whole < 600  # a window of 40 steps in three branches: 400 to 520 s on such a card
    assert small > 1.3 * whole
    assert window_seconds(WAN, AT_480P, card_of(16 * 10**9, linear=None)) is None


def card_of(memory: int, **changes) -> Machine:
    from dataclasses import replace

    return replace(CARD, memory=memory, **changes)


def test_the_report_tells_problems_first_and_once():
    report = Report()
    report.tell("Plan", "3 windows")
    report.warn("steps: 4.", "Use 40.")
    for _ in range(2):
        report.problem("vae: it is another one.", "Use Wan's.")
    report.problem("width: 7.", "Use 16.")
    text = report.text()
    assert text.startswith("2 problems, 1 warning\n\n") and text.endswith("Plan:\n  3 windows")
    with pytest.raises(InputError) as refused:
        report.refuse()
    first, second = str(refused.value).split("\n")
    assert first == "vae: it is another one." and second == "Use Wan's. 1 more problem: [2] width: 7. Use 16."
    assert Report().text() == "All fits." and Report().refuse() is None
