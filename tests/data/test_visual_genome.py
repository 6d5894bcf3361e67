"""Raw Visual Genome into ground truth: the classic steps, the oddities of the published files, and what is counted."""

import gzip
import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import read_ground_truth, write_ground_truth
from r1sgg.data.images import open_image
from r1sgg.data.visual_genome import Conversion, merge_duplicates, read_visual_genome
from r1sgg.errors import InputError
from r1sgg.graph.vocabulary import OPEN, VG150
from r1sgg.judging.boxes import pairwise_iou


def thing(number, name, x=0, y=0, w=100, h=100, **more):
    return {"object_id": number, "names": [name], "x": x, "y": y, "w": w, "h": h, **more}


def said(subject, predicate, target):
    return {"subject": subject, "predicate": predicate, "object": target}


def convert(tmp_path, objects, relations=(), **options):
    """Convert one image (id 1); returns its example, or None, and the log."""
    (tmp_path / "o.json").write_text(json.dumps([{"image_id": 1, "objects": list(objects)}]))
    (tmp_path / "r.json").write_text(json.dumps([{"image_id": 1, "relationships": list(relations)}]))
    log = Conversion()
    found = list(read_visual_genome(tmp_path / "o.json", tmp_path / "r.json", log=log, **options))
    return (found[0] if found else None), log


MAN, HAT, TREES = thing(1, "Man"), thing(2, "hat", 10, 10, 30, 20), thing(3, "trees", 200, 0, 50, 300)


def test_names_and_boxes(tmp_path):
    example, log = convert(tmp_path, [MAN, HAT, TREES], [said(MAN, "WEARS", HAT), said(MAN, "is near", TREES)])
    assert example.graph.ids == ("man.1", "hat.1", "tree.1")
    assert example.graph.triplets == (("man", "wears", "hat"), ("man", "near", "tree"))
    assert (example.image_id, example.width, example.height) == ("1", 250, 300)
    assert example.pixel_boxes.tolist() == [[0, 0, 100, 100], [10, 10, 40, 30], [200, 0, 250, 300]]
    assert log.counts["objects kept"] == 3
    assert log.counts["relationships kept"] == 2
    assert "only the extent of their boxes" in log.notes[-1]


def test_name_and_names(tmp_path):
    single = {"object_id": 1, "name": "dog", "x": 0, "y": 0, "w": 9, "h": 9}
    several = thing(2, "zorblax", 20, 20, 9, 9) | {"names": ["zorblax", "cats"]}
    example, _ = convert(tmp_path, [single, several])
    assert example.graph.labels == ("dog", "cat")


def test_a_passive_is_turned_round(tmp_path):
    example, _ = convert(tmp_path, [MAN, HAT], [said(HAT, "worn by", MAN)])
    assert example.graph.triplets == (("man", "wearing", "hat"),)


def test_duplicates_merge_and_their_relations_move(tmp_path):
    again = thing(4, "man", 1, 1, 100, 100)
    example, log = convert(tmp_path, [MAN, HAT, again], [said(again, "wears", HAT), said(MAN, "near", again)])
    assert example.graph.ids == ("man.1", "hat.1")
    assert example.graph.pairs == ((0, 1),)
    assert log.counts["objects merged into another"] == 1
    assert log.counts["relationships dropped: of an object with itself"] == 1


def test_merging_needs_one_label_and_overlap():
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 100], [0, 0, 100, 91], [0, 0, 100, 89]], dtype=float)
    assert merge_duplicates(["man", "boy", "man", "man"], boxes) == [0, 1, 0, 3]
    assert merge_duplicates([], np.zeros((0, 4))) == []


def test_objects_known_by_relations_only_or_by_an_older_id(tmp_path):
    merged = thing(3, "trees", 200, 0, 50, 300, merged_object_ids=[33])
    older = thing(33, "tree", 205, 5, 50, 290)
    example, _ = convert(tmp_path, [MAN, merged], [said(MAN, "near", older), said(HAT, "on", MAN)])
    assert example.graph.ids == ("man.1", "tree.1", "hat.1")
    assert example.graph.triplets == (("man", "near", "tree"), ("hat", "on", "man"))


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        (said(MAN, "zorbing", HAT), "predicate not in vocabulary"),
        (said(MAN, "", HAT), "predicate not in vocabulary"),
        (said(MAN, "near", thing(9, "zorblax")), "an end was dropped"),
        (said(MAN, "near", MAN), "of an object with itself"),
        ({"subject": MAN, "predicate": "near"}, "malformed"),
        (said(MAN, None, HAT), "malformed"),
        ("near", "malformed"),
    ],
)
def test_dropped_relations_are_counted(tmp_path, relation, reason):
    example, log = convert(tmp_path, [MAN, HAT], [relation])
    assert example.graph.pairs == ()
    assert log.counts[f"relationships dropped: {reason}"] == 1


