"""Fixtures for tests in a real browser: Chromium, and the editor of the running server in a page of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.editor import Editor


# For one module, no longer: Playwright keeps an event loop in this thread, and the queue's client needs its own.
@pytest.fixture(scope="module")
def browser(chromium: str):
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def editor(browser, server):
    """The editor in a page with no memory of earlier ones; nothing in it may have failed because of the pack."""
    with browser.new_context(viewport={"width": 1600, "height": 1000}) as context:
        editor = Editor(context.new_page(), server)
        yield editor
        assert editor.complaints() == []
