"""A Chromium for tests: `browser_page` opens pages that must not err and may ask for nothing outside this machine.

    def test_something(browser_page: OpenPage, tmp_path: Path) -> None:
        page = browser_page((tmp_path / "report.html").as_uri(), width=375)
        page.get_by_role("button", name="Close").click()

Every request but file:, data:, blob: and loopback is refused, and fails the test at its end, as do errors in the
console and uncaught exceptions. The profile is fresh each time. The tests are skipped where there is no Chromium.
"""

from __future__ import annotations

import shutil
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = ("--no-sandbox", "--disable-background-networking")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


class OpenPage(Protocol):
    """Opens a URL in a fresh profile; `errors_allowed`: words of console messages that the test expects."""

    def __call__(
        self,
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        colour_scheme: str = "light",
        errors_allowed: tuple[str, ...] = (),
    ) -> Page: ...


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, started once a test file (while it runs, asyncio.run() cannot be used in the same thread)."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'r1sgg[dev]')")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: Browser) -> Iterator[OpenPage]:
    """See `OpenPage`."""
    troubles: list[str] = []
    contexts = []

    def open_page(
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        colour_scheme: str = "light",
        errors_allowed: tuple[str, ...] = (),
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=colour_scheme, accept_downloads=True
        )
        contexts.append(context)

        def note(text: str) -> None:
            if not any(words in text for words in errors_allowed):
                troubles.append(text)

        def refuse(route) -> None:  # type: ignore[no-untyped-def]
            troubles.append(f"asked for {route.request.url}")
            route.abort()

        context.route(lambda address: not _is_here(address), refuse)
        page = context.new_page()
        page.on("console", lambda m: note(f"console: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: note(f"uncaught: {error}"))
        page.on("websocket", lambda s: None if _is_here(s.url) else note(f"opened a socket to {s.url}"))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles, troubles


def _is_here(address: str) -> bool:
    parts = urllib.parse.urlsplit(address)
    return parts.scheme in ("file", "data", "blob", "about", "chrome-error") or parts.hostname in _LOOPBACK
