"""A browser for the status page: Debian's own chromium, headless; nothing is downloaded."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PATIENCE = 60_000
"""Milliseconds that the page gets for what is waited for."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Started once for a module. Fails, and does not skip, where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("These tests need chromium: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without a past. What its script or its policy complained about fails the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield page
    context.close()

    # A worker that was killed is asked in vain, and the browser says so.
    in_vain = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    assert [said for said in complaints if not any(reason in said for reason in in_vain)] == []
