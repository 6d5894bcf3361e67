"""Predictions in the files of other tools: the documented examples, faults as one sentence, unknown files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from r1sgg.cli import app, main
from r1sgg.data.importers.layout import resized_size
from r1sgg.data.importers.registry import LAYOUTS, open_predictions
from r1sgg.data.importers.sgg_benchmark import size_in_test
from r1sgg.errors import ConfigError, InputError

PAGE = Path(__file__).parents[2] / "docs" / "others.md"
CASES = Path(__file__).parents[3] / "shared" / "cases" / "10-original-answer-files"


def documented() -> tuple[dict[str, str], list[str]]:
    """The files that the page shows, by name, and its commands."""
    text = PAGE.read_text()
    files = dict(re.findall(r"^`([\w./-]+)`:\n\n```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    return files, re.findall(r"^```sh\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)


FILES, COMMANDS = documented()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    return tmp_path


def first_row(path: Path) -> dict[str, str]:
    return next(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[2])
def test_every_documented_example_is_read_in_full(command: str, page: Path) -> None:
    found = CliRunner().invoke(app, [*command.split()[1:], "--out", "t.csv"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    row = first_row(page / "t.csv")
    assert (row["failure_rate"], row["AP50"], row["R@50"]) == ("0.00", "100.00", "100.00"), found.output


def test_every_layout_is_documented() -> None:
    assert {command.split()[2].partition(":")[0] for command in COMMANDS} == set(LAYOUTS)


@pytest.mark.parametrize("source", sorted({command.split()[2] for command in COMMANDS}))
def test_a_file_without_a_name_is_recognised_and_said(source: str, page: Path) -> None:
    kind, _, rest = source.partition(":")
    path = rest.partition(",")[0]
    if kind == "detectron":
        with pytest.raises(ConfigError, match="expected names=FILE"):
            list(open_predictions(path))
        return
    opened = open_predictions(path)
    want = "r1sgg" if kind == "sgg-r3" else kind  # the folders are the same
    assert opened.layout == want
    assert opened.notes[0].startswith(f"read as {want}: (")
    assert [p.image_id for p in opened] == ["2"]


def test_the_report_takes_them_too_and_shows_what_was_assumed(page: Path) -> None:
    arguments = ["report", "swift:swift.jsonl", "r1sgg:answers", "--ground-truth", "gt.jsonl", "--out", "r.html"]
    found = CliRunner().invoke(app, [*arguments, "--json", "r.json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert {name: row["R@50"] for name, row in json.loads(Path("r.json").read_text()).items()} == {
        "swift": 1,
        "answers": 1,
    }
    assert "swift: the file has no frame: boxes are read as thousandths of the image" in Path("r.html").read_text()


def test_what_was_assumed_is_said_and_in_the_json(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "swift.jsonl", "--ground-truth", "gt.jsonl", "--json", "-"])
    printed, said = capsys.readouterr()
    notes = ["read as swift: (ms-swift's infer)"]
    notes.append("the file has no frame: boxes are read as thousandths of the image (frame=1000)")
    assert json.loads(printed)["source"] == {"layout": "swift", "notes": notes}
    assert all(f"swift.jsonl: {note}" in said for note in notes)


def written(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = value if isinstance(value, list) and path.suffix == ".jsonl" else [value]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def answer(text: str | None = "hello", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text, **message}, "finish_reason": "length"}], "model": "m"}


def test_requests_that_failed_are_errors_of_their_images(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    output = [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "hello"}]}]
    bodies: list[tuple[dict[str, Any], str | None]] = [
        ({"response": {"status_code": 200, "body": answer()}}, None),
        ({"response": {"status_code": 200, "body": answer(parts)}}, None),  # type: ignore[arg-type]
        ({"response": {"status_code": 200, "body": {"choices": [{"text": "hello"}]}}}, None),
        ({"response": {"status_code": 200, "body": {"output": output}}}, None),
        ({"response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}}, "slow down"),
        ({"response": None, "error": {"code": "batch_expired"}}, "batch_expired"),
        ({"response": {"status_code": 200, "body": answer(None, refusal="no")}}, "refusal has text"),
        (
            {"response": {"status_code": 200, "body": answer(None, reasoning_content="hm")}},
            "reasoning_content has text",
        ),
        ({"response": {"status_code": 200, "body": {"output": [], "status": "incomplete"}}}, "incomplete"),
    ]
    rows = [{"custom_id": str(k), **row} for k, (row, _) in enumerate(bodies)]
    found = list(open_predictions(f"openai-batch:{written(tmp_path / 'b.jsonl', rows)}"))
    for prediction, (_, fault) in zip(found, bodies, strict=True):
        if fault is None:
            assert (prediction.completion, prediction.error) == ("hello", None)
        else:
            assert fault in (prediction.error or "")


SWIFT = {"response": "x", "messages": [], "images": [{"bytes": None, "path": "a/2.jpg"}]}


@pytest.mark.parametrize(
    ("images", "want"),
    [
        ([{"bytes": None, "path": "a/b/2417.jpg"}], "2417"),
        (["a/2417.png"], "2417"),
        (["https://x.test/i/2417.jpg?size=3"], "2417"),
        (["C:\\pictures\\2417.jpg"], "2417"),
        (["COCO_val2014_000000000042.jpg"], "COCO_val2014_000000000042"),
    ],
)
def test_the_name_of_the_file_is_the_id_of_the_image(images: list[Any], want: str, tmp_path: Path) -> None:
    path = written(tmp_path / "s.jsonl", [{**SWIFT, "images": images, "key": 9}])
    assert [p.image_id for p in open_predictions(f"swift:{path}")] == [want]
    assert [p.image_id for p in open_predictions(f"swift:{path},id=key")] == ["9"]


@pytest.mark.parametrize(
    ("box", "options"),
    [
        ([100, 200, 300, 500], "frame=1000"),
        ([200, 100, 500, 300], "frame=1000,axes=yx"),
        ([100, 200, 200, 300], "frame=1000,shape=size"),
        ([0.2, 0.35, 0.2, 0.3], "frame=1,shape=centre"),
        ([40, 20, 100, 60], "frame=pixels,axes=yx"),
        ([20, 40, 40, 60], "frame=pixels,shape=size"),
        ([0.1, 0.4, 0.3, 1], "frame=1x2"),
    ],
)
def test_any_frame_can_be_said(box: list[float], options: str, tmp_path: Path) -> None:
    text = json.dumps({"objects": [{"id": "man.1", "bbox": box}], "relationships": []})
    path = written(tmp_path / "s.jsonl", [{**SWIFT, "response": text}])
    (prediction,) = open_predictions(f"swift:{path},{options}")
    found = prediction.read(image=(200, 200)).graph.boxes.ravel().tolist()
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.5])


def test_lines_of_ms_swift_2_are_recognised(tmp_path: Path) -> None:
    old = {"system": None, "query": "Scene graph?", "response": "x", "label": None, "images": ["a/2.jpg"]}
    opened = open_predictions(written(tmp_path / "s.jsonl", [old]))
    assert (opened.layout, [p.image_id for p in opened]) == ("swift", ["2"])


GROUND_TRUTH = {"image_id": "2", "width": 8, "height": 8, "image": "2.jpg", "objects": [], "relationships": []}
COLUMNS = {"bbox": [[0, 0, 9, 9]], "bbox_labels": [1], "bbox_scores": [0.5]}
INFO = {"idx_to_files": ["2.jpg"], "ind_to_classes": ["__background__", "man"], "ind_to_predicates": ["on", "near"]}
PAIR = {"rel_pairs": [[0, 0]], "rel_labels": [1], "rel_scores": [0.5]}
IMAGE = {"id": 1, "file_name": "2.jpg"}
DOCUMENT = {
    "images": [IMAGE],
    "categories": [{"id": 1, "name": "man"}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}],
}
RELATION = {"id": 1, "image_id": 1, "subject_id": 5, "object_id": 6, "predicate_id": 1}

FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("r1sgg:d", {"d/1.json": {"image_id": "1"}}, "d/1.json: expected a JSON object with image_id and response"),
    ("r1sgg:d", {"d/1.json": {"image_id": "1", "response": None}}, "d/1.json: response: expected a text, found None"),
    ("r1sgg:d", {"d/1.json": {"image_id": "1", "response": "", "box_scale": [0, 1]}}, "box_scale: expected [width, h"),
    ("r1sgg:d", {"d/a.txt": 1}, "d: expected JSON files, one for each image, found none"),
    ("r1sgg:nothing", {}, "nothing: expected a folder with a JSON file for each image, found nothing there"),
    ("swift:s.jsonl", {"s.jsonl": [{**SWIFT, "response": ["x"]}]}, "s.jsonl:1: response: expected a text"),
    ("swift:s.jsonl", {"s.jsonl": [{**SWIFT, "images": []}]}, "s.jsonl:1: images: expected a list with one image"),
    ("swift:s.jsonl", {"s.jsonl": [{**SWIFT, "images": [{"bytes": "R0"}]}]}, "name a field with id=FIELD"),
    ("swift:s.jsonl,id=key", {"s.jsonl": [SWIFT]}, "s.jsonl:1: 'key': expected this key, which id= names"),
    ("swift:s.jsonl", {"s.jsonl": [SWIFT, SWIFT]}, "s.jsonl: expected image ids that differ, found image_id '2' again"),
    ("swift:s.jsonl,frame=big", {"s.jsonl": [SWIFT]}, "expected frame= pixels, resized, 1000 or WIDTHxHEIGHT"),
    ("swift:s.jsonl,size=1", {"s.jsonl": [SWIFT]}, "expected options of frame="),
    ("jsonl:s.jsonl,frame=1", {}, "expected no options, which jsonl: does not have, found 'frame=1'"),
    ("s.jsonl", {"s.jsonl": [{"image_id": "2", "completion": "{}"}]}, r'found nothing; add it to each line'),
    ("openai-batch:b.jsonl", {"b.jsonl": [{"response": {}}]}, "b.jsonl:1: 'custom_id': expected this key"),
    ("openai-batch:b.jsonl", {"b.jsonl": [{"custom_id": "1", "response": {"body": {}}}]}, "choices: expected a list"),
    ("sgg-benchmark:d", {"d/custom_prediction.json": {"0": COLUMNS}}, "custom_data_info.json: expected a readable"),
    ("detectron:d.json", {"d.json": [{"image_id": 1, **COLUMNS}]}, "expected names=FILE"),
    ("detectron:d.json,names=n.json", {"d.json": [COLUMNS], "n.json": INFO}, "d.json[0]: 'image_id': expected"),
    ("detectron:d.json,names=n.json", {"d.json": {"1": COLUMNS}, "n.json": {"a": 1}}, "n.json: expected names of cl"),
    ("coco:c.json", {"c.json": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "expected names=ANNOTATI"),
    ("coco:c.json", {"c.json": {**DOCUMENT, "images": []}}, "annotations[0].image_id: expected the id of an image of"),
    ("coco:c.json", {"c.json": {**DOCUMENT, "rel_categories": [], "rel_annotations": [RELATION]}}, "_id: expected"),
    *(("sgg-benchmark:d", {"d/custom_prediction.json": {"0": row}, "d/custom_data_info.json": INFO}, says)
      for row, says in (
        ({"bbox": [[0, 0, 9, 9]]}, "'0': expected the key bbox_labels or pred_labels"),
        ({**COLUMNS, "bbox_labels": [1, 1]}, "expected columns of one length, found 1 boxes, 2 labels, 1 scores"),
        ({**COLUMNS, "bbox_labels": [2]}, "label of object 0: expected the number of one of 2 names, found 2"),
        ({**COLUMNS, "bbox_labels": [0]}, "found 0, the background"),
        ({**COLUMNS, "bbox_scores": [9.5]}, "objects[0].score: expected a number from 0 to 1, found 9.5"),
        ({**COLUMNS, **PAIR, "rel_labels": [7]}, "label of relationship 0: expected the number of one of 2 names"),
        ({**COLUMNS, **PAIR, "rel_pairs": [[0, 3]]}, "relationships[0].object: expected the place of an object"),
        ({**COLUMNS, **PAIR, "rel_pairs": [3]}, "pair 0: expected [subject, object]"),
        ({**COLUMNS, "rel_pairs": [[0, 0]]}, "expected the key rel_labels or pred_rel_labels"),
    )),
    ("what.jsonl", {"what.jsonl": [{"prompt": "x", "response": "y", "model": "m"}]}, "nearest is r1sgg: (the R1-SGG"),
    ("what.json", {"what.json": {"images": [], "annotations": []}}, "nearest is coco: (COCO's JSON of detecti"),
    ("what.json", {"what.json": {"a": 1}}, "expected predictions in a known layout: jsonl:, r1sgg:, sgg-r3:, swift:, "),
    *((source, {source: content}, f"found ground truth ({found}); give the file that `r1sgg generate` wrote")
      for source, content, found in (
        ("gt.jsonl", [GROUND_TRUTH], "it has width, height and no completion"),
        ("gt.json", GROUND_TRUTH, "it has width, height and no completion"),
        ("list.json", [GROUND_TRUTH], "it has width, height and no completion"),
        ("psg.json", {"data": [], "thing_classes": [], "stuff_classes": [], "predicate_classes": []}, "psg.json"),
    )),
    ("jsonl:gt.jsonl", {"gt.jsonl": [GROUND_TRUTH]}, 'gt.jsonl:1: expected predictions, lines like {"image_id": "2"'),
    ("p.jsonl", {"p.jsonl": [{**GROUND_TRUTH, "completion": ""}]}, "found a record of `r1sgg predict`; give"),
    ("jsonl:p.jsonl", {"p.jsonl": [{"image_id": "2", "image": "2.jpg"}]}, "put fields of your own under"),
    ("x.pytorch", {"x.pytorch": 1}, "x.pytorch: expected JSON, found a pickle, which could run any code; save it as"),
    ("ours.jsonl", {"ours.jsonl": [{"image_id": "2", "answer": "x", "frame": [1, 1]}]}, "ours.jsonl:1: 'answer': exp"),
    ("swfit:s.jsonl", {}, "'swfit:s.jsonl': expected one of jsonl:, r1sgg:, sgg-r3:, swift:, openai-batch:, sgg-bench"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "files", "says"), FAULTS)
def test_each_fault_is_one_sentence(
    source: str,
    files: dict[str, Any],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in files.items():
        written(Path(name), value)
    Path("gt.jsonl").write_text(FILES["gt.jsonl"])
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", source, "--ground-truth", "gt.jsonl"])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1), said
    assert says in said


def test_other_names_of_columns_and_scores_of_every_predicate(tmp_path: Path) -> None:
    rows = {
        "2": {
            "pred_boxes": [[0, 0, 9, 9], [9, 9, 20, 20]],
            "pred_labels": [1, 1],
            "pred_scores": [0.5, 0.25],
            "rel_pair_idxs": [[1, 0], [0, 1]],
            "pred_rel_scores": [[0.9, 0.1, 0.0], [0.1, 0.2, 0.7]],
        }
    }
    names = {"idx_to_label": {"1": "man"}, "idx_to_predicate": {"1": "on", "2": "near"}}
    written(tmp_path / "n.json", names)
    source = f"detectron:{written(tmp_path / 'd.json', rows)},names={tmp_path / 'n.json'}"
    (prediction,) = open_predictions(source)
    graph = prediction.read(image=(100, 100)).graph
    assert graph.triplets == (("man", "on", "man"), ("man", "near", "man"))
    assert graph.relationship_scores is not None
    assert graph.relationship_scores == pytest.approx([0.1 * 0.25 * 0.5, 0.7 * 0.5 * 0.25])
    assert graph.ids == ("man.1", "man.2")


def test_results_of_coco_without_relations(tmp_path: Path) -> None:
    results = [{"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}]
    path = written(tmp_path / "coco_instances_results.json", results)
    names = written(tmp_path / "instances_val.json", {**DOCUMENT, "images": [IMAGE, {"id": 2, "file_name": "3.jpg"}]})
    (prediction,) = open_predictions(f"coco:{path},names={names}")
    graph = prediction.read(image=(100, 100)).graph
    assert (prediction.image_id, graph.labels, graph.boxes.tolist()) == ("2", ("man",), [[0.1, 0.2, 0.4, 0.6]])


def test_an_exported_set_is_read_back(page: Path) -> None:
    line = {
        "image_id": "2",
        "frame": [800, 600],
        **{k: v for k, v in json.loads(FILES["gt.jsonl"]).items() if k in ("objects", "relationships")},
    }
    written(Path("p.jsonl"), [line])
    export = ["export", "p.jsonl", "--ground-truth", "gt.jsonl", "--format", "coco", "--out", "c.json"]
    assert CliRunner().invoke(app, export, catch_exceptions=False).exit_code == 0
    (prediction,) = open_predictions("coco:c.json")
    assert prediction.image_id == "2"
    assert prediction.read(image=(800, 600)).graph.triplets == (("man", "walking on", "street"),)


@pytest.mark.parametrize(
    "image", [(640, 480), (800, 600), (28, 2000), (5000, 4000), (30, 30), (1003, 1337), (375, 500)]
)
@pytest.mark.parametrize(("fewest", "most"), [(3136, 12845056), (3136, 1003520), (256 * 784, 1280 * 784)])
def test_resized_images_have_the_size_that_the_processor_gives_them(
    image: tuple[int, int], fewest: int, most: int
) -> None:
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_qwen2_vl")
    height, width = module.smart_resize(image[1], image[0], factor=28, min_pixels=fewest, max_pixels=most)
    assert resized_size(image, 28, fewest, most) == (width, height)


@pytest.mark.parametrize(
    ("image", "want"),
    [
        *(((800, 600), (800, 600)), ((600, 800), (600, 800)), ((500, 375), (800, 600)), ((1000, 200), (1000, 200))),
        *(((640, 480), (800, 600)), ((333, 500), (600, 900))),
    ],
)
def test_sizes_of_images_in_the_test_of_detectors(image: tuple[int, int], want: tuple[int, int]) -> None:
    assert size_in_test(image, 600, 1000) == want


def test_boxes_of_a_resized_image_are_scaled_back(page: Path) -> None:
    written(Path("gt.jsonl"), [{**json.loads(FILES["gt.jsonl"]), "width": 400, "height": 300, "objects": [
        {"id": "man.1", "bbox": [60, 30, 100, 165]}, {"id": "street.1", "bbox": [0, 135, 400, 300]}]}])  # fmt: skip
    found = CliRunner().invoke(app, [*COMMANDS[5].split()[1:], "--out", "t.csv"], catch_exceptions=False)
    assert "sgg-benchmark:" in COMMANDS[5]
    assert found.exit_code == 0
    assert first_row(Path("t.csv"))["AP50"] == "100.00"


@pytest.mark.skipif(not CASES.exists(), reason="the public situations in ../shared/cases are not there")
@pytest.mark.parametrize("name", ["orig", "swift.jsonl", "openai_batch.jsonl"])
def test_the_public_situations_are_read_in_full(name: str, tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    arguments = ["evaluate", str(CASES / name), "--ground-truth", str(CASES / "gt.jsonl"), "--json", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert (found["failure_rate"], found["R@50"], found["counts"]["relations"]) == (0, 1, 5)


def test_a_frame_that_needs_the_image_needs_its_size(tmp_path: Path) -> None:
    (prediction,) = open_predictions(f"swift:{written(tmp_path / 's.jsonl', [SWIFT])},frame=resized")
    with pytest.raises(InputError, match="frame: expected"):
        prediction.read()
