"""COCO-format scene graphs: split folders, ids, photos, and files that are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from r1sgg.data.sources import open_data
from r1sgg.errors import InputError
from tests.data.annotation_files import coco_document, example, examples, write_coco

MAN, DOG = ("man", (10, 20, 100, 200)), ("dog", (60, 40, 120, 300))


def _write(folder: Path, document: Any) -> str:
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "_annotations.coco.json").write_text(json.dumps(document))
    return f"coco:{folder}"


@pytest.mark.parametrize(("folder", "split"), [("train", "train"), ("valid", "val"), ("val", "val"), ("test", "test")])
def test_a_split_is_a_folder_by_whichever_name(folder: str, split: str, tmp_path: Path) -> None:
    write_coco(tmp_path, examples(2), folder, photos=True)
    for spec in (f"coco:{tmp_path},split={split}", f"coco:{tmp_path / folder}"):
        data = open_data(spec)
        assert (data.split, len(data)) == (split, 2)
        assert data.image(data[1]).size == (data[1].width, data[1].height)
    file = open_data(f"coco:{tmp_path / folder / '_annotations.coco.json'}")
    assert (file.split, len(file)) == (None, 2)


def test_a_split_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    write_coco(tmp_path, examples(1), "train")
    with pytest.raises(InputError, match=r"expected val/_annotations\.coco\.json or valid/_annotations\.coco\.json"):
        open_data(f"coco:{tmp_path},split=val")


def test_ids_of_any_numbering(tmp_path: Path) -> None:
    document = coco_document(examples(3))
    shift = {"images": 77, "annotations": 1000, "categories": 5, "rel_categories": 9, "rel_annotations": 3}
    for key, rows in document.items():
        for row in rows:
            row["id"] += shift[key]
    for row in document["annotations"]:
        row["image_id"] += 77
        row["category_id"] += 5
    for row in document["rel_annotations"]:
        row |= {key: row[key] + 1000 for key in ("subject_id", "object_id")}
        row |= {"image_id": row["image_id"] + 77, "predicate_id": row["predicate_id"] + 9}
    document["rel_annotations"].reverse()
    document["images"].reverse()
    data = open_data(_write(tmp_path, document))
    assert [item.image_id for item in data] == ["3", "2", "1"]
    for read, item in zip(data, examples(3)[::-1], strict=True):
        assert read.graph.labels == item.graph.labels
        assert sorted(read.graph.triplets) == sorted(item.graph.triplets)


def test_images_are_named_by_their_files(tmp_path: Path) -> None:
    document = coco_document(examples(3))
    for row, name in zip(document["images"], ("a/1.jpg", "a/2.jpg", "b/3.png"), strict=True):
        row["file_name"] = name
    assert [item.image_id for item in open_data(_write(tmp_path, document))] == ["1", "2", "3"]
    document["images"][2]["file_name"] = "b/1.jpg"
    assert [item.image_id for item in open_data(_write(tmp_path, document))] == ["a/1", "a/2", "b/1"]


def test_images_without_relations_go_and_are_counted(tmp_path: Path) -> None:
    document = coco_document([*examples(2), example("8", [MAN]), example("9", [])])
    data = open_data(_write(tmp_path, document))
    assert [item.image_id for item in data] == ["1", "2"]
    assert "found 2 without" in data.notes[0].text
    assert data.empty_ids == {"8", "9"}
    assert open_data(f"coco:{tmp_path},empty=yes").empty_ids == frozenset()
    assert [item.image_id for item in open_data(f"coco:{tmp_path},empty=yes")] == ["1", "2", "8", "9"]


def test_a_crowd_goes_and_is_counted_unless_a_relation_names_it(tmp_path: Path) -> None:
    document = coco_document([example("1", [MAN, DOG], [(0, "near", 1)])])
    crowd = {"image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 1}
    document["annotations"] += [crowd | {"id": number} for number in (900, 901, 902)]
    document["rel_annotations"].append({"id": 900, "image_id": 0, "subject_id": 0, "object_id": 902, "predicate_id": 1})
    data = open_data(_write(tmp_path, document))
    assert len(data[0].graph.labels) == 3
    assert len(data[0].graph.triplets) == 2
    (note,) = data.notes
    assert note.text.endswith("annotations: expected single objects, found 2 with iscrowd 1; left out")


def test_annotations_of_images_that_are_not_listed_are_named(tmp_path: Path) -> None:
    document = coco_document(examples(2))
    document["annotations"].append({"id": 900, "image_id": 55, "category_id": 1, "bbox": [1, 2, 3, 4]})
    document["rel_annotations"].append({"id": 901, "image_id": 55, "subject_id": 0, "object_id": 1, "predicate_id": 0})
    data = open_data(_write(tmp_path, document))
    assert [item.graph for item in data] == [item.graph for item in examples(2)]
    assert [note.text for note in data.notes] == [
        f"{tmp_path / 'train' / '_annotations.coco.json'}: {key} (id {number}): expected an image_id that is in "
        "images, found 1 of other images, the first of image_id 55; left out"
        for key, number in (("annotations", 900), ("rel_annotations", 901))
    ]


def test_relations_with_unknown_ends_or_names_are_named(tmp_path: Path) -> None:
    document = coco_document([example("1", [MAN, DOG], [(0, "near", 1)])])
    extra = [
        {"subject_id": 0, "object_id": 77, "predicate_id": 1},
        {"subject_id": 76, "object_id": 77, "predicate_id": 1},
        {"subject_id": 0, "object_id": 1, "predicate_id": 99},
    ]
    document["rel_annotations"] += [row | {"id": 10 + k, "image_id": 0} for k, row in enumerate(extra)]
    read, faults = open_data(_write(tmp_path, document)).read(0)
    assert read.graph.triplets == (("man", "near", "dog"),)
    assert [fault.kind for fault in faults] == ["relation", "relation", "name"]


def test_ids_that_repeat_cost_the_second(tmp_path: Path) -> None:
    document = coco_document(examples(2))
    document["annotations"].append(dict(document["annotations"][0]))
    document["rel_annotations"].append({"image_id": 0})
    document["images"].append(dict(document["images"][0]))
    data = open_data(_write(tmp_path, document))
    assert [item.graph for item in data] == [item.graph for item in examples(2)]
    assert sorted(note.kind for note in data.notes) == ["id", "id", "record"]


WRONG: list[tuple[Any, str]] = [
    ([], "images: expected this list"),
    ({"images": [], "annotations": [], "categories": []}, "rel_categories: expected this list"),
    (coco_document([]), "expected an image with relations in split 'train', found none of 0"),
    (coco_document([]) | {"categories": [{"id": 1}]}, "categories[0]: name: expected a string, found None"),
    (coco_document([]) | {"categories": [{"id": 1, "name": "a"}] * 2}, "categories[1].id: expected ids that differ"),
]


@pytest.mark.parametrize(("document", "said"), WRONG)
def test_files_that_are_wrong_as_a_whole_are_one_sentence(document: Any, said: str, tmp_path: Path) -> None:
    spec = _write(tmp_path, document)
    with pytest.raises(InputError) as caught:
        open_data(spec)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_in_half_is_one_sentence(tmp_path: Path) -> None:
    spec = _write(tmp_path, coco_document(examples(2)))
    path = tmp_path / "train" / "_annotations.coco.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="expected JSON, found broken JSON"):
        open_data(spec)


def test_an_image_without_a_size_costs_that_image(tmp_path: Path) -> None:
    document = coco_document(examples(2))
    del document["images"][0]["height"]
    data = open_data(_write(tmp_path, document))
    assert [item.image_id for item in data] == ["2"]
    assert "images[0]: height: expected a whole number from 1, found None; left out" in data.notes[0].text


def test_real_panoptic_boxes_with_relations_of_our_own(shared: Path, tmp_path: Path) -> None:
    document = json.loads((shared / "data" / "coco_sample" / "panoptic_coco_detection_format.json").read_text())
    first = document["images"][0]["id"]
    ends = [row["id"] for row in document["annotations"] if row["image_id"] == first][:2]
    row = {"id": 0, "image_id": first, "subject_id": ends[0], "object_id": ends[1], "predicate_id": 4}
    document |= {"rel_categories": [{"id": 4, "name": "in front of"}], "rel_annotations": [row]}
    (tmp_path / "mine.json").write_text(json.dumps(document))
    data = open_data(f"coco:{tmp_path / 'mine.json'},images={shared / 'data' / 'coco_sample' / 'images'}")
    read, faults = data.read(0)
    assert not faults
    assert len(read.graph) == sum(row["image_id"] == first and not row["iscrowd"] for row in document["annotations"])
    assert read.graph.predicates == ("in front of",)
    assert data.image(read).size == (read.width, read.height)
