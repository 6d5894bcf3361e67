"""How large and how quick `r1sgg report` is: two runs on 5,000 images, made, then used in headless Chromium.

    python benchmarks/report.py --out report.json                # 5,000 images
    python benchmarks/report.py --images 500

The set is that of `benchmarks/evaluate.py` with blurred noise as photos. CPU-seconds and peak memory are the command's
process, the start of Python included. In the page each figure is the median of several uses, in milliseconds of CPU of
the page's main thread (scripts, style, layout and painting, until two frames later), so that a busy machine does not
change it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from evaluate import make_files
from PIL import Image

USES = 9
CHANGE = """([id, value]) => {
    const control = document.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event(control.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
}"""
PAINTED = "() => new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))"


def make_set(folder: Path, images: int) -> None:
    """gt.jsonl with photos, pred.jsonl, and other.jsonl: the same answers but for some that are no graph."""
    make_files(folder, images)
    rows = [orjson.loads(line) for line in (folder / "gt.jsonl").read_bytes().splitlines()]
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number, row in enumerate(rows):
        row["image"] = f"images/{number}.jpg"
        noise = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        noise.resize((row["width"], row["height"]), Image.Resampling.BICUBIC).save(folder / row["image"], quality=85)
    (folder / "gt.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with (folder / "other.jsonl").open("wb") as out:
        for line in (folder / "pred.jsonl").read_bytes().splitlines():
            answer = orjson.loads(line)
            out.write(orjson.dumps({**answer, "completion": "none"} if rng.random() < 0.03 else answer) + b"\n")


def build(folder: Path) -> dict[str, Any]:
    """Run the command; its cost and what it wrote."""
    command = [sys.executable, "-c", "from r1sgg.cli import main; main()"]
    arguments = ["report", "pred.jsonl", "other.jsonl", "--ground-truth", "gt.jsonl", "--out", "out/report.html"]
    (folder / "out").mkdir()
    subprocess.run([*command, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    beside = list((folder / "out" / "report_files").glob("*"))
    return {
        "build_cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "build_peak_mb": round(used.ru_maxrss / 1024),
        "page_mb": round((folder / "out" / "report.html").stat().st_size / 1e6, 2),
        "details_mb": round(sum(p.stat().st_size for p in beside if p.suffix == ".js") / 1e6, 1),
        "images_mb": round(sum(p.stat().st_size for p in beside if p.suffix == ".webp") / 1e6, 1),
        "files": len(beside) + 1,
    }


def use(page_file: Path) -> dict[str, Any]:
    """Open the page from its file and use it; CPU milliseconds of its main thread."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium")
    if executable is None:
        return {"chromium": "not found"}
    changes = {
        "filter by failure": [("f-kind", "failed"), ("f-kind", "")],
        "filter by predicate": [("f-predicate", "on"), ("f-predicate", "")],
        "filter by missed class": [("f-ctype", "missed"), ("f-class", "man"), ("f-class", "")],
        "order": [("f-sort", "best"), ("f-sort", "missed"), ("f-sort", "worst")],
        "other run": [("f-run", "1"), ("f-run", "0")],
        "find an id": [("f-find", "2000123"), ("f-find", "")],
    }
    out: dict[str, Any] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def busy() -> float:
            metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
            return 1000 * float(metrics["TaskDuration"])

        page.goto(page_file.as_uri())
        page.evaluate(PAINTED)
        out["ms to open the page"] = round(busy())
        for name, steps in changes.items():
            times = []
            for _ in range(USES):
                for step in steps:
                    before = busy()
                    page.evaluate(CHANGE, list(step))
                    page.evaluate(PAINTED)
                    times.append(busy() - before)
            out[f"ms: {name}"] = round(statistics.median(times), 1)
        opened = []
        for place in range(USES):
            card = page.locator("#grid .card").nth(5 * place)
            card.scroll_into_view_if_needed()
            page.evaluate(PAINTED)
            before = busy()
            card.evaluate("card => card.click()")
            page.wait_for_selector("dialog[data-ready]")
            page.evaluate(PAINTED)
            opened.append(busy() - before)
            page.keyboard.press("Escape")
        out["ms: open an image"] = round(statistics.median(opened), 1)
        out["heap_mb"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6, 1)
        browser.close()
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_set(folder, options.images)
        found = {"images": options.images, **build(folder), **use(folder / "out" / "report.html")}
    for key, value in found.items():
        print(f"{key:45} {value}")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
