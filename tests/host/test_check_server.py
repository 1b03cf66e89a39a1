"""The check on a real server: its node, `dev.py check`, and the sampler's own, all before a model is loaded."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from demo import commands
from demo.commands import CHECK
from infinitetalk_cli.client import HostError
from tests.host.server import changed

TELL = {"class_type": "InfiniteTalkCheck", "inputs": {"on_problem": "tell"}}
STOP = {"class_type": "InfiniteTalkCheck", "inputs": {"on_problem": "stop"}}


@pytest.fixture(scope="module")
def prompt(server) -> dict:
    speech = server.put_speech("checked.wav", 0.1 * np.random.default_rng(1).standard_normal(16_000))
    return changed(server.workflow(), "LoadAudio", audio=speech)


@pytest.fixture(scope="module")
def silent(server) -> str:
    """A recording of 6 ms."""
    return server.put_speech("none.wav", np.zeros(100))


def test_a_check_alone_tells_the_whole_workflow(server, prompt):
    ran: list[str] = []
    history = server.queue({**prompt, CHECK: TELL}, lambda node, *_: ran.append(node), only=[CHECK])
    (text,) = history["outputs"][CHECK]["text"]
    assert text.startswith("All fits.") and "0:01 of speech, 25 frames" in text
    assert re.search(r"model: \S+: Wan2.1 I2V, .*\n  adapter: \S+: an InfiniteTalk adapter, ", text)
    assert set(ran) == {"InfiniteTalkCheck"}


REFUSED = {  # by ComfyUI itself, when the whole workflow is queued
    "Sampler.seed=-1": ("Sampler (node ", "seed: Value -1 smaller than min of 0"),
    "Sampler.mode=foo": ("Sampler (node ", "mode: Value not in list: mode: 'foo' not in"),
    "Sampler.run_name=../x": ("run_name: ", "../x"),
    "Sampler.live=http://x": ("live: ", "is no RTMP address"),
    'Sampler.model=["7", 0]': ("Sampler (node ", "model: Return type mismatch"),
    "Reference.size=large": ("size: ", "'large' is unknown"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_comfyui_refuses_is_found_though_only_the_check_is_queued(server, prompt, tmp_path, capsys, change):
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(prompt))
    assert commands.check(Path(), Namespace(workflow=workflow, changes=[change], server=server.url)) == 1
    said = capsys.readouterr().out
    begins, told = REFUSED[change]
    assert said.startswith("1 problem, ") and re.search(f"Problem: .*{re.escape(begins)}.*{re.escape(told)}", said)


def test_an_input_that_is_missing_is_found(server, prompt):
    sampler = next(node for node, entry in prompt.items() if entry["class_type"] == "InfiniteTalkSampler")
    inputs = {name: value for name, value in prompt[sampler]["inputs"].items() if name != "features"}
    bad = {**prompt, sampler: {**prompt[sampler], "inputs": inputs}, CHECK: TELL}
    (text,) = server.queue(bad, only=[CHECK])["outputs"][CHECK]["text"]
    assert "features: Required input is missing" in text and "-> Connect it" in text


def test_what_cannot_work_stops_before_anything_loads(server, prompt, silent):
    ran: list[str] = []
    bad = changed(prompt, "LoadAudio", audio=silent)
    with pytest.raises(HostError) as refused:
        server.queue({**bad, CHECK: STOP}, lambda node, *_: ran.append(node))
    assert "InfiniteTalkCheck" in str(refused.value) and "lasts 0.00625 s" in str(refused.value)
    assert set(ran) == {"InfiniteTalkCheck"}


def test_the_sampler_checks_by_itself_before_its_inputs_are_made(server, prompt, silent):
    """A speech that turns out to have no frame would be found by the encoder, after the models."""
    ran: list[str] = []
    with pytest.raises(HostError) as refused:
        server.queue(changed(prompt, "LoadAudio", audio=silent), lambda node, *_: ran.append(node))
    assert "lasts 0.00625 s" in str(refused.value)
    assert len(set(ran)) == 1 and "Sampler" in ran[0]


def test_the_command_prints_the_report_and_its_verdict(server, prompt, tmp_path, capsys):
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(prompt))
    options = Namespace(workflow=workflow, changes=[], server=server.url)
    assert commands.check(Path(), options) == 0
    assert capsys.readouterr().out.startswith("All fits.")
    options.changes = ["InfiniteTalkReference.width=100"]
    assert commands.check(Path(), options) == 1
    assert "Problem: Reference (node 8): width: 100 is not a multiple of 16." in capsys.readouterr().out
    options.changes = ["Nobody.width=100"]
    assert commands.check(Path(), options) == 1
    assert "the workflow has no node 'Nobody'" in capsys.readouterr().err
