"""The pack in ComfyUI's real editor, in a real browser, in both of its renderers."""

from __future__ import annotations

import json

import pytest

from demo.base import ASSETS
from demo.commands import fit_speech
from infinitetalk_cli.server import PACK, PACK_NAME
from tests.host.server import node_of

TEMPLATES = sorted(path.stem for path in (PACK / "workflows").glob("*.json"))
RENDERERS = pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "nodes2"])
SEED_AFTER = """type => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    const seed = node.widgets.find(widget => widget.name === "seed");
    const before = seed.value;
    for (let n = 0; n < 3; n++) for (const widget of node.widgets) widget.afterQueued?.();
    return [before, seed.value];
}"""
FRAMES = 24  # of the speech below: two windows of 17 frames with 9 motion frames


@pytest.fixture(scope="module")
def speech(server) -> str:
    """The name of 0.96 s of speech in the input folder."""
    return fit_speech(ASSETS / "speech.flac", FRAMES / 25, server.base / "input" / "browser.wav").name


def shrink(editor, speech: str, seed: int) -> None:
    """Make the small workflow that is open smaller still."""
    editor.set("LoadAudio", audio=speech)
    editor.set("InfiniteTalkReference", width=64, height=64, window_frames=17)
    editor.set("InfiniteTalkSchedule", steps=1)
    editor.set("InfiniteTalkSampler", frames_per_window=17, seed=seed)


def test_templates_are_shown_with_a_picture_and_open_with_a_click(editor):
    editor.start()
    page = editor.page
    page.get_by_role("button", name="Templates").click()
    page.get_by_text(PACK_NAME, exact=True).click()
    for name in TEMPLATES:
        picture = page.get_by_test_id(f"template-workflow-{name}").locator("img").first
        picture.wait_for()
        assert picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth; }") > 100
    page.get_by_test_id("template-workflow-infinitetalk_small").click()
    editor.wait_for("infinitetalk_small")
    assert node_of(editor.prompt(), "InfiniteTalkSampler") == "12"


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_the_workflow_in_api_format(editor, server, name):
    editor.open(name)
    assert editor.prompt() == server.workflow(name)


@RENDERERS
def test_run_shows_a_video_that_plays(editor, speech, nodes2):
    editor.open("infinitetalk_small", nodes2)
    shrink(editor, speech, seed=100 + nodes2)
    ended = editor.run()
    assert ended["name"] == "execution_success", ended
    (file,) = editor.outputs(node_of(editor.prompt(), "InfiniteTalkVideoCombine"))["images"]
    video = editor.video()
    video.wait_for()
    assert f"filename={file['filename']}&subfolder=InfiniteTalk&type=output" in video.get_attribute("src")
    video.evaluate("video => new Promise(done => video.readyState >= 2 ? done() : video.onloadeddata = done)")
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [64, 64]
    assert video.evaluate("video => video.duration") == pytest.approx(FRAMES / 25, abs=0.03)
    video.evaluate("async video => { video.loop = false; await video.play(); }")
    played = (
        "video => new Promise(done => video.onended = () => done(video.getVideoPlaybackQuality().totalVideoFrames))"
    )
    assert video.evaluate(played) > 0
    assert video.evaluate("video => video.currentTime") == pytest.approx(FRAMES / 25, abs=0.03)
    assert video.evaluate("video => video.webkitAudioDecodedByteCount") > 0
    assert editor.red() == []


def test_run_again_shows_live_previews_again(editor, speech):
    """In the classic renderer a node that once showed a video takes every later live preview for a video."""
    editor.open("infinitetalk_small")
    for seed in (200, 201):
        shrink(editor, speech, seed)
        assert editor.run()["name"] == "execution_success"
        media = "app.graph.nodes.find(node => node.type === 'InfiniteTalkSampler').previewMediaType"
        assert editor.page.evaluate(media) == "image"


@RENDERERS
def test_values_that_do_not_fit_turn_red(editor, nodes2):
    editor.open("infinitetalk_small", nodes2)
    editor.set("InfiniteTalkSampler", frames_per_window=9, motion_frames=9)
    editor.press_run()
    editor.page.wait_for_function("app.graph.nodes.some(node => node.has_errors)")
    checked = ["frames_per_window", "motion_frames", "run_name", "live"]  # the host marks all that the check sees
    assert editor.red() == [["InfiniteTalkSampler", checked]]
    errors = editor.page.evaluate("Object.values(app.lastNodeErrors).flatMap(node => node.errors)")
    assert len(errors) == len(checked)
    for error in errors:
        problem, remedy = error["details"].split("\n")
        assert problem.endswith("motion frames: 9 is not smaller than the 9 frames of a window.")
        assert remedy == "Use at most 5, so that every window adds new frames."


@RENDERERS
def test_a_refused_input_is_told_in_a_toast(editor, server, nodes2):
    fit_speech(ASSETS / "speech.flac", 0.02, server.base / "input" / "browser_short.wav")
    editor.open("infinitetalk_small", nodes2)
    shrink(editor, "browser_short.wav", seed=300)
    assert editor.run()["node_type"] == "InfiniteTalkSampler"  # its check, before anything is loaded
    toast = editor.page.locator(".p-toast-message-error")
    toast.wait_for()
    summary = toast.locator(".p-toast-summary").inner_text()
    assert summary.endswith("browser_short.wav lasts 0.02 s.")
    assert toast.locator(".p-toast-detail").inner_text() == "Give at least 0.1 s of speech."


@RENDERERS
def test_a_new_nodes_seed_stays_when_it_is_queued(editor, nodes2):
    """Another seed is another run: one that was stopped would not go on."""
    editor.open("infinitetalk_small", nodes2)
    for node, seed in (("InfiniteTalkSampler", 42), ("InfiniteTalkRedo", 0)):
        assert editor.page.evaluate(SEED_AFTER, node) == [seed, seed]
    before, after = editor.page.evaluate(SEED_AFTER, "KSampler")  # the host's own has another default
    assert before != after


def test_every_node_has_a_help_page_that_the_editor_finds(server):
    nodes = [name for name in server.object_info() if name.startswith("InfiniteTalk")]
    assert len(nodes) >= 12
    for name in nodes:
        page = server.request(f"/extensions/{PACK_NAME}/docs/{name}/en.md").decode()
        assert len(page) > 200, name


def test_templates_are_listed_by_the_host(server):
    assert sorted(json.loads(server.request("/workflow_templates"))[PACK_NAME]) == TEMPLATES
