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

from r1sgg.data.images import open_image
from r1sgg.exports.reading import read_graphs
from r1sgg.miniature.scenes import SMALL, scene

from ..browser import OpenPage
from ..looks import VARIANTS, faults, overlaps
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
        for _ in range(3000):
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


READY = """() => {
    const said = document.querySelector("#graph [role=status]")?.innerText ?? "writing";
    return !/reading|writing/.test(said) && document.querySelector("#save:not([disabled])");
}"""


def _upload(page: Page, path: Path) -> None:
    """Give the page an image; it is read at once."""
    page.wait_for_selector("#image input[type=file]", state="attached", timeout=60_000)
    page.locator("#image input[type=file]").set_input_files(str(path))
    page.wait_for_function(READY, timeout=60_000)


def test_an_uploaded_image_becomes_a_graph_that_can_be_taken_away(
    demo: str, browser_page: OpenPage, tmp_path: Path
) -> None:
    scene(5, SMALL).image.save(tmp_path / "scene.png")
    page = browser_page(demo, errors_allowed=("Method not implemented",))  # gradio's own, when a file is offered
    _upload(page, tmp_path / "scene.png")
    assert page.locator("#image").is_hidden()  # one picture, not two
    assert page.locator("#graph img").count() == 1
    assert "tiny knows drawn scenes only" in page.locator("#reads").inner_text()
    rows = page.locator("#graph li")
    assert rows.count() >= 1
    scores = [float(text) for text in rows.filter(has=page.locator("b, em")).locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    # keyboard: a row that has the focus lights its boxes
    rows.first.focus()
    opacities = page.locator("#graph svg.wide text.tag").evaluate_all(
        "all => all.map(e => getComputedStyle(e).opacity)"
    )
    assert 0 < opacities.count("1") <= 2
    # the other way: a box that is pointed at marks its rows
    rows.first.evaluate("row => row.blur()")
    page.locator("#graph svg.wide rect.box").last.hover(force=True)
    marked = rows.evaluate_all(
        "all => all.filter((e) => getComputedStyle(e).backgroundColor !== 'rgba(0, 0, 0, 0)').length"
    )
    assert marked >= 1
    # saved in one click: the picture, and every other kind
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "graph.png")
    assert open_image(tmp_path / "graph.png").width >= 800
    page.locator("#kind input").click()
    page.get_by_role("option", name="json", exact=True).click()
    page.wait_for_timeout(1000)
    page.wait_for_function(READY, timeout=60_000)
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "graph.jsonl")
    (found,) = read_graphs(tmp_path / "graph.jsonl")
    assert len(found.record.graph.ids) == page.locator("#graph svg.wide text.tag").count()
    page.locator("#another").click()
    page.wait_for_selector("#image button", timeout=60_000)
    assert page.locator("#graph .r1").count() == 0


@VARIANTS
def test_the_page_fits_and_can_be_read(demo: str, browser_page: OpenPage, width: int, scheme: str) -> None:
    page = browser_page(demo, width=width, colour_scheme=scheme)
    page.wait_for_selector("#image button", timeout=60_000)
    assert "tiny" in page.locator("#reads").inner_text()  # what the model can read
    assert page.locator("#save").is_hidden()  # there is nothing to save
    assert faults(page) == []
    page.locator("#examples img").nth(1).click()
    page.wait_for_function(READY, timeout=60_000)
    page.get_by_text("Model, prompt and names").click()
    page.get_by_text("Completion").click()
    page.wait_for_selector("#go", timeout=60_000)
    assert faults(page) == []
    assert overlaps(page, "#graph svg rect.tag, #graph svg rect[class^='arrow r']", at_least=2) == []


def test_without_an_image_it_says_what_to_do(demo: str, browser_page: OpenPage) -> None:
    page = browser_page(demo)
    page.get_by_text("Model, prompt and names").click(timeout=60_000)
    page.locator("#go").click(timeout=60_000)
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
