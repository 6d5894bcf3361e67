"""docs/own_data.md is walked from an empty folder: every script and every command, in the order of the page."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app, main
from r1sgg.data.detections import prediction_line
from r1sgg.data.sources import open_data
from r1sgg.errors import InputError

PAGE = Path(__file__).parent.parent / "docs" / "own_data.md"
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_page_is_walked_from_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = {}
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, block.splitlines()[0], "exec"), {"__name__": "page"})
            continue
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "r1sgg"
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, (line, done.output)
            said[words[1], words[2]] = done.output
    assert len(said) == 10
    # the table and the COCO file hold the same annotations
    coco, table = open_data("coco:export.json,images=photos"), open_data("all.jsonl")
    assert len(coco) == len(table) == 60
    for one in range(60):
        first, second = coco[one].graph, next(e.graph for e in table if e.image_id == coco[one].image_id)
        assert first.labels == second.labels
        assert first.triplets == second.triplets
        assert np.abs(first.boxes - second.boxes).max() < 1e-6
    proposed = open_data("coco:proposed.json")
    assert {example.graph.labels for example in proposed} <= {example.graph.labels for example in coco}
    assert all(example.image is not None and example.image.is_file() for example in proposed)
    sizes = [len(open_data(f"{name}.jsonl")) for name in ("train", "val", "test")]
    assert "of 60\n  images {} and {} are".format(*sizes[1:]) in PAGE.read_text()
    parts = [e.image_id for name in ("train", "val", "test") for e in open_data(f"{name}.jsonl")]
    assert sorted(parts) == sorted(e.image_id for e in coco)
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert json.loads((tmp_path / "results.json").read_text())["images"] == sizes[2]
    detected = said["evaluate", "detected.jsonl"]
    assert re.search(r"detected +0.00 +100.00 +100.00 ", detected)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("photos", "photos: expected a ground-truth file (JSON Lines), or KIND:PATH, found a folder; with annotations"),
        ("boxes.csv", "found a CSV file; see docs/own_data.md"),
        ("export.json", "found COCO's annotations; write coco:export.json; see docs/own_data.md"),
        (
            "coco:plain.json",
            "plain COCO has no relations: write empty=yes to use its boxes alone, or add them (docs/own_data.md)",
        ),
        ("coco:nowhere.json", "see docs/own_data.md"),
        ("broken.jsonl", "see docs/own_data.md"),
    ],
)
def test_errors_of_data_name_the_page(
    given: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("boxes.csv").write_text("file,label\n")
    Path("export.json").write_text('{"images": [], "annotations": []}')
    Path("plain.json").write_text('{"images": [], "annotations": [], "categories": []}')
    Path("broken.jsonl").write_text('{"image_id": "1"}\n')
    for command in (["data", "view", "--out", "v.html"], ["data", "check"]):
        if given == "broken.jsonl" and command == ["data", "check"]:
            continue  # it lists what is broken
        with pytest.raises(SystemExit) as stop:
            main([*command, "--data", given])
        assert stop.value.code == 2 or given == "broken.jsonl"
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1


def test_a_detectors_output_becomes_a_line() -> None:
    boxes, pairs = np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]]), np.array([[1, 0]])
    line = prediction_line("7", boxes, ["man", "street"], np.array([0.5, 1.0]), pairs=pairs, predicates=["on"])
    assert line == {
        "image_id": "7",
        "relationships_by": "index",
        "objects": [
            {"label": "man", "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5},
            {"label": "street", "bbox": [5.0, 6.0, 7.0, 8.5], "score": 1.0},
        ],
        "relationships": [[1, 0, "on"]],
    }
    json.dumps(line)
    scored = prediction_line("7", boxes, ["man", "street"], pairs=[(0, 1)], predicates=["on"], pair_scores=[0.25])
    assert scored["relationships"] == [[0, 1, "on", 0.25]]
    assert prediction_line("7", [], [])["objects"] == []
    for wrong, says in (
        ({"labels": ["man"]}, "expected as many boxes as labels as scores, found 2 boxes, 1 labels, 2 scores"),
        ({"pairs": [(0, 2)]}, "expected the place of an object, from 0 to 1, found 2"),
        ({"scores": [0.5, 7.0]}, "expected a number from 0 to 1, found 7.0"),
        ({"predicates": []}, "expected as many pairs as predicates, found 1 pairs, 0 predicates"),
    ):
        given = {"boxes": boxes, "labels": ["man", "street"], "scores": [0.5, 1.0], "pairs": [(0, 1)]}
        with pytest.raises(InputError, match="image 7") as error:
            prediction_line("7", **{"predicates": ["on"], **given, **wrong})  # type: ignore[arg-type]
        assert says in str(error.value)