def test_a_relation_said_twice_counts_once(tmp_path):
    example, log = convert(tmp_path, [MAN, HAT], [said(MAN, "wears", HAT)] * 2)
    assert len(example.graph.pairs) == 1
    assert log.counts["relationships dropped: repeated"] == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (thing(9, "zorblax"), "not in vocabulary"),
        (thing(9, ""), "no name or no box"),
        (thing(9, "dog", w=0), "no name or no box"),
        (thing(9, "dog", x="3"), "no name or no box"),
        (thing(9, "dog", x=-300), "outside the image"),
        (thing(None, "dog"), "no object_id"),
        (["dog"], "no object_id"),
    ],
)
def test_dropped_objects_are_counted(tmp_path, row, reason):
    example, log = convert(tmp_path, [MAN, row])
    assert example.graph.labels == ("man",)
    assert log.counts[f"objects dropped: {reason}"] == 1


def test_boxes_are_clipped_to_the_image_file(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "1.jpg")
    example, log = convert(tmp_path, [MAN, TREES], images=tmp_path)
    assert example.image == tmp_path / "1.jpg"
    assert example.pixel_boxes.tolist() == [[0, 0, 80, 60]]
    assert log.counts["objects dropped: outside the image"] == 1
    assert log.counts["boxes clipped to the image"] == 1
    assert log.notes == []


def test_sizes_come_from_image_data_first(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "1.jpg")
    data = tmp_path / "image_data.json"
    data.write_text(json.dumps([{"image_id": 1, "width": 500, "height": 400}, {"image_id": 2}]))
    example, log = convert(tmp_path, [MAN], images=tmp_path, image_data=data)
    assert (example.width, example.height) == (500, 400)
    assert log.notes == [f"{data}: [1] has no image_id, width and height; skipped"]


def test_an_unreadable_image_is_named_and_its_size_guessed(tmp_path):
    (tmp_path / "1.jpg").write_text("hello")
    example, log = convert(tmp_path, [MAN], images=tmp_path)
    assert (example.width, example.height) == (100, 100)
    assert "1.jpg: expected an image" in log.notes[0]


def test_an_image_without_objects_is_dropped(tmp_path):
    assert convert(tmp_path, [])[0] is None
    example, log = convert(tmp_path, [thing(1, "zorblax")])
    assert example is None
    assert log.counts["images dropped: no object"] == 1


def test_open_vocabulary_keeps_every_name(tmp_path):
    example, _ = convert(
        tmp_path, [thing(1, "Zorblaxes"), thing(2, "fire trucks", 300)], [said(thing(1, ""), "is on a", thing(2, ""))],
        vocabulary=OPEN,
    )  # fmt: skip
    assert example.graph.triplets == (("zorblax", "on", "fire truck"),)


def test_mapping_full_knows_more(tmp_path):
    assert convert(tmp_path, [thing(1, "bicycle")])[0] is None
    assert convert(tmp_path, [thing(1, "bicycle")], mapping="full")[0].graph.labels == ("bike",)


def test_odd_entries_are_named_and_skipped(tmp_path):
    (tmp_path / "o.json").write_text(
        json.dumps([{"image_id": 10, "objects": [MAN]}, {"image_id": 9, "objects": [MAN]}])
    )
    rows = [{"relationships": []}, 3, {"image_id": 9}, {"image_id": 9, "relationships": []}]
    (tmp_path / "r.json").write_text(json.dumps([*rows, rows[-1]]))
    log = Conversion()
    found = list(read_visual_genome(tmp_path / "o.json", tmp_path / "r.json", log=log))
    assert [example.image_id for example in found] == ["9", "10"]
    assert [note.partition("r.json: ")[2] for note in log.notes[:4]] == [
        "[0] has no image_id; skipped",
        "[1] is a JSON int; skipped",
        "[2] has no list 'relationships'; skipped",
        "[4] repeats image_id 9; skipped",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "o.json: expected JSON, found broken JSON (unexpected end of data, line 1)"),
        (b"{}", "expected a list of images, found a JSON dict"),
        (gzip.compress(b"[]" * 999, mtime=0)[:-9], "found damaged data"),
        (None, "found No such file"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, data, says):
    (tmp_path / "r.json").write_text("[]")
    if data is not None:
        (tmp_path / "o.json").write_bytes(data)
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        list(read_visual_genome(tmp_path / "o.json", tmp_path / "r.json"))
    assert str(caught.value).startswith(str(tmp_path / "o.json"))


