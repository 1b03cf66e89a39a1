"""The nodes around a run, as the host loads and calls them: table, redo, extend and runs; and all in a queue."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.run_names import runs_root
from infinitetalk.runs import finished_video, list_runs
from infinitetalk_cli.client import HostError
from tests.unit.clips import NTSC, Numbered, number_of, numbered_picture, write_clip
from tests.unit.test_runs import make_run

pytestmark = pytest.mark.usefixtures("host")


def refused(call, *arguments, **keywords) -> str:
    """The text of the two-line error. Of the pack as the host loads it, which is another module than the tests'."""
    with pytest.raises(ValueError) as caught:
        call(*arguments, **keywords)
    assert type(caught.value).__name__ == InputError.__name__
    return str(caught.value)


def numbers(frames: torch.Tensor) -> list[int]:
    return [number_of((frame * 255).round().to(torch.uint8)) for frame in frames]


def last(start, count: int = 5) -> list[int]:
    from infinitetalk.extend import last_frames

    return numbers(last_frames(start, count, 64, 64))


def test_a_table_encodes_its_prompts_as_clip_text_encode_does(pack):
    from nodes import CLIPTextEncode
    from tests.host.text_encoder import small_clip

    clip, references = small_clip(), {"reference1": "first", "reference3": "third", "reference4": None}
    text = "0-2 prompt=she laughs\n2-3 reference=3 text=1\n5- prompt=she laughs"
    with torch.inference_mode():
        (rows,) = pack["InfiniteTalkTable"].execute(text, clip, references).result
        wanted = CLIPTextEncode().encode(clip, "she laughs")[0]
    assert [(row.start, row.end) for row in rows] == [(0, 2), (2, 3), (5, None)]
    assert torch.equal(rows[0].overrides.positive[0][0], wanted[0][0])
    assert rows[2].overrides.positive is rows[0].overrides.positive
    assert rows[1].overrides.reference == "third" and rows[1].overrides.text_scale == 1.0
    assert "wants reference 4; connected: 1, 3" in refused(
        pack["InfiniteTalkTable"].execute, "0- reference=4", None, references
    )
    assert "no text encoder is connected" in refused(pack["InfiniteTalkTable"].execute, "0- prompt=a", None, None)


def test_redos_are_chained(pack):
    redo = pack["InfiniteTalkRedo"].execute
    (one,) = redo(window=7, seed=3, following="keep").result
    (two,) = redo(window=2, seed=-1, positive=[["p", {}]], redo=one).result
    assert [(entry.window, entry.following, entry.overrides.seed) for entry in two] == [
        (7, "keep", 3),
        (2, "blend", None),
    ]
    assert two[1].overrides.positive == [["p", {}]]
    assert "window 7 is redone twice" in refused(redo, window=7, seed=4, redo=two)
    assert "of window 5 nothing is changed" in refused(redo, window=5, seed=-1, redo=two)


def test_every_kind_of_video_is_a_start(pack, temp):
    from comfy_api.latest import InputImpl, Types

    node = pack["InfiniteTalkExtend"].execute
    path = write_clip(temp / "v.mp4", Numbered(100), 25)
    for video, expected in (
        (InputImpl.VideoFromFile(str(path)), range(95, 100)),
        (InputImpl.VideoFromFile(str(path), start_time=1.0, duration=2.0), range(70, 75)),
        (InputImpl.VideoFromFile(str(path)).as_trimmed(1.0, 2.0), range(70, 75)),
        (InputImpl.VideoFromFile(str(path), start_time=-1.0), range(95, 100)),
        (InputImpl.VideoFromFile(io.BytesIO(path.read_bytes())), range(95, 100)),
    ):
        assert last(node(video).result[0]) == list(expected)
    assert path.stat().st_size and not list(temp.glob("temp/*.part*"))

    images = torch.stack([torch.from_numpy(numbered_picture(n)).float() / 255 for n in range(30)])
    sound = {"waveform": torch.rand(1, 2, 16_000) * 0.1, "sample_rate": 16_000}
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=NTSC, audio=sound))
    start = node(video).result[0]
    assert start.frames == 25 and start.sound.samples == 16_000
    assert last(start) == [int(Fraction(n, 25) * NTSC) for n in range(20, 25)]
    again = node(video).result[0]
    assert again.digest == start.digest and again.path == start.path
    images[0] = 0.5
    assert node(video).result[0].digest != start.digest
    assert node(video, include=False).result[0].sound is None


def test_what_is_no_one_start_is_refused(pack, temp):
    from comfy_api.latest import InputImpl

    node = pack["InfiniteTalkExtend"]
    video = InputImpl.VideoFromFile(str(write_clip(temp / "v.mp4", Numbered(10), 25)))
    assert "a VIDEO and a run are both given" in refused(node.execute, video, "talk")
    assert "neither a VIDEO nor a run is given" in refused(node.execute)
    assert "absent.mp4 is not there" in refused(
        node.execute, InputImpl.VideoFromFile(str(temp / "absent.mp4"), start_time=-1.0)
    )
    assert node.validate_inputs(run="") is True and node.validate_inputs(run=None) is True
    assert "'../v' is a path" in node.validate_inputs(run="../v")
    assert "There is no run yet" in node.validate_inputs(run="talk")
    make_run(temp / "output", windows=4, done=2)
    assert "windows 3-4 of 4 are missing" in node.validate_inputs(run="talk")
    assert "windows 3-4 of 4 are missing" in refused(node.execute, None, "talk")


