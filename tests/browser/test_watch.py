"""Watching a run in the browser while it goes on, and what a browser makes of joined and growing files."""

from __future__ import annotations

import pytest
from playwright.sync_api import TimeoutError

from demo.base import ASSETS
from demo.commands import fit_speech

RENDERERS = pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "nodes2"])
FRAMES = 57  # six windows, slow enough to be watched
BUTTON = "app.graph.nodes.find(node => node.type === 'InfiniteTalkSampler').widgets.some(w => w.name === 'Watch')"
SAVED = "Object.fromEntries(app.graph.serialize().nodes.map(node => [node.id, node.widgets_values]))"
PRESS = (
    "app.graph.nodes.find(node => node.type === 'InfiniteTalkSampler').widgets.find(w => w.name === 'Watch').callback()"
)
PLACE = """() => {
    const node = app.graph.nodes.find(node => node.type === "InfiniteTalkSampler");
    const widget = node.widgets.find(widget => widget.name === "Watch");
    app.canvas.centerOnNode(node);
    app.canvas.draw(true, true);
    const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + 60, node.pos[1] + widget.last_y + 10]);
    const box = app.canvas.canvas.getBoundingClientRect();
    return [box.left + x, box.top + y];
}"""


@pytest.fixture(scope="module")
def speech(server) -> str:
    return fit_speech(ASSETS / "speech.flac", FRAMES / 25, server.base / "input" / "run.wav").name


def open_small(editor, speech: str, seed: int, nodes2: bool) -> None:
    editor.open("infinitetalk_small", nodes2)
    editor.set("LoadAudio", audio=speech)
    editor.set("InfiniteTalkReference", width=64, height=64, window_frames=17)
    editor.set("InfiniteTalkSchedule", steps=8)
    editor.set("InfiniteTalkSampler", frames_per_window=17, seed=seed)


def clicked_on_canvas(page):
    """What a click on the drawn button opens. The node grows with its first preview: between looking and clicking the
    button may have moved, and then one looks again, as a user does."""
    for _ in range(10):
        try:
            with page.expect_popup(timeout=5_000) as opened:
                page.mouse.click(*page.evaluate(PLACE))
            return opened.value
        except TimeoutError:
            continue
    raise AssertionError("ten clicks on the button opened nothing")


@RENDERERS
def test_watch_opens_what_is_finished_while_the_run_goes_on(editor, speech, nodes2):
    page = editor.page
    open_small(editor, speech, 500 + nodes2, nodes2)
    prompt = editor.prompt()
    saved = page.evaluate(SAVED)
    page.evaluate(
        "window.ended = null; app.api.addEventListener('execution_success', e => { window.ended = e.detail; })"
    )
    editor.press_run()
    page.wait_for_function(BUTTON, timeout=120_000)
    if nodes2:
        with page.expect_popup() as opened:
            page.get_by_role("button", name="Watch", exact=True).click()
        watched = opened.value
    else:
        watched = clicked_on_canvas(page)
    watched.wait_for_selector("video")
    video = watched.locator("video")
    video.evaluate("video => video.readyState >= 2 || new Promise(done => video.onloadeddata = done)")
    first = video.evaluate("video => video.duration")
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [64, 64]
    video.evaluate("video => { video.muted = true; return video.play(); }")
    video.evaluate("video => video.ended || new Promise(done => video.onended = done)")
    page.wait_for_function("window.ended", timeout=120_000)
    with page.expect_popup() as opened:
        page.evaluate(PRESS)  # the same button has the finished file now
    watched = opened.value
    watched.wait_for_selector("video")
    video = watched.locator("video")
    video.evaluate("video => video.readyState >= 2 || new Promise(done => video.onloadeddata = done)")
    last = video.evaluate("video => video.duration")
    assert 17 / 25 - 0.05 <= first < last == pytest.approx(FRAMES / 25, abs=0.2)
    assert editor.prompt() == prompt
    assert page.evaluate(SAVED) == saved


def test_the_button_is_there_again_after_the_page_was_loaded_anew(editor, speech):
    open_small(editor, speech, 510, False)
    editor.press_run()
    editor.page.wait_for_function(BUTTON, timeout=120_000)
    editor.page.reload()
    editor.page.wait_for_function("window.app?.vueAppReady && app.graph?.nodes.length > 0", timeout=60_000)
    assert not editor.page.evaluate(BUTTON)
    editor.page.wait_for_function(BUTTON, timeout=60_000)
