"""Every page at 1,440 and 390 pixels, light and dark: nothing sticks out, every text can be read, no labels overlap."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from r1sgg.cli import main
from r1sgg.drawing.layout import lay_out
from r1sgg.pages.stage import write_stage

from ..browser import OpenPage
from ..looks import VARIANTS, faults, overlaps
from .crowd import IDS, STEPS, crowded_set, ten_objects

pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'r1sgg[dev]')")

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
LABELS = ".picture svg rect.tag, .picture svg rect[class^='arrow r']"
PAGES = ("report", "curves", "examples", "statistics", "captions", "stage")


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every page, made by its command."""
    folder = crowded_set(tmp_path_factory.mktemp("looks"))
    truth, files = str(folder / "gt.jsonl"), [str(folder / f"{name}.jsonl") for name in ("sft", "grpo")]
    runs = [word for name in STEPS for word in ("--runs", str(folder / "runs" / name))]
    out = {name: str(folder / f"{name}.html") for name in PAGES}
    run("report", *files, "--ground-truth", truth, *runs, "--bootstrap", "20", "--out", out["report"])
    run("report", *runs, "--out", out["curves"])
    run("data", "view", "--data", truth, "--out", out["examples"])
    run("data", "stats", "--data", truth, "--out", out["statistics"])
    captions = ["--captions", str(folder / "captions.jsonl"), "--extract", "rules:plain", "--similarity", "exact"]
    run("captions", "check", truth, *captions, "--out", out["captions"])
    (found,) = ten_objects(1)
    write_stage(Path(out["stage"]), found.image, found.example.graph, "Scene graph")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as a site."""
    pytest.importorskip("material", reason="needs mkdocs-material (pip install 'r1sgg[docs]')")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True)
    return folder


def unfold(page: Page) -> None:
    """Open what is folded, and show cards out of sight, which Chromium does not lay out."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.add_style_tag(content=".card { content-visibility: visible !important; }")


@VARIANTS
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read(browser_page: OpenPage, pages: Path, name: str, width: int, scheme: str) -> None:
    page = browser_page((pages / f"{name}.html").as_uri(), width=width, colour_scheme=scheme)
    unfold(page)
    assert faults(page) == []
    if name in ("examples", "stage"):
        assert overlaps(page, LABELS, at_least=15) == []


@VARIANTS
def test_a_long_name_in_the_heading_is_folded(browser_page: OpenPage, pages: Path, width: int, scheme: str) -> None:
    truth = pages / f"a-{'long-' * 10}name-without-a-space.jsonl"
    truth.write_bytes((pages / "gt.jsonl").read_bytes())
    run(
        "report",
        str(pages / "sft.jsonl"),
        "--ground-truth",
        str(truth),
        "--bootstrap",
        "0",
        "--out",
        str(pages / "l.html"),
    )
    assert faults(browser_page((pages / "l.html").as_uri(), width=width, colour_scheme=scheme)) == []


@VARIANTS
def test_the_browser_of_errors_and_its_viewer(browser_page: OpenPage, pages: Path, width: int, scheme: str) -> None:
    address = f"{(pages / 'report.html').as_uri()}#other=1&image={IDS[0]}"
    page = browser_page(address, width=width, colour_scheme=scheme)
    page.wait_for_selector(f'dialog[data-ready="{IDS[0]}"]')
    unfold(page)
    assert faults(page) == []
    assert page.evaluate("document.getElementById('viewer').scrollWidth <= innerWidth")
    assert overlaps(page, ".panels .tag rect, .panels .predicate rect", at_least=25) == []
    # what has no room is counted
    hidden = page.locator(".panels .crowded").count()
    said = [int(text.split()[0]) for text in page.locator(".panels figcaption").all_inner_texts() for text in
            text.split(" relations")[1:] if "without room" in text]  # fmt: skip
    assert sum(said) == hidden


@VARIANTS
@pytest.mark.parametrize("name", ["index", "tiny", "cli"])
def test_the_documentation_fits_and_can_be_read(
    browser_page: OpenPage, site: Path, name: str, width: int, scheme: str
) -> None:
    page = browser_page((site / f"{name}.html").as_uri(), width=width, colour_scheme=scheme)
    assert faults(page) == []


def test_the_search_of_the_documentation_works_from_a_file(browser_page: OpenPage, site: Path) -> None:
    page = browser_page((site / "howto" / "reward.html").as_uri())
    field = page.locator("[data-md-component=search-query]")
    field.click()
    field.type("webdataset")
    found = page.locator(".md-search-result__item a", has_text="Any number of images").first
    found.wait_for()
    found.click()
    page.wait_for_url("**/generate.html?h=*")


def test_every_column_of_the_documentation_is_on_screen_at_1280_pixels(browser_page: OpenPage, site: Path) -> None:
    page = browser_page((site / "index.html").as_uri(), width=1280)
    cut = []
    for file in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # which a server answers with
        page.goto(file.as_uri())
        wide = page.locator(".md-typeset__scrollwrap").evaluate_all(
            "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText.slice(0, 50))"
        )
        cut += [f"{file.name}: {text}" for text in wide]
    assert cut == []


@pytest.mark.parametrize("side", [360, 560])
def test_no_labels_of_ten_objects_overlap(side: int) -> None:
    for found in ten_objects(12):
        example = found.example
        scale = side / max(example.width, example.height)
        layout = lay_out(example.graph, (example.width * scale, example.height * scale), 11.0, numbers=True)
        tags = [part.tag for part in (*layout.boxes, *layout.arrows)]
        rects = [tag.rect for tag in tags if not tag.crowded]
        assert len(rects) >= 0.8 * len(tags)
        for k, (a1, b1, a2, b2) in enumerate(rects):
            for c1, d1, c2, d2 in rects[k + 1 :]:
                assert min(a2, c2) - max(a1, c1) < 1.5 or min(b2, d2) - max(b1, d1) < 1.5
