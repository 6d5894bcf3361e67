"""Every name that stands for graphs is read by `r1sgg export` and `r1sgg draw`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from r1sgg.cli import main
from r1sgg.data.sources import open_data
from r1sgg.errors import ConfigError, InputError
from r1sgg.exports import from_csv, from_json
from r1sgg.exports.reading import read_graphs
from r1sgg.graph.text import render

SCENES = "scenes:3,preset=small,split=test,seed=8"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_drawn_set_is_exported_and_drawn_although_it_has_no_files(here: Path) -> None:
    assert call("export", SCENES, "--format", "json", "--out", "s.jsonl") == 0
    graphs = [from_json(line).graph for line in Path("s.jsonl").read_text().splitlines()]
    assert [graph.triplets for graph in graphs] == [example.graph.triplets for example in open_data(SCENES)]
    assert call("draw", SCENES, "--out", "p") == 0
    assert len(list(Path("p").glob("*.png"))) == 3
    first = next(iter(open_data(SCENES))).image_id
    assert call("draw", SCENES, "--id", first, "--format", "svg", "--out", "q") == 0
    assert [path.name for path in Path("q").iterdir()] == [f"{first}.svg"]


def test_predictions_of_a_drawn_set_are_compared_with_it_by_name(here: Path) -> None:
    rows = [
        {"image_id": e.image_id, "frame": [1000, 1000], "completion": render(e.graph, (1000, 1000))}
        for e in open_data(SCENES)
    ]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("draw", "p.jsonl", "--ground-truth", SCENES, "--format", "svg", "--out", "p") == 0
    assert all("0 spurious" in path.read_text() for path in Path("p").iterdir())
    assert call("export", "p.jsonl", "--ground-truth", SCENES, "--format", "coco", "--out", "c.json") == 0
    assert {image["width"] for image in json.loads(Path("c.json").read_text())["images"]} == {112}


def test_coco_is_data_alone_and_results_beside_a_ground_truth(here: Path) -> None:
    assert call("data", "scenes", "--count", 2, "--preset", "small", "--out", "set") == 0
    assert call("export", "set/gt.jsonl", "--format", "coco", "--out", "set/_annotations.coco.json") == 0
    found = list(read_graphs("coco:set"))
    assert [f.record.graph.triplets for f in found] == [e.graph.triplets for e in open_data("set/gt.jsonl")]
    images = {row["id"]: row for row in json.loads(Path("set/_annotations.coco.json").read_text())["images"]}
    results = [{"image_id": k, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5} for k in images]
    files = [{"id": k, "file_name": f"{k}.jpg"} for k in images]
    Path("results.json").write_text(json.dumps(results))
    Path("names.json").write_text(json.dumps({"categories": [{"id": 1, "name": "man"}], "images": files}))
    truth = [{"image_id": str(k), "width": 112, "height": 112, "objects": [], "relationships": []} for k in images]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in truth))
    labels = [f.record.graph.labels for f in read_graphs("coco:results.json,names=names.json", "t.jsonl")]
    assert labels == [("man",)] * 2


def test_anybodys_predictions_are_read_and_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = '{"objects": [{"id": "man.1", "bbox": [1, 2, 30, 40]}], "relationships": []}'
    lines = [{"response": answer, "images": [f"{k}.jpg"], "messages": []} for k in range(2)]
    Path("swift.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert call("export", "swift:swift.jsonl", "--format", "csv", "--out", "named.csv") == 0
    capsys.readouterr()
    assert call("export", "swift.jsonl", "--format", "csv", "--out", "seen.csv") == 0
    assert "swift.jsonl: read as swift:" in capsys.readouterr().err
    assert Path("named.csv").read_text() == Path("seen.csv").read_text()


def test_the_folder_and_the_lines_of_predict_are_read(here: Path) -> None:
    row = {
        "image_id": "a",
        "image": "a.png",
        "width": 200,
        "height": 100,
        "objects": [
            {"id": "man.1", "bbox": [500, 500, 1000, 1000], "score": 0.5},
            {"id": "hat.1", "bbox": [0, 0, 9, 9]},
        ],
        "relationships": [{"subject": "hat.1", "predicate": "on", "object": "man.1"}],
        "boxes": "thousandths",
        "completion": "",
        "frame": [1, 1],
        "failure": None,
    }
    row["objects"][1]["score"] = 0.25  # type: ignore[index]
    row["relationships"][0]["score"] = 0.1  # type: ignore[index]
    bad = {"image_id": "b", "image": "b.png", "error": "b.png: no image"}
    Image.new("RGB", (200, 100)).save("a.png")
    for path in ("graphs/a.json", "graphs/sub/a.json"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(row))
    Path("graphs/.predict.run").write_text("{}")
    Path("lines.jsonl").write_text(f"{json.dumps(bad)}\n{json.dumps(row)}\n")
    for found in list(read_graphs("graphs")):
        assert found.record.graph.boxes[0].tolist() == [0.5, 0.5, 1, 1]
        assert found.record.graph.object_scores is not None
    assert len(list(read_graphs("graphs"))) == 2
    assert call("draw", "graphs", "--out", "p") == 0
    assert call("export", "lines.jsonl", "--format", "csv", "--out", "l.csv") == 1  # b has no graph
    (record,) = from_csv(Path("l.csv").read_text())
    assert record.graph.triplets == (("hat", "on", "man"),)
    row["boxes"] = "percent"
    Path("graphs/a.json").write_text(json.dumps(row))
    with pytest.raises(InputError, match="boxes: expected one of pixels, thousandths, fractions, found 'percent'"):
        list(read_graphs("graphs"))


def test_a_name_that_is_none_says_which_there_are(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one of vg150:, jsonl:, .*scenes:.* more, found 'vg15:'"):
        next(read_graphs("vg15:DIR"))
    with pytest.raises(InputError, match="No such file"):
        next(read_graphs("gone.jsonl"))
    Path("x.json").write_text('{"a": 1}')
    assert call("export", "x.json", "--format", "csv", "--out", "x.csv") == 2
