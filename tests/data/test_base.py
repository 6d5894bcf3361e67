"""Ground truth and predictions as files: exact round trips, and one sentence for each thing that can be wrong."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.base import (
    Example,
    data_hash,
    example_of_record,
    image_path,
    read_ground_truth,
    read_predictions,
    write_ground_truth,
)
from r1sgg.errors import InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids

GOOD = {
    "image_id": "2",
    "width": 800,
    "height": 600,
    "objects": [{"id": "man.1", "bbox": [119, 70, 197, 330]}, {"id": "street.1", "bbox": [2, 280, 798, 598]}],
    "relationships": [{"subject": "man.1", "predicate": "walking on", "object": "street.1"}],
}


def written(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def changed(where, value):
    """GOOD with one value replaced; `where` is a path of keys."""
    row = json.loads(json.dumps(GOOD))
    inner = row
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return row


def without(key):
    return {k: v for k, v in GOOD.items() if k != key}


# ---------------------------------------------------------------- paths of images


@pytest.mark.parametrize(
    ("image", "root", "path"),
    [
        ("mine/a/x.jpg", "mine", "a/x.jpg"),
        ("photos/x.jpg", "mine", "../photos/x.jpg"),
        ("photos/x.jpg", "mine/deep", "../../photos/x.jpg"),
        ("mine/../photos/x.jpg", "other", "../photos/x.jpg"),
        ("photos/x.jpg", "photos", "x.jpg"),
        ("photos/x.jpg", "link", "../../photos/x.jpg"),  # it points to mine/deep, and the system follows it
        ("shortcut/x.jpg", ".", "shortcut/x.jpg"),
        ("shortcut/x.jpg", "mine", "../photos/x.jpg"),
    ],
)
def test_images_are_named_from_the_file(
    image: str, root: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "mine/a", "mine/deep", "other"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("photos/x.jpg", "mine/a/x.jpg"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("mine/deep")
    (tmp_path / "shortcut").symlink_to("photos")
    for where in (Path(), tmp_path):
        assert image_path(where / image, where / root) == path
    assert (Path(root) / path).read_text() == Path(image).read_text()


def test_an_image_with_which_the_file_shares_only_the_disk_has_its_whole_path() -> None:
    assert image_path(Path("/photos/x.jpg"), Path("/mine")) == "/photos/x.jpg"


# ---------------------------------------------------------------- reading


def test_read(tmp_path):
    row = GOOD | {"image": "images/2.jpg", "split": "test", "meta": {"source": "mine"}}
    (example,) = read_ground_truth(written(tmp_path / "gt.jsonl", row))
    assert (example.image_id, example.width, example.height, example.split) == ("2", 800, 600, "test")
    assert example.image == tmp_path / "images/2.jpg"
    assert example.meta == {"source": "mine"}
    assert example.graph.triplets == (("man", "walking on", "street"),)
    assert example.graph.boxes[0].tolist() == [119 / 800, 70 / 600, 197 / 800, 330 / 600]


def test_names_are_normalised(tmp_path):
    row = changed(("objects", 0, "id"), "Traffic-Light.1") | {
        "relationships": [{"subject": "Traffic-Light.1", "predicate": "In_Front_Of", "object": "street.1"}]
    }
    (example,) = read_ground_truth(written(tmp_path / "gt.jsonl", row))
    assert example.graph.triplets == (("traffic light", "in front of", "street"),)
    assert example.graph.ids[0] == "Traffic-Light.1"


def test_a_pixel_outside_is_rounding_and_clipped(tmp_path):
    row = changed(("objects", 0, "bbox"), [-0.5, -1, 801, 600.5])
    (example,) = read_ground_truth(written(tmp_path / "gt.jsonl", row))
    assert example.graph.boxes[0].tolist() == [0, 0, 1, 1]


def test_blank_lines_and_a_byte_order_mark_are_fine(tmp_path):
    path = tmp_path / "gt.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\n\n  \n")
    assert len(list(read_ground_truth(path))) == 1


def test_whole_number_ids_are_strings(tmp_path):
    (example,) = read_ground_truth(written(tmp_path / "gt.jsonl", GOOD | {"image_id": 7}))
    assert example.image_id == "7"


BAD = [
    (GOOD | {"boxes": []}, ":1: 'boxes'", "an unknown key"),
    ({"image_id": "1", "completion": "", "frame": [1, 1]}, ":1", "found a prediction; give the file"),
    (without("image_id"), ":1: 'image_id'", "found nothing"),
    (without("width"), ":1: 'width'", "found nothing"),
    (without("objects"), ":1: 'objects'", "found nothing"),
    (without("relationships"), ":1: 'relationships'", "found nothing"),
    (GOOD | {"image_id": None}, ":1: image_id", "found None"),
    (GOOD | {"image_id": True}, ":1: image_id", "found True"),
    (GOOD | {"image_id": ""}, ":1: image_id", "found ''"),
    (GOOD | {"width": 0}, ":1: width", "above 0, found 0"),
    (GOOD | {"height": -600}, ":1: height", "above 0, found -600"),
    (GOOD | {"width": "800"}, ":1: width", "found '800'"),
    (GOOD | {"width": True}, ":1: width", "found True"),
    (GOOD | {"width": 640.5}, ":1: width", "a whole number of pixels"),
    (GOOD | {"image": 2}, ":1: image", "found 2"),
    (GOOD | {"split": ["test"]}, ":1: split", "found ['test']"),
    (GOOD | {"meta": "mine"}, ":1: meta", "a JSON object"),
    (GOOD | {"objects": {}}, ":1: objects", "expected a list"),
    (GOOD | {"relationships": None}, ":1: relationships", "expected a list"),
    (changed(("objects", 0), "man.1"), ":1: objects[0]", "found 'man.1'"),
    (changed(("objects", 0, "id"), 3), ":1: objects[0]", '"id" like "person.1"'),
    (changed(("objects", 0, "id"), ".1"), ":1: objects[0]", '"id" like "person.1"'),
    (changed(("objects", 1, "id"), "man.1"), ":1: objects[1].id", "'man.1' again"),
    (changed(("objects", 0, "label"), "man"), ":1: objects[0]: 'label'", "an unknown key"),
    (changed(("objects", 0), {"id": "man.1"}), ":1: objects[0]: 'bbox'", "found nothing"),
    (changed(("objects", 0, "bbox"), [1, 2, 3]), ":1: objects[0].bbox", "[x1, y1, x2, y2] in pixels"),
    (changed(("objects", 0, "bbox"), [1, 2, 3, "4"]), ":1: objects[0].bbox", "[x1, y1, x2, y2] in pixels"),
    (changed(("objects", 0, "bbox"), [1, 2, 3, True]), ":1: objects[0].bbox", "[x1, y1, x2, y2] in pixels"),
    (changed(("objects", 0, "bbox"), [1, 2, 3, None]), ":1: objects[0].bbox", "[x1, y1, x2, y2] in pixels"),
    (changed(("objects", 1, "bbox"), [197, 70, 119, 330]), ":1: objects[1].bbox", "x1 < x2"),
    (changed(("objects", 1, "bbox"), [119, 70, 119, 330]), ":1: objects[1].bbox", "x1 < x2"),
    (changed(("objects", 1, "bbox"), [119, 70, 900, 330]), ":1: objects[1].bbox", "inside the image of 800x600"),
    (changed(("objects", 1, "bbox"), [-9, 70, 90, 330]), ":1: objects[1].bbox", "inside the image of 800x600"),
    (changed(("objects", 1, "bbox"), [-1, 70, 0, 330]), ":1: objects[1].bbox", "inside the image of 800x600"),
    (changed(("relationships", 0), []), ":1: relationships[0]", "a JSON object"),
    (changed(("relationships", 0, "subject"), "dog.1"), ":1: relationships[0].subject", "found 'dog.1'"),
    (changed(("relationships", 0, "object"), 1), ":1: relationships[0].object", "found 1"),
    (changed(("relationships", 0, "predicate"), " "), ":1: relationships[0].predicate", "expected a name"),
    (changed(("relationships", 0, "predicate"), None), ":1: relationships[0].predicate", "expected a name"),
    (changed(("relationships", 0, "score"), 0.5), ":1: relationships[0]: 'score'", "an unknown key"),
]


@pytest.mark.parametrize(("row", "where", "says"), BAD, ids=[f"{where}-{says}" for _, where, says in BAD])
def test_a_wrong_line_is_one_sentence(tmp_path, row, where, says):
    path = written(tmp_path / "gt.jsonl", row)
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        list(read_ground_truth(path))
    assert str(caught.value).startswith(f"{path}{where}: expected")
    assert "\n" not in str(caught.value)


RAW = [
    (b"", "", "an empty file"),
    (b"\n \n", "", "an empty file"),
    (json.dumps(GOOD).encode() + b'\n{"image_id": "3", "wid', ":2", "a line that is cut off"),
    (json.dumps(GOOD).encode() + b'\n{"image_id": "\xc3', ":2", "a line that is cut off"),
    (b'{"image_id": "3", "wid\n' + json.dumps(GOOD).encode(), ":1", "broken JSON"),
    (json.dumps(changed(("objects", 0, "bbox"), [0, 0, float("nan"), 9])).encode() + b"\n", ":1", "broken JSON"),
    (json.dumps(changed(("width",), float("inf"))).encode() + b"\n", ":1", "broken JSON"),
    (b"[1, 2]\n", ":1", "found list"),
    (b"\xff{}\n", ":1", "broken JSON"),
    ("{}\n".encode("utf-16"), "", "found UTF-16 text; save it as UTF-8"),
    ("{}\n".encode("utf-16-le"), "", "found UTF-16 text; save it as UTF-8"),
    (gzip.compress(b"{}\n"), "", "found a gzip file; unpack it"),
    (json.dumps(GOOD).encode() + b"\n" + json.dumps(GOOD).encode() + b"\n", ":2", "image_id '2' again"),
]


@pytest.mark.parametrize(("raw", "where", "says"), RAW, ids=[f"{k}-{says}" for k, (_, _, says) in enumerate(RAW)])
def test_a_broken_file_is_one_sentence(tmp_path, raw, where, says):
    path = tmp_path / "gt.jsonl"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        list(read_ground_truth(path))
    assert str(caught.value).startswith(f"{path}{where}: expected")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_records_that_come_from_elsewhere_are_checked_for_numbers_too(value):
    for row in (GOOD | {"width": value}, changed(("objects", 0, "bbox"), [0, 0, value, 9])):
        with pytest.raises(InputError, match=r"here: (width|objects\[0\].bbox)"):
            example_of_record(row, "here", Path())


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"gt.jsonl: expected a readable JSON Lines file, found No such file"):
        list(read_ground_truth(tmp_path / "gt.jsonl"))
    with pytest.raises(InputError, match="directory"):
        list(read_ground_truth(tmp_path))


def test_reading_is_lazy(tmp_path):
    """Good lines before a bad one are given out."""
    reader = read_ground_truth(written(tmp_path / "gt.jsonl", GOOD, {"image_id": "3"}))
    assert next(reader).image_id == "2"
    with pytest.raises(InputError, match=":2: 'width'"):
        next(reader)


# ---------------------------------------------------------------- writing

NAMES = st.sampled_from(["man", "traffic light", "tree", "café"])


@st.composite
def examples(draw):
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))

    def span(size):
        a, b = sorted(draw(st.lists(st.integers(0, 100 * size), min_size=2, max_size=2, unique=True)))
        return a / 100, b / 100

    labels = draw(st.lists(NAMES, max_size=5))
    corners = [(span(width), span(height)) for _ in labels]
    boxes = np.array([(x[0], y[0], x[1], y[1]) for x, y in corners]).reshape(-1, 4) / ((width, height) * 2)
    index = st.integers(0, max(len(labels) - 1, 0))
    pairs = draw(st.lists(st.tuples(index, index), max_size=4)) if labels else []
    predicates = tuple(draw(st.sampled_from(["on", "in front of"])) for _ in pairs)
    graph = SceneGraph(number_ids(labels), tuple(labels), boxes, tuple(pairs), predicates)
    return Example(str(draw(st.integers(0, 10**9))), width, height, graph, split=draw(st.sampled_from([None, "train"])))


@given(examples())
def test_write_then_read_is_exact(tmp_path_factory, example):
    path = tmp_path_factory.mktemp("round") / "gt.jsonl"
    assert write_ground_truth(path, [example]) == 1
    (back,) = read_ground_truth(path)
    assert back == example
    assert data_hash([back]) == data_hash([example])
    assert back.to_record(path.parent) == example.to_record(path.parent)


def one(**changes) -> Example:
    return replace(example_of_record(GOOD, "here", Path()), **changes)


def test_thin_boxes_survive(tmp_path):
    thin = SceneGraph(("pole.1",), ("pole",), np.array([[0.5, 0.1, 0.5 + 1e-6, 0.9]]))
    write_ground_truth(tmp_path / "gt.jsonl", [one(graph=thin)])
    (back,) = read_ground_truth(tmp_path / "gt.jsonl")
    assert np.allclose(back.graph.boxes, thin.boxes, rtol=0, atol=1e-9)


def test_image_paths_find_their_file_again(tmp_path, monkeypatch):
    inside, outside = tmp_path / "set/images/2.jpg", tmp_path / "elsewhere/3.jpg"
    path = tmp_path / "set/gt.jsonl"
    write_ground_truth(path, [one(image=inside), one(image=outside, image_id="3")])
    assert json.loads(path.read_text().splitlines()[0])["image"] == "images/2.jpg"
    assert [example.image and example.image.resolve() for example in read_ground_truth(path)] == [inside, outside]
    monkeypatch.chdir(tmp_path)
    write_ground_truth(path, [one(image=Path("elsewhere/3.jpg"))])
    assert json.loads(path.read_text())["image"] == "../elsewhere/3.jpg"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a place to write a file"):
        write_ground_truth(tmp_path / "file/gt.jsonl", [one()])


def test_a_failure_half_way_leaves_the_old_file(tmp_path):
    path = written(tmp_path / "gt.jsonl", GOOD)
    before = path.read_text()
    with pytest.raises(InputError, match=":2"):
        write_ground_truth(path, read_ground_truth(written(tmp_path / "bad.jsonl", GOOD | {"image_id": "5"}, {})))
    assert path.read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.jsonl", "gt.jsonl"]


# ---------------------------------------------------------------- the name of a set


def test_hash_ignores_order_paths_and_notes():
    a, b = one(), one(image_id="3")
    assert data_hash([a, b]) == data_hash([b, a])
    assert data_hash([a]) == data_hash([one(image=Path("x.jpg"), split="test", meta={"a": 1})])
    assert re.fullmatch("[0-9a-f]{16}", data_hash([a, b]))


def test_hash_changes_with_anything_else():
    graph = one().graph
    moved = graph.boxes.copy()
    moved[0, 2] += 0.01 / 800
    others = [
        one(image_id="3"),
        one(width=801),
        one(height=601),
        one(graph=replace(graph, ids=("man.2", "street.1"))),
        one(graph=replace(graph, boxes=moved)),
        one(graph=replace(graph, pairs=((1, 0),))),
        one(graph=replace(graph, predicates=("on",))),
        one(graph=replace(graph, pairs=(), predicates=())),
    ]
    hashes = [data_hash([example]) for example in [one(), *others]]
    hashes += [data_hash([]), data_hash([one(), one()])]
    assert len(set(hashes)) == len(hashes)


# ---------------------------------------------------------------- predictions

ANSWER = json.dumps({"objects": [{"id": "man.1", "bbox": [0, 0, 500, 1000]}], "relationships": []})


def test_read_predictions(tmp_path):
    rows = [
        {
            "image_id": "1",
            "completion": ANSWER,
            "frame": [1000, 1000],
            "model": "m",
            "tokens": 9,
            "passes": 7,
            "seconds": 0.5,
        },
        {"image_id": 2, "completion": "sorry", "frame": [1000, 1000]},
        {"image_id": "3", "error": "no such file"},
    ]
    good, failed, missing = read_predictions(written(tmp_path / "p.jsonl", *rows))
    assert good.read().graph.boxes.tolist() == [[0, 0, 0.5, 1]]
    assert (failed.image_id, failed.read().failure) == ("2", "no_json")
    assert missing.error == "no such file"
    assert missing.read().failure is not None


def test_detector_scores_stay_with_their_rows(tmp_path):
    row = {
        "image_id": "1",
        "frame": [100, 100],
        "objects": [
            {"id": "man.1", "bbox": [0, 0, 50, 50], "score": 0.9},
            {"id": "dog.1", "bbox": [50, 0, 0, 50], "score": 0.8},  # inverted: dropped
            {"id": "hat.1", "bbox": [0, 0, 10, 10], "score": 0.7},
        ],
        "relationships": [
            {"subject": "man.1", "predicate": "near", "object": "dog.1", "score": 0.6},  # dangling: dropped
            {"subject": "man.1", "predicate": "wearing", "object": "hat.1", "score": 0.5},
        ],
    }
    (prediction,) = read_predictions(written(tmp_path / "p.jsonl", row))
    graph = prediction.read().graph
    assert graph.ids == ("man.1", "hat.1")
    assert graph.object_scores.tolist() == [0.9, 0.7]
    assert graph.relationship_scores == pytest.approx([0.5 * 0.9 * 0.7]), "a detector's is of the predicate alone"
    whole = written(tmp_path / "whole.jsonl", {**row, "scores": "triplet"})
    assert next(iter(read_predictions(whole))).read().graph.relationship_scores.tolist() == [0.5]


@pytest.mark.parametrize(
    ("row", "where", "says"),
    [
        ({"completion": ANSWER, "frame": [1, 1]}, ":1: 'image_id'", "found nothing"),
        ({"image_id": None, "completion": ANSWER, "frame": [1, 1]}, ":1: image_id", "found None"),
        ({"image_id": "1", "answer": ANSWER, "frame": [1, 1]}, ":1: 'answer'", "an unknown key"),
        ({"image_id": "1", "objects": [], "frame": [1, 1], "scores": "all"}, ":1: scores", "found 'all'"),
        ({"image_id": "1", "completion": ANSWER}, ":1: frame", "found nothing"),
        ({"image_id": "1", "completion": ANSWER, "frame": [1000]}, ":1: frame", "found [1000]"),
        ({"image_id": "1", "completion": ANSWER, "frame": [0, 1000]}, ":1: frame", "found [0, 1000]"),
        ({"image_id": "1", "completion": ANSWER, "frame": [True, 1]}, ":1: frame", "found [True, 1]"),
        ({"image_id": "1", "completion": None, "frame": [1, 1]}, ":1: completion", "found None"),
        ({"image_id": "1", "completion": ["a"], "frame": [1, 1]}, ":1: completion", "found ['a']"),
        ({"image_id": "1", "objects": {}, "frame": [1, 1]}, ":1: objects", "expected a list"),
        ({"image_id": "1", "objects": [], "relationships": 3, "frame": [1, 1]}, ":1: relationships", "expected a list"),
    ],
)
def test_a_wrong_prediction_is_one_sentence(tmp_path, row, where, says):
    path = written(tmp_path / "p.jsonl", row)
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        list(read_predictions(path))
    assert str(caught.value).startswith(f"{path}{where}: expected")


def test_predictions_of_one_image_twice(tmp_path):
    row = {"image_id": "1", "completion": ANSWER, "frame": [1, 1]}
    with pytest.raises(InputError, match=r"p.jsonl:2: .*image_id '1' again"):
        list(read_predictions(written(tmp_path / "p.jsonl", row, row)))
