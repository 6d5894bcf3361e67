"""The pictures of these pages, made anew: draw.png, viewer.png and web.png, of `tiny` on drawn test scenes.

    python docs/pictures.py

Needs Chromium and `pip install 'r1sgg[web,dev]'`; takes about two minutes on two cores.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parent
SCENES = ("--preset", "small", "--count", "40", "--split", "test", "--seed", "1")
SCENE = "scene-2199024304165"
"""Of these: three objects, four relations, of which `tiny` finds two; of the three that it predicts, one is wrong."""
_COMMAND = (sys.executable, "-c", "from r1sgg.cli import main; main()")


def r1sgg(*arguments: str, folder: Path) -> None:
    """Run a command of r1sgg in a folder."""
    subprocess.run([*_COMMAND, *arguments], cwd=folder, check=True)


def reduce(path: Path, target: Path) -> None:
    """Save a picture no wider than the pages, with few colours, which makes it a quarter of its size."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((1280, 1280))
    image.quantize(255, dither=Image.Dither.NONE).save(target, optimize=True)


def photograph(page: Any, folder: Path, name: str) -> None:
    """Save what the browser shows."""
    page.screenshot(path=folder / name)
    reduce(folder / name, DOCS / name)


def main() -> None:
    """Make all pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        r1sgg("data", "scenes", *SCENES, "--out", "test", folder=folder)
        for run, temperature in (("tiny-greedy", "0"), ("tiny-sampled", "1")):
            how = ("--guide", "--scores", "--temperature", temperature, "--out", f"{run}.jsonl")
            r1sgg("generate", "--images", "test/gt.jsonl", "--model", "tiny", *how, folder=folder)
        truth = ("--ground-truth", "test/gt.jsonl")
        r1sgg("draw", "tiny-greedy.jsonl", *truth, "--id", SCENE, "--out", "drawn", folder=folder)
        reduce(folder / "drawn" / f"{SCENE}.png", DOCS / "draw.png")
        r1sgg("report", "tiny-greedy.jsonl", "tiny-sampled.jsonl", *truth, "--out", "report.html", folder=folder)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"{(folder / 'report.html').as_uri()}#other=1&image={SCENE}")
        page.wait_for_selector(f'dialog[data-ready="{SCENE}"]')
        page.locator("#viewer-name").click()
        photograph(page, folder, "viewer.png")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        web = subprocess.Popen([*_COMMAND, "web", "--port", str(port)], cwd=folder)
        try:
            wait_for(f"http://127.0.0.1:{port}", web)
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector("#image input[type=file]", state="attached", timeout=120_000)
            page.locator("#image input[type=file]").set_input_files(folder / "test" / "images" / f"{SCENE}.png")
            page.wait_for_selector("#save:not([disabled])", timeout=120_000)
            page.wait_for_timeout(1000)
            photograph(page, folder, "web.png")
        finally:
            web.terminate()
            web.wait(30)
        browser.close()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError("r1sgg web ended")


if __name__ == "__main__":
    main()
