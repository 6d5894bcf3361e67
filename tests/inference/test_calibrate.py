"""`r1sgg calibrate` and `--threshold` from outside, on the shipped model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.calibration import Calibration, ScoreMap
from r1sgg.inference.engine import Sampling
from r1sgg.inference.engines import load
from r1sgg.miniature.scenes import SMALL, scene
from r1sgg.models.finding import resolve

DATA = "scenes:40,seed=3,split=validation,preset=small"


def call(*arguments: object, code: int = 0) -> str:
    shown = CliRunner().invoke(app, [str(a) for a in arguments])
    if code == 2:
        assert shown.exit_code == 1, shown.output
        return str(shown.exception)
    assert shown.exit_code == code, shown.output
    return shown.output


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped model, and its predictions."""
    folder = tmp_path_factory.mktemp("calibrate")
    model = folder / "model"
    model.mkdir()
    for file in Path(resolve("tiny")).iterdir():
        (model / file.name).symlink_to(file)
    call(
        "generate", "--images", DATA, "--model", model, "--out", folder / "p.jsonl", "--guide", "--max-new-tokens", 200
    )
    return folder


def test_a_calibration_is_fitted_stored_and_used_by_single_answers(folder: Path) -> None:
    before, model = lines(folder / "p.jsonl"), folder / "model"
    asked = ("--ground-truth", DATA, "--model", model)
    shown = call("calibrate", folder / "p.jsonl", *asked)
    assert "objects: " in shown
    assert "calibration.json" in shown
    assert call("calibrate", folder / "p.jsonl", *asked) == shown, "the file is no part of the checkpoint's fingerprint"
    made = json.loads((model / "calibration.json").read_text())["fitted"]
    assert (made["method"], made["images"], made["guide"], made["temperature"]) == ("isotonic", 40, True, 0)
    again = ("generate", "--images", DATA, "--model", model, "--max-new-tokens", 200)
    try:
        call(*again, "--out", folder / "q.jsonl", "--guide")
        message = call("calibrate", folder / "q.jsonl", *asked, code=2)
        assert "expected scores that no calibration has mapped yet" in message
        assert "fitted on other answers" in call(*again, "--out", folder / "r.jsonl", "--scores", "--limit", 1)
        merged = ("--samples", 2, "--temperature", 1, "--limit", 2)
        assert "single answers" in call(*again, "--out", folder / "s.jsonl", *merged)
    finally:
        (model / "calibration.json").unlink()
    after = lines(folder / "q.jsonl")
    assert [row["completion"] for row in after] == [row["completion"] for row in before]
    old, new = ([o["score"] for row in rows for o in row["objects"]] for rows in (before, after))
    assert old != new
    order = np.argsort(old, kind="stable")
    assert (np.diff(np.array(new)[order]) >= 0).all()
    call(*again, "--out", folder / "t.jsonl", *merged)
    assert lines(folder / "s.jsonl") == lines(folder / "t.jsonl"), "merged scores stay"


def test_what_cannot_be_calibrated_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    asked = ("calibrate", folder / "p.jsonl", "--ground-truth", DATA, "--model")
    assert "expected a checkpoint folder, found no config.json" in call(*asked, "tiny", code=2)
    assert "expected one of isotonic, temperature" in call(*asked, folder / "model", "--method", "none", code=2)
    other = tmp_path / "other"
    other.mkdir()
    for file in Path(resolve("tiny-sft")).iterdir():
        (other / file.name).symlink_to(file)
    assert f"expected answers of {other}, found those of" in call(*asked, other, code=2)
    assert not (other / "calibration.json").exists()
    few = tmp_path / "few.jsonl"
    few.write_text("".join(line + "\n" for line in (folder / "p.jsonl").read_text().splitlines()[:2]))
    message = call("calibrate", few, "--ground-truth", "scenes:2,seed=3,split=validation,preset=small", "--model",
                   folder / "model", code=2)  # fmt: skip
    assert "expected 50 scores or more" in message


def test_a_threshold_compares_the_written_numbers(folder: Path) -> None:
    """Nothing that is written with 0.3 or more vanishes, and `evaluate` cuts what `generate` cuts."""
    whole, cut = lines(folder / "p.jsonl"), folder / "cut.jsonl"
    call("generate", "--images", DATA, "--model", folder / "model", "--out", cut, "--guide", "--max-new-tokens", 200,
         "--threshold", 0.3)  # fmt: skip
    for full, row in zip(whole, lines(cut), strict=True):
        assert row["completion"] == full["completion"]
        for kind in ("objects", "relationships"):
            assert row[kind] == [item for item in full[kind] if item["score"] >= 0.3]
    assert sum(len(row["relationships"]) for row in whole) > sum(len(row["relationships"]) for row in lines(cut)) > 0
    figures = []
    for file, more in ((cut, ()), (folder / "p.jsonl", ("--threshold", 0.3))):
        call("evaluate", file, "--ground-truth", DATA, "--json", folder / "o.json", *more)
        figures.append(json.loads((folder / "o.json").read_text()))
    assert figures[1]["threshold"] == 0.3
    for key in ("R@50", "AP", "precision", "f1", "objects_per_image", "relations_per_image", "calibration"):
        assert figures[0][key] == figures[1][key]
    curve = {row["threshold"]: row for row in figures[1]["calibration"]["triplets"]["thresholds"]}
    assert curve[0.0] == curve[0.3] | {"threshold": 0.0}, "what is cut has left the curve"


def test_a_threshold_without_scores_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    kept = ("image_id", "completion", "frame")
    bare.write_text("".join(json.dumps({k: row[k] for k in kept}) + "\n" for row in lines(folder / "p.jsonl")))
    message = call("evaluate", bare, "--ground-truth", DATA, "--threshold", 0.3, code=2)
    assert "expected scores to compare, found none" in message


def test_scores_do_not_depend_on_who_shares_the_batch() -> None:
    reader = load("tiny", device="cpu")
    pictures, keys = [scene(k, SMALL).image for k in range(8)], [f"{k}" for k in range(8)]
    for sampling in (Sampling(max_new_tokens=200), Sampling(temperature=1, max_new_tokens=200)):
        together = reader.read_batch(pictures, sampling, keys=keys, guide=True)
        for picture, key, one in zip(pictures, keys, together, strict=True):
            (alone,) = reader.read_batch([picture], sampling, keys=[key], guide=True)
            assert alone.graph == one.graph, "boxes, names and scores"


def test_a_calibration_changes_the_scores_that_a_reader_gives() -> None:
    reader = load("tiny", device="cpu")
    picture = scene(3, SMALL).image
    plain = reader.read(picture, guide=True).graph
    half = Calibration(ScoreMap((0.0, 1.0), (0.0, 0.5)), ScoreMap((0.0, 1.0), (0.0, 0.5)))
    reader = replace(reader, checkpoint=replace(reader.checkpoint, calibration=half))
    graph = reader.read(picture, guide=True).graph
    assert graph.object_scores == pytest.approx(plain.object_scores / 2)
    assert graph.triplet_scores == pytest.approx(plain.triplet_scores / 2)
