"""A detector's rows: what would change a figure in silence is one sentence with the row and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1sgg.cli import main
from r1sgg.data.base import read_ground_truth, read_predictions
from r1sgg.errors import InputError
from r1sgg.graph.vocabulary import OPEN
from r1sgg.metrics.report import evaluate

TRUTH = {
    "image_id": "1",
    "width": 800,
    "height": 600,
    "objects": [{"id": "man.1", "bbox": [120, 70, 360, 560]}, {"id": "horse.1", "bbox": [80, 200, 620, 590]}],
    "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}],
}
OBJECTS = [{"id": o["id"], "bbox": o["bbox"], "score": 0.9} for o in TRUTH["objects"]]
LABELLED = [{"label": o["id"][:-2], "bbox": o["bbox"], "score": 0.9} for o in TRUTH["objects"]]
RELATED = {"subject": "man.1", "predicate": "riding", "object": "horse.1", "score": 0.8}


def line(objects: Any = OBJECTS, relationships: Any = (RELATED,), **more: Any) -> dict[str, Any]:
    return {"image_id": "1", "objects": objects, "relationships": list(relationships), **more}


def written(path: Path, row: dict[str, Any]) -> Path:
    path.write_text(json.dumps(row) + "\n")
    return path


def figures(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    truth, predictions = written(folder / "gt.jsonl", TRUTH), written(folder / "p.jsonl", row)
    return evaluate(read_ground_truth(truth), read_predictions(predictions), OPEN)


@pytest.mark.parametrize(
    "row",
    [
        line(),
        line(frame=[800, 600]),
        line([{**o, "bbox": [v / (8, 6)[k % 2] for k, v in enumerate(o["bbox"])]} for o in OBJECTS], frame=[100, 100]),
        line(LABELLED, [[0, 1, "riding", 0.8]], relationships_by="index"),
        line(LABELLED, [[0, "riding", 1]], relationships_by="index"),
        line(LABELLED, [{"subject": 0, "predicate": "riding", "object": 1}], relationships_by="index"),
        line(OBJECTS, [[0, 1, "riding"]], relationships_by="index"),
        line([{**o, "id": f"object_{k}.1", "label": o["id"][:-2]} for k, o in enumerate(OBJECTS)],
             [{**RELATED, "subject": "object_0.1", "object": "object_1.1"}]),
    ],
)  # fmt: skip
def test_right_rows_of_every_kind_give_the_same_figures(row: dict[str, Any], tmp_path: Path) -> None:
    found = figures(tmp_path, row)
    assert (found["failure_rate"], found["AP50"], found["R@50"]) == (0, pytest.approx(1), 1)


def test_objects_alone_need_only_a_label(tmp_path: Path) -> None:
    found = figures(tmp_path, line([*LABELLED, {**LABELLED[0], "id": "man.1"}], []))
    assert (found["AP50"], found["objects_per_image"]) == (pytest.approx(1), 3)
    (prediction,) = read_predictions(written(tmp_path / "p.jsonl", line(LABELLED * 2, [])))
    assert prediction.read(image=(800, 600)).graph.ids == ("man.1", "horse.1", "man.2", "horse.2")


def test_a_class_beside_an_id_counts(tmp_path: Path) -> None:
    rows = [{**OBJECTS[0], "label": "Woman"}, OBJECTS[1]]
    (prediction,) = read_predictions(written(tmp_path / "p.jsonl", line(rows)))
    assert prediction.read(image=(800, 600)).graph.triplets == (("woman", "riding", "horse"),)


def changed(rows: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    """The rows with keys of the second changed; None takes a key away."""
    last = {k: v for k, v in {**rows[-1], **values}.items() if v is not None}
    return [*rows[:-1], last]


def renamed(rows: list[dict[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    return [{new if key == old else key: value for key, value in row.items()} for row in rows]


ONE = [RELATED]
WRONG = [
    (line(renamed(OBJECTS, "score", "confidence")), "objects[0]: 'confidence'", 'rename it "score"'),
    (line(renamed(OBJECTS, "score", "Score")), "objects[0]: 'Score'", 'rename it "score"'),
    (line(renamed(OBJECTS, "score", "scroe")), "objects[0]: 'scroe'", 'rename it "score"'),
    (line(renamed(OBJECTS, "bbox", "box")), "objects[0]: 'box'", 'rename it "bbox"'),
    (line(renamed(OBJECTS, "id", "class")), "objects[0]: 'class'", 'rename it "label"'),
    (line(changed(OBJECTS, area=9)), "objects[1]: 'area'", "only the keys bbox, score, label, id"),
    (line(relationships=renamed(ONE, "score", "prob")), "relationships[0]: 'prob'", 'rename it "score"'),
    (line(relationships=renamed(ONE, "predicate", "relation")), "relationships[0]: 'relation'", '"predicate"'),
    (line(relationships=renamed(ONE, "subject", "subject_id")), "relationships[0]: 'subject_id'", '"subject"'),
    *((line(changed(OBJECTS, score=s)), "objects[1].score", f"found {s!r}") for s in (95, -3, 1.01, "0.9", True, [1])),
    *((line(relationships=changed(ONE, score=s)), "relationships[0].score", f"found {s!r}") for s in (95, -3, "0.9")),
    (line(changed(OBJECTS, score="0.9")), "objects[1].score", "without quotes"),
    (line(changed(OBJECTS, score=95)), "objects[1].score", "divide percentages by 100"),
    ({**line(), "objects": [OBJECTS[0], {k: v for k, v in OBJECTS[1].items() if k != "score"}]},
     "objects[1].score", "a score for every row or for none, found 1 of 2"),
    (line(changed(OBJECTS, id=None)), "objects[1]: ", 'an "id" like "man.1", or a "label"'),
    (line(LABELLED), "objects[0]: ", "number the objects of a class"),
    (line(changed(OBJECTS, id=7)), "objects[1].id", "found 7"),
    (line(changed(OBJECTS, id="7")), "objects[1].id", "names a class"),
    (line(changed(OBJECTS, label="?")), "objects[1].label", "the name of a class"),
    (line(changed(OBJECTS, bbox=None)), "objects[1]: 'bbox'", "found nothing"),
    (line(["man.1"]), "objects[0]: ", "a JSON object"),
    (line(relationships=[[0, 1, "riding"]]), "relationships[0]: ", '"relationships_by": "index"'),
    (line(relationships=changed(ONE, subject=0)), "relationships[0].subject", '"relationships_by": "index"'),
    (line(relationships=changed(ONE, predicate="")), "relationships[0].predicate", "the name of a predicate"),
    (line(relationships=["man.1 -> riding -> horse.1"]), "relationships[0]: ", 'an object with "subject"'),
    ({"image_id": "1", "objects": OBJECTS, "relations": []}, "'relations'", 'rename it "relationships"'),
    ({**line(), "objcts": []}, "'objcts'", "only the keys objects, image_id, completion, relationships, frame, ask"),
    ({**line(), "mine": 1}, "'mine'", "error and 15 more"),
    (line(relationships_by="place"), "relationships_by", '"id" or "index"'),
    *((line(LABELLED, [row], relationships_by="index"), "relationships[0]", says) for row, says in (
        ([0, 2, "riding"], "from 0 to 1, found 2"),
        ([-1, 0, "riding"], "from 0 to 1, found -1"),
        ([True, 0, "riding"], "from 0 to 1, found True"),
        ([0, 0.5, "riding"], "from 0 to 1, found 0.5"),
        ([0, 1, 20], "write predicates as names"),
        ([0, "riding"], "a list of subject, object, predicate"),
        ([0, 1, "riding", 7], "a number from 0 to 1, found 7"),
        ({**RELATED}, "from 0 to 1, found 'man.1'"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("row", "where", "says"), WRONG)
def test_each_fault_is_one_sentence_of_the_command(
    row: dict[str, Any], where: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, path = written(tmp_path / "gt.jsonl", TRUTH), written(tmp_path / "p.jsonl", row)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(path), "--ground-truth", str(truth)])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"r1sgg: {path}:1: {where}")
    assert says in said


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "Infinity"])
def test_a_score_that_json_does_not_have_is_named(number: str, tmp_path: Path) -> None:
    text = json.dumps(line()).replace("0.8", number)
    (tmp_path / "p.jsonl").write_text(text + "\n")
    with pytest.raises(InputError, match=f"p.jsonl:1: .*{number.lstrip('-')} is no number of JSON.; write a number"):
        list(read_predictions(tmp_path / "p.jsonl"))


def test_rows_without_a_frame_need_the_size_of_the_image(tmp_path: Path) -> None:
    (prediction,) = read_predictions(written(tmp_path / "p.jsonl", line()))
    with pytest.raises(
        InputError, match=r"image_id '1': frame: expected .* found nothing; add it, or give the ground truth"
    ):
        prediction.read()
    assert prediction.read(image=(800, 600)).graph.boxes[0, 2] == 360 / 800


def test_boxes_and_references_are_issues_as_in_text(tmp_path: Path) -> None:
    rows = [*OBJECTS, {"id": "dog.1", "bbox": [50, 0, 0, 50], "score": 0.5}]
    row = line(rows, [{**RELATED, "object": "dog.1"}, RELATED], frame=[800, 600])
    (prediction,) = read_predictions(written(tmp_path / "p.jsonl", row))
    parsed = prediction.read()
    assert [issue.kind for issue in parsed.issues] == ["inverted_box", "dangling"]
    assert parsed.graph.relationship_scores is not None
    assert parsed.graph.relationship_scores == pytest.approx([0.8 * 0.9 * 0.9]), "times its objects'"
