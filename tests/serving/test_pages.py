"""The web demo and the API page in a browser, as a person uses them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from r1sgg.exports.files import read_graphs
from r1sgg.miniature.scenes import SMALL, scene

from ..browser import OpenPage
from .server import serving

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def demo(chromium: object) -> Iterator[str]:
    """`r1sgg web` as a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from r1sgg.cli import main; main()", "web", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "200"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert process.poll() is None, "r1sgg web ended"
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _read_graph(page: Page) -> None:
    page.locator("#go").click(timeout=60_000)
    page.wait_for_selector("#graph .r1", timeout=60_000)
    page.wait_for_function(  # the last partial graph is followed by one without this note
        "() => document.querySelector('#graph li') && !document.querySelector('#graph').innerText.includes('writing')",
        timeout=60_000,
    )


def test_an_uploaded_image_becomes_a_graph_that_can_be_taken_away(
    demo: str, browser_page: OpenPage, tmp_path: Path
) -> None:
    scene(5, SMALL).image.save(tmp_path / "scene.png")
    page = browser_page(demo, errors_allowed=("Method not implemented",))  # gradio's own, when a file is offered
    page.wait_for_selector("#image input[type=file]", state="attached", timeout=60_000)
    page.locator("#image input[type=file]").set_input_files(str(tmp_path / "scene.png"))
    page.wait_for_selector("#image img", timeout=60_000)
    _read_graph(page)
    rows = page.locator("#graph li")
    assert rows.count() >= 1
    assert page.locator("#graph rect").count() >= 2
    # keyboard: a row that has the focus lights its boxes
    rows.first.focus()
    opacities = page.locator("#graph text.tag").evaluate_all("all => all.map(e => getComputedStyle(e).opacity)")
    assert 0 < opacities.count("1") <= 2
    page.locator("#export").click()
    page.wait_for_selector("#file a", timeout=60_000)
    with page.expect_download() as download:
        page.locator("#file a").first.click()
    download.value.save_as(tmp_path / "graph.jsonl")
    (found,) = read_graphs(tmp_path / "graph.jsonl")
    assert len(found.record.graph.ids) == page.locator("#graph text.tag").count()


def test_the_page_fits_a_phone_and_an_example_is_a_click_away(demo: str, browser_page: OpenPage) -> None:
    page = browser_page(demo, width=375, height=800)
    page.wait_for_selector("#go", timeout=60_000)
    page.locator("#examples img").first.click()
    page.wait_for_selector("#image img", timeout=60_000)
    _read_graph(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_without_an_image_it_says_what_to_do(demo: str, browser_page: OpenPage) -> None:
    page = browser_page(demo)
    page.wait_for_selector("#go", timeout=60_000)
    page.locator("#go").click()
    page.get_by_text("Drop an image first").wait_for(timeout=60_000)


def test_the_api_page_shows_every_route(browser_page: OpenPage) -> None:
    with serving() as server:
        page = browser_page(f"{server.url}/docs")
        for route in ("/v1/graph", "/v1/graphs", "/v1/graph/stream", "/health", "/metrics"):
            page.get_by_text(route, exact=True).first.wait_for(timeout=30_000)
        page.locator("#operations-Server-health").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        page.get_by_text('"status": "ok"').first.wait_for(timeout=30_000)
