"""`r1sgg export` and `r1sgg draw` through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.data.base import read_ground_truth, read_predictions
from r1sgg.exports import from_coco, from_csv, from_dot, from_graphml, from_json, from_jsonld
from r1sgg.exports.files import FORMATS, file_names

NASTY = "../../<b>x</b>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows, answers = [], []
    for k, name in enumerate(("one", NASTY, "three")):
        rows.append(
            {
                "image_id": name,
                "width": 200,
                "height": 100,
                "image": f"{k}.png",
                "objects": [{"id": "man.1", "bbox": [10, 10, 60, 90]}, {"id": "hat.1", "bbox": [20, 5, 50, 25]}],
                "relationships": [{"subject": "man.1", "predicate": "wearing", "object": "hat.1"}],
            }
        )
        Image.new("RGB", (200, 100), (40 * k, 120, 90)).save(tmp_path / f"{k}.png")
        objects = [{"id": "man.1", "bbox": [0.05, 0.1, 0.3, 0.9], "score": 0.5}]
        answers.append({"image_id": name, "frame": [1, 1], "objects": objects, "relationships": []})
    answers[2] = {"image_id": "three", "frame": [1000, 1000], "completion": "no graph here"}
    for file, lines in (("gt.jsonl", rows), ("answers.jsonl", answers)):
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in lines))
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def test_every_format_of_a_ground_truth_reads_back(folder: Path) -> None:
    truth = list(read_ground_truth(folder / "gt.jsonl"))
    for name, format_ in FORMATS.items():
        out = folder / "out" / (f"all{format_.ending}" if format_.all else name)
        assert run("export", folder / "gt.jsonl", "--format", name, "--out", out) == 0
    out = folder / "out"
    texts = {name: (out / f"all{FORMATS[name].ending}").read_text() for name in ("json", "coco", "csv")}
    found = {
        "json": [from_json(line).graph for line in texts["json"].splitlines()],
        "coco": [record.graph for record in from_coco(json.loads(texts["coco"]))],
        "csv": [record.graph for record in from_csv(texts["csv"])],
    }
    for name, read in (("graphml", from_graphml), ("jsonld", from_jsonld), ("dot", from_dot)):
        files = [out / name / f"{stem}{FORMATS[name].ending}" for stem in ("one", "_.._b_x_b_", "three")]
        found[name] = [read(file.read_text()).graph for file in files]
        assert sorted(p.name for p in (out / name).iterdir()) == sorted(f.name for f in files)
    for graphs in found.values():
        assert [g.triplets for g in graphs] == [e.graph.triplets for e in truth]
    assert found["json"] == [e.graph for e in truth]
    assert {r.image_id for r in read_predictions(out / "all.jsonl")} == {e.image_id for e in truth}


def test_predictions_keep_their_scores_and_an_unreadable_answer_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "c.json"
    arguments = ("--ground-truth", folder / "gt.jsonl", "--format", "coco", "--out", out)
    assert run("export", folder / "answers.jsonl", *arguments) == 1
    assert "1 prediction could not be read; its graph is empty" in capsys.readouterr().err
    document = json.loads(out.read_text())
    assert [row["score"] for row in document["annotations"]] == [0.5, 0.5]
    assert [image["width"] for image in document["images"]] == [200, 200, 200]


def test_one_image_goes_into_one_file(folder: Path) -> None:
    out = folder / "one.graphml"
    assert run("export", folder / "gt.jsonl", "--format", "graphml", "--id", "one", "--out", out) == 0
    assert from_graphml(out.read_text()).image_id == "one"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gt.jsonl", "--format", "xml", "--out", "x"], "--format: expected one of json, graphml"),
        (["gt.jsonl", "--format", "dot", "--out", "x.dot"], "expected one image, found 3 images"),
        (["gt.jsonl", "--format", "dot", "--id", "nine", "--out", "x"], "'nine'"),
        (["answers.jsonl", "--format", "coco", "--out", "x.json"], "width and height"),
        (["missing.jsonl", "--format", "csv", "--out", "x.csv"], "readable JSON Lines"),
        (["gt.jsonl", "--format", "csv", "--out", "gt.jsonl/x.csv"], "a place to write a file"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run("export", *arguments) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_names_of_files_stay_in_their_folder_and_differ() -> None:
    assert file_names(["../../etc/passwd", "a/b", "a b", "A_B", "", "..", "猫"]) == [
        "_.._etc_passwd",
        "a_b",
        "a_b-2",
        "A_B-3",
        "image",
        "image-2",
        "猫",
    ]


def test_draw_writes_a_picture_an_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("draw", folder / "gt.jsonl", "--out", folder / "p", "--limit", "2") == 0
    assert sorted(p.name for p in (folder / "p").iterdir()) == ["_.._b_x_b_.png", "one.png"]
    arguments = ("--ground-truth", folder / "gt.jsonl", "--format", "svg")
    assert run("draw", folder / "answers.jsonl", *arguments, "--id", "one", "--out", folder / "q") == 0
    words = "".join(ElementTree.parse(folder / "q" / "one.svg").getroot().itertext())
    assert "Truth" in words
    assert "0 matched, 1 missed, 0 spurious" in words
    arguments = (*arguments, "--no-compare", "--no-graph", "--id", "one", "--out", folder / "r")
    assert run("draw", folder / "answers.jsonl", *arguments) == 0
    assert "Truth" not in (folder / "r" / "one.svg").read_text()
    assert run("draw", folder / "answers.jsonl", "--out", folder / "s") == 1
    assert "pass --ground-truth" in capsys.readouterr().err


def test_what_predict_writes_can_be_drawn_and_exported(folder: Path) -> None:
    row = json.loads((folder / "gt.jsonl").read_text().splitlines()[0])
    row |= {"model": "tiny", "completion": "x", "frame": [1000, 1000], "failure": None, "issues": []}
    (folder / "one.json").write_text(json.dumps(row))
    assert run("draw", folder / "one.json", "--out", folder / "p") == 0
    with Image.open(folder / "p" / "one.png") as picture:
        assert picture.mode == "RGB"
    assert run("export", folder / "one.json", "--format", "csv", "--out", folder / "t.csv") == 0
    (record,) = from_csv((folder / "t.csv").read_text())
    assert record.graph.triplets == (("man", "wearing", "hat"),)
