"""ComfyUI's editor in a browser page, as a user has it: open a template, set widgets, press Run, see what happens.

Values are set on the widgets, as typing into them does; everything else goes through what is on the screen.
"""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page

from infinitetalk_cli.server import PACK_NAME
from tests.host.server import ServerUnderTest

START_MS = 60_000
RUN_MS = 180_000
LOADED = "name => window.app?.extensionManager?.workflow?.activeWorkflow?.path === `workflows/${name}.json`"
SET = """([type, values]) => {
    const node = app.graph.nodes.find(node => node.type === type);
    for (const [name, value] of Object.entries(values)) {
        const widget = node.widgets.find(widget => widget.name === name);
        widget.value = value;
        widget.callback?.(value, app.canvas, node);
    }
}"""
WATCH = """() => {
    window.ended = null;
    for (const name of ["execution_success", "execution_error"])
        app.api.addEventListener(name, event => { window.ended = { ...event.detail, name }; }, { once: true });
}"""
RED = """() => app.graph.nodes.filter(node => node.has_errors).map(
    node => [node.type, node.inputs.filter(input => input.hasErrors).map(input => input.name)])"""


class Editor:
    """One page on one server. `said` collects what the page reported as an error, as (text, address)."""

    def __init__(self, page: Page, server: ServerUnderTest):
        self.page, self.server = page, server
        self.said: list[tuple[str, str]] = []
        page.on("console", self.listen)
        page.on("pageerror", lambda error: self.said.append((f"uncaught: {error}", str(error.stack))))

    def listen(self, message) -> None:
        if message.type == "error":
            self.said.append((message.text, message.location.get("url", "")))

    def complaints(self) -> list[tuple[str, str]]:
        """Errors that concern the pack: its own files, pictures and videos that do not load, uncaught exceptions.

        Not the editor's own question, sometimes before the test is over, how large a missing model file is: a host
        without API nodes forbids it to ask other addresses, and its answer names our model files.
        """
        ours = re.compile(r"infinitetalk|loading media|uncaught", re.IGNORECASE)
        asked = re.compile(r"missingModelDownload|Content Security Policy", re.IGNORECASE)
        whole = [(said, " ".join(said)) for said in self.said]
        return [said for said, text in whole if ours.search(text) and not asked.search(text)]

    def start(self, address: str = "", nodes2: bool = False) -> None:
        """Open the editor with the classic renderer or Nodes 2.0, for a user who has seen the welcome page."""
        settings = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": nodes2, "Comfy.Minimap.Visible": False}
        self.server.post("/settings", settings)
        self.page.goto(self.server.url + address)
        self.page.wait_for_function("window.app?.vueAppReady && app.graph?.nodes.length > 0", timeout=START_MS)

    def open(self, template: str, nodes2: bool = False) -> None:
        """Open one of the pack's templates by its address."""
        self.start(f"/?template={template}&source={PACK_NAME}", nodes2)
        self.wait_for(template)

    def wait_for(self, template: str) -> None:
        self.page.wait_for_function(LOADED, arg=template, timeout=START_MS)

    def set(self, node_type: str, **values) -> None:
        """Set widgets of the only node of a type."""
        self.page.evaluate(SET, [node_type, values])

    def prompt(self) -> dict:
        """What Run would send: the workflow in API format, without the input the editor invents for Load Video."""
        prompt = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        for entry in prompt.values():
            entry["inputs"].pop("video-preview", None)
        return prompt

    def press_run(self) -> None:
        self.page.get_by_test_id("queue-button").click()

    def run(self) -> dict:
        """Press Run and wait for the end: the host's last event, with its name as "name"."""
        self.page.evaluate(WATCH)
        self.press_run()
        return self.page.wait_for_function("window.ended", timeout=RUN_MS).json_value()

    def outputs(self, node: str) -> dict:
        """What the host sent for a node to show."""
        return self.page.evaluate("id => app.nodeOutputs[id]", node)

    def video(self) -> Locator:
        """The video that is on the screen."""
        return self.page.locator("video:visible")

    def red(self) -> list:
        """Nodes that are marked as wrong, as [type, names of the marked inputs]."""
        return self.page.evaluate(RED)
