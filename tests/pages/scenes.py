"""Five images of a man on a horse with a hat, completions for them, and the command that makes a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r1sgg.cli import main

NASTY = '<script>alert("x")</script>'
FRAME = [1000, 1000]


def truth_row(k: int) -> dict[str, Any]:
    return {
        "image_id": f"scene-{k}",
        "width": 200,
        "height": 100,
        "image": f"images/{k}.png",
        "objects": [
            {"id": "man.1", "bbox": [10, 10, 60, 90]},
            {"id": "horse.1", "bbox": [20, 40, 100, 95]},
            {"id": "hat.1", "bbox": [20, 5, 50, 25]},
        ],
        "relationships": [
            {"subject": "man.1", "predicate": "riding", "object": "horse.1"},
            {"subject": "man.1", "predicate": "wearing", "object": "hat.1"},
        ],
    }


def answer(relations: int, extra: str | None = None, *, instead: str | None = None) -> str:
    """The true objects with the first relations of the truth, and one more; `instead` takes the first's place."""
    row = truth_row(0)
    objects = [
        {"id": o["id"], "bbox": [v * s for v, s in zip(o["bbox"], (5, 10, 5, 10), strict=True)]} for o in row["objects"]
    ]
    relationships = row["relationships"][:relations]
    if instead is not None:
        relationships = [{**relationships[0], "predicate": instead}, *relationships[1:]]
    if extra is not None:
        relationships = [*relationships, {"subject": "hat.1", "predicate": extra, "object": "horse.1"}]
    return json.dumps({"objects": objects, "relationships": relationships})


ANSWERS = {
    "scene-0": answer(2),
    "scene-1": answer(1),
    "scene-2": answer(2, extra="on"),
    "scene-3": f"I see {NASTY} a man\x00 on a horse.",
    "scene-4": answer(0, extra=NASTY),
}
"""From bad to good: 3 (no JSON), 4 (recall 0), 1 (1/2), 2 (all, precision 2/3), 0."""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def small_set(tmp_path: Path) -> Path:
    """gt.jsonl, good.jsonl, bad.jsonl, images/ (the last of five is missing) and run/ (curves and samples)."""
    write_lines(tmp_path / "gt.jsonl", [truth_row(k) for k in range(5)])
    (tmp_path / "images").mkdir()
    for k in range(4):
        Image.new("RGB", (200, 100), (40 * k, 120, 90)).save(tmp_path / "images" / f"{k}.png")
    answers = [{"image_id": name, "completion": text, "frame": FRAME} for name, text in ANSWERS.items()]
    write_lines(tmp_path / "good.jsonl", answers)
    write_lines(tmp_path / "bad.jsonl", [{**row, "completion": "no"} for row in answers])
    log: list[dict[str, Any]] = [
        {
            "step": k,
            "stage": "grpo",
            "time": 1.5 * k,
            "reward": 0.1 * k,
            "rewards/edge/mean": 0.05 * k,
            "rewards/edge/std": 1.0,
            "loss": 2 - k,
        }
        for k in range(1, 6)
    ]
    log.append({"step": 5, "stage": "grpo", "failure_rate": 0.25, "AP50": 0.5, "R@50": 0.125})
    write_lines(tmp_path / "run" / "metrics.jsonl", log)
    samples = [
        {
            "step": step,
            "image_id": f"scene-{k}",
            "completion": json.dumps({"step": step, "sample": k}),
            "terms": {"format": 1.0, "edge": 0.1 * step, "node": None},
            "total": 0.5 * step,
        }
        for step in (1, 3, 5)
        for k in range(2)
    ]
    write_lines(tmp_path / "run" / "completions.jsonl", samples)
    return tmp_path


def report(folder: Path, *arguments: str) -> Path:
    """Make a report through the command line, with few resamples unless told otherwise; the page."""
    out = folder / "out" / "report.html"
    if "--bootstrap" not in arguments:
        arguments = (*arguments, "--bootstrap", "20")
    with pytest.raises(SystemExit) as exit_:
        main(["report", *arguments, "--ground-truth", str(folder / "gt.jsonl"), "--out", str(out)])
    assert exit_.value.code == 0
    return out
