"""Ground truth in another unit or order: found, and never corrected box by box."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.units import TruthUnits
from r1sgg.graph.frames import BoxFrame

SIZES = [(640, 480), (800, 600), (480, 640), (500, 375)]
FRAMES: dict[str, Any] = {
    "fractions": lambda size: BoxFrame((1.0, 1.0)),
    "thousandths": lambda size: BoxFrame((1000.0, 1000.0)),
    "yx": lambda size: BoxFrame(size, axes="yx"),
    "size": lambda size: BoxFrame(size, shape="size"),
    "centre": lambda size: BoxFrame(size, shape="centre"),
    "percent": lambda size: BoxFrame((100.0, 100.0)),
    "larger": lambda size: BoxFrame((4 * size[0], 4 * size[1])),
}
CALLED = {
    "fractions": "fractions (0 to 1)",
    "thousandths": "thousandths (0 to 1000)",
    "yx": "[y1, x1, y2, x2]",
    "size": "[x, y, width, height]",
    "centre": "[centre x, centre y, width, height]",
    "percent": "percent (0 to 100)",
    "larger": "those of a larger image",
}


def rows(frame: Any, count: int = 12, seed: int = 0, sizes: Any = SIZES) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        size = sizes[k % len(sizes)]
        low = rng.uniform(0, 0.6, (4, 2))
        boxes = np.concatenate((low, low + rng.uniform(0.05, 0.4, (4, 2))), axis=1)
        written = np.round(frame(size).written(boxes), 3).tolist()
        objects = [{"id": f"man.{n}", "bbox": box} for n, box in enumerate(written, 1)]
        relation = {"subject": "man.1", "predicate": "near", "object": "man.2"}
        out.append({"image_id": str(k), "width": size[0], "height": size[1], "objects": objects,
                    "relationships": [relation]})  # fmt: skip
    return out


def verdict(lines: list[dict[str, Any]]) -> str | None:
    units = TruthUnits()
    for line in lines:
        units.add(line)
    found = units.verdict()
    return None if found is None else found.reading


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("count", [3, 12, 200])
def test_the_unit_of_a_file(name: str, count: int) -> None:
    assert verdict(rows(FRAMES[name], count)) == name


def test_one_image_in_fractions_is_found() -> None:
    lines = rows(BoxFrame, 40)
    lines[7] = rows(FRAMES["fractions"], 1)[0]
    assert verdict(lines) == "fractions"


@pytest.mark.parametrize("seed", range(20))
def test_pixels_are_pixels(seed: int) -> None:
    assert verdict(rows(BoxFrame, 12, seed)) is None


def test_single_faults_are_no_unit() -> None:
    lines = rows(BoxFrame, 30)
    for k in range(3):
        lines[k]["objects"][0]["bbox"] = [0.1, 0.1, 0.5, 0.5]
    lines[4]["objects"][0]["bbox"] = [30, 30, 10, 10]
    lines[5]["objects"][0]["bbox"] = [0, 0, 2000, 2000]
    assert verdict(lines) is None


def test_thousandths_of_large_images() -> None:
    """None of these lies outside its image; that boxes end at 1000 in images of any size tells."""
    lines = rows(FRAMES["thousandths"], 40, sizes=[(2000, 1500), (1600, 2400)])
    for line in lines:
        line["objects"][0]["bbox"][2] = 1000
    assert verdict(lines) == "thousandths"
    assert verdict(rows(BoxFrame, 40, sizes=[(2000, 1500), (1600, 2400)])) is None


@pytest.mark.parametrize("name", FRAMES)
def test_nothing_is_corrected_box_by_box(name: str, tmp_path: Path) -> None:
    file, fixed = tmp_path / "gt.jsonl", tmp_path / "fixed.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(FRAMES[name])))
    arguments = ["data", "check", "--data", str(file), "--images", "none", "--fix", str(fixed)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert f"boxes look like {CALLED[name]}: " in done.stdout
    assert name == "larger" or f"boxes look like {CALLED[name]}: 48 of 48" in done.stdout
    assert f"{fixed}: not written: boxes look like" in done.stderr
    assert not fixed.exists()
    (change,) = (tmp_path / "fixed.changes.jsonl").read_text().splitlines()
    assert json.loads(change)["kind"] == "wrong_frame"