def test_runs_are_told_and_removed_when_confirmed(pack, temp, monkeypatch):
    from comfy_api.latest._io import HiddenHolder

    node = pack["InfiniteTalkRuns"]
    monkeypatch.setattr(node, "hidden", HiddenHolder.from_dict({}))  # as the host does before it calls execute
    run = make_run(temp / "output")
    done = node.execute("list")
    assert run.name in done.result[0] and done.ui.as_dict() == {"text": (done.result[0],)}
    assert "settings:" in node.execute("show", "talk").result[0]
    assert node.validate_inputs(action="remove", run="") == refused(node.execute, "remove", "")
    assert node.validate_inputs(action="erase", run="a") != node.validate_inputs(action="list", run="") is True
    assert "would be removed" in refused(node.execute, "remove", "talk") and run.exists()
    assert node.fingerprint_inputs(action="list") != node.fingerprint_inputs(action="list")
    assert "Removed" in node.execute("remove", "talk", True).result[0] and not run.exists()


def length(path: Path) -> int:
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def test_a_run_is_made_by_a_table_redone_extended_listed_and_removed_through_the_queue(server):
    graph = server.workflow()
    graph["8"]["inputs"] |= {"size": "custom", "width": 96, "height": 64, "window_frames": 9}
    graph["10"]["inputs"]["steps"] = 1
    graph["20"] = {"class_type": "TrimAudioDuration", "inputs": {"audio": ["5", 0], "start_index": 0, "duration": 0.84}}
    graph["7"]["inputs"]["audio"] = ["20", 0]  # 21 frames: windows of 9, then 4 new ones each
    table = {"text": "0.4- seed=7 reference=1", "references.reference1": ["8", 0]}
    graph["21"] = {"class_type": "InfiniteTalkTable", "inputs": table}
    sampler = {"frames_per_window": 9, "motion_frames": 5, "run_name": "nodes", "table": ["21", 0]}
    graph["12"]["inputs"] |= sampler
    server.queue(graph)
    (info,) = [run for run in list_runs(server.base / "output") if run.folder.startswith("nodes-")]
    assert (info.state, info.windows_done, info.windows, info.seconds) == ("finished", 4, 4, 0.84)
    path = runs_root(server.base / "output") / info.folder
    windows = {file.name: file.stat().st_mtime_ns for file in (path / "windows").iterdir()}

    graph["22"] = {"class_type": "InfiniteTalkRedo", "inputs": {"window": 3, "seed": 9, "following": "keep"}}
    graph["12"]["inputs"]["redo"] = ["22", 0]
    server.queue(graph)
    after = {file.name: file.stat().st_mtime_ns for file in (path / "windows").iterdir()}
    assert windows.items() <= after.items()  # nothing was sampled again but the third
    assert {name[:5] for name in after.keys() - windows.keys()} == {"0003-"}
    with pytest.raises(HostError, match="window 9 does not exist, the run has 4"):
        graph["22"]["inputs"]["window"] = 9
        server.queue(graph)

    del graph["12"]["inputs"]["redo"], graph["22"], graph["12"]["inputs"]["table"], graph["21"]
    graph["23"] = {"class_type": "InfiniteTalkExtend", "inputs": {"run": "nodes"}}
    graph["12"]["inputs"] |= {"start": ["23", 0], "run_name": "longer"}
    server.queue(graph)
    (longer,) = [run for run in list_runs(server.base / "output") if run.folder.startswith("longer-")]
    extended = path.with_name(longer.folder)
    assert length(finished_video(extended)) == 21 + 21
    windows = {file.name: file.stat().st_mtime_ns for file in (extended / "windows").iterdir()}
    graph["23"]["inputs"]["include"] = False
    server.queue(graph)
    assert length(finished_video(extended)) == 21  # the same run, joined anew
    assert windows == {file.name: file.stat().st_mtime_ns for file in (extended / "windows").iterdir()}

    def told(**inputs) -> str:
        history = server.queue({"1": {"class_type": "InfiniteTalkRuns", "inputs": inputs}})
        return "\n".join(history["outputs"]["1"]["text"])

    assert info.folder in told(action="list") and longer.folder in told(action="list")
    with pytest.raises(HostError, match="would be removed"):
        told(action="remove", run="nodes")
    assert "Removed" in told(action="remove", run="nodes", confirm=True)
    assert info.folder not in told(action="list") and not path.exists()


@pytest.mark.parametrize(
    ("node", "inputs", "problem"),
    [
        ("InfiniteTalkTable", {"text": "5-1 seed=1"}, "line 1 runs backward"),
        ("InfiniteTalkRuns", {"action": "show", "run": "../.."}, "'../..' is a path, not one name"),
        ("InfiniteTalkExtend", {"run": "absent"}, "no run 'absent'"),
        ("InfiniteTalkRedo", {"window": 0, "seed": 1, "following": "keep"}, "smaller than min"),
    ],
)
def test_bad_values_are_refused_by_the_queue(server, node, inputs, problem):
    graph = {"1": {"class_type": node, "inputs": inputs}}
    if node != "InfiniteTalkRuns":
        graph["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
    with pytest.raises(HostError, match=problem):
        server.queue(graph)
