"""`r1sgg generate --engine vllm` as a user runs it: vLLM in processes of its own, a folder with a broken image."""

import os
import subprocess
import sys
from pathlib import Path

import orjson

from r1sgg.graph.text import parse

from .conftest import OPTIONS, SURROUNDINGS, Asked


def test_generate_with_vllm(tmp_path: Path, asked: Asked) -> None:
    folder, out = tmp_path / "images", tmp_path / "predictions.jsonl"
    folder.mkdir()
    for image, key in zip(*asked.first(20)[::2], strict=True):
        image.save(folder / f"{key}.png")
    (folder / "broken.png").write_text("no image")
    engine = "vllm:" + ",".join(f"{name}={value}" for name, value in OPTIONS.items())
    words = ["generate", "--images", str(folder), "--engine", engine, "--guide", "--out", str(out)]
    surroundings = {**os.environ, **SURROUNDINGS, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from r1sgg.cli import main; main()", *words],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 1, done.stderr[-3000:]  # one image could not be answered
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert len(rows) == 21
    assert [row["image_id"] for row in rows if "error" in row] == ["broken.png"]
    assert all(row["finish_reason"] == "stop" for row in rows if "error" not in row)
    assert not any(parse(row["completion"], tuple(row["frame"])).issues for row in rows if "error" not in row)
    scores = [thing["score"] for row in rows for thing in row.get("objects", [])]
    assert len(scores) > 20
    assert all(0 < score <= 1 for score in scores)
    assert len(set(scores)) > 10
    assert "INFO" not in done.stdout