def test_gz_reads_the_same(tmp_path):
    plain, _ = convert(tmp_path, [MAN, HAT], [said(MAN, "wears", HAT)])
    for name in ("o", "r"):
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress((tmp_path / f"{name}.json").read_bytes()))
    (packed,) = read_visual_genome(tmp_path / "o.json.gz", tmp_path / "r.json.gz")
    assert packed == plain


# ---------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def sample(shared):
    return shared / "data/vg_sample"


def test_the_sample_agrees_with_another_conversion(sample, tmp_path):
    """Another tool's approximation of the same pipeline: nearly all of its objects and relations are found here."""
    log = Conversion()
    files = sample / "raw_objects_1-15.json", sample / "raw_relationships_1-50.json"
    ours = {e.image_id: e for e in read_visual_genome(*files, images=sample / "images", log=log)}
    theirs = json.loads((sample / "vg150_style_images_1-49.json").read_text())
    assert len(ours) == 49
    assert any("[49] has no image_id" in note for note in log.notes)
    objects = relations = objects_found = relations_found = 0
    for other in theirs:
        example = ours[str(other["image_id"])]
        boxes = np.array([o["bbox"] for o in other["objects"]], dtype=float).reshape(-1, 4)
        overlap = pairwise_iou(boxes, example.pixel_boxes)
        twin = {}
        for k, row in enumerate(other["objects"]):
            label = row["id"].rpartition(".")[0]
            same = [j for j, name in enumerate(example.graph.labels) if name == label and overlap[k, j] > 0.9]
            twin[row["id"]] = same[0] if same else None
        known = {(s, p, o) for (s, o), p in zip(example.graph.pairs, example.graph.predicates, strict=True)}
        objects += len(twin)
        objects_found += sum(j is not None for j in twin.values())
        relations += len(other["relationships"])
        relations_found += sum(
            (twin[r["subject"]], r["predicate"], twin[r["object"]]) in known for r in other["relationships"]
        )
    assert objects_found / objects > 0.98
    assert relations_found / relations > 0.98
    assert log.counts["objects kept"] < 1.1 * objects
    assert all(VG150.covers(example.graph) for example in ours.values())
    write_ground_truth(tmp_path / "gt.jsonl", ours.values())
    for example in read_ground_truth(tmp_path / "gt.jsonl"):
        assert example.graph == ours[example.image_id].graph
        if example.image is not None:
            assert open_image(example.image).size == (example.width, example.height)


def test_every_entry_is_accounted_for(sample):
    log = Conversion()
    list(read_visual_genome(sample / "raw_objects_1-15.json", sample / "raw_relationships_1-50.json", log=log))
    counts = log.counts
    dropped = sum(n for step, n in counts.items() if step.startswith("relationships dropped"))
    assert counts["relationships read"] == counts["relationships kept"] + dropped
    dropped = sum(n for step, n in counts.items() if step.startswith("objects dropped"))
    assert counts["objects read"] == counts["objects kept"] + counts["objects merged into another"] + dropped


def test_command(tmp_path):
    convert(tmp_path, [MAN, HAT], [said(MAN, "wears", HAT)])
    arguments = ["data", "vg", "--objects", tmp_path / "o.json", "--relationships", tmp_path / "r.json"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--out", str(tmp_path / "out/gt.jsonl")])
    assert result.exit_code == 0, result.output
    assert "relationships kept" in result.output
    (example,) = read_ground_truth(tmp_path / "out/gt.jsonl")
    assert example.graph.triplets == (("man", "wears", "hat"),)


@pytest.mark.parametrize(
    ("option", "says"), [(("--mapping", "some"), "none, normal, full"), (("--images", "nowhere"), "a folder")]
)
def test_command_with_a_wrong_option(tmp_path, option, says):
    convert(tmp_path, [MAN])
    arguments = ["data", "vg", "--objects", tmp_path / "o.json", "--relationships", tmp_path / "r.json"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--out", str(tmp_path / "gt.jsonl"), *option])
    assert says in str(result.exception)
    assert not (tmp_path / "gt.jsonl").exists()
