"""psg.json: splits, boxes from segments, things and stuff, real PSG names and real panoptic images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from r1sgg.data.psg import segment_boxes, segment_ids
from r1sgg.data.sources import open_data
from r1sgg.errors import InputError
from r1sgg.graph.vocabulary import PSG
from tests.data.annotation_files import example, examples, psg_document, write_psg

MAN, DOG = ("man", (10, 20, 100, 200)), ("dog", (60, 40, 120, 300))


def _write(folder: Path, document: Any) -> str:
    (folder / "psg.json").write_text(json.dumps(document))
    return f"psg:{folder}"


def test_test_ids_split_the_file_and_images_without_relations_go(tmp_path: Path) -> None:
    bare = example("9", [MAN, DOG])
    folder = write_psg(tmp_path, [*examples(4), bare], test=["2", "9"], photos=True)
    train, test = open_data(f"psg:{folder}"), open_data(f"psg:{folder},split=test")
    assert [item.image_id for item in train] == ["1", "3", "4"]
    assert [item.image_id for item in test] == ["2"]
    assert {item.split for item in train} == {"train"}
    assert "found 1 without; left out (empty=yes keeps)" in test.notes[0].text
    assert test.empty_ids == {"9"}
    assert [item.image_id for item in open_data(f"psg:{folder},split=test,empty=yes")] == ["2", "9"]


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    document = psg_document(examples(3), test=["3"])
    document["test_image_ids"] = [3]
    for entry in document["data"]:
        entry["image_id"] = int(entry["image_id"])
    assert [item.image_id for item in open_data(_write(tmp_path, document) + ",split=test")] == ["3"]


def test_things_come_before_stuff_in_one_numbering(tmp_path: Path) -> None:
    item = example("1", [("airplane", MAN[1]), ("zebra", DOG[1])], [(0, "above", 1), (1, "with", 0)])
    data = open_data(f"psg:{write_psg(tmp_path, [item])}")
    assert data[0].graph.triplets == (("airplane", "above", "zebra"), ("zebra", "with", "airplane"))


@pytest.mark.parametrize("where", ["", "coco", "images", "elsewhere"])
def test_photos_are_found_where_people_put_them(where: str, tmp_path: Path) -> None:
    spec = f"psg:{write_psg(tmp_path / 'set', examples(1))}"
    folder = tmp_path / "set" / where / "val2017" if where != "elsewhere" else tmp_path / "elsewhere" / "val2017"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / "000000000001.jpg")
    image = open_data(spec + (f",images={tmp_path / 'elsewhere'}" if where == "elsewhere" else ""))[0].image
    assert image is not None
    assert image.is_file()


def _panoptic(path: Path, size: tuple[int, int], segments: dict[int, tuple[int, int, int, int]]) -> None:
    ids = np.zeros((size[1], size[0]), dtype=np.int64)
    for segment, (x1, y1, x2, y2) in segments.items():
        ids[y1:y2, x1:x2] = segment
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=2).astype(np.uint8)).save(path)


@pytest.mark.parametrize("how", ["no annotations", "a null box", "elsewhere"])
def test_boxes_that_are_not_given_come_from_the_segments(how: str, tmp_path: Path) -> None:
    item = example("1", [MAN, ("dog", (200, 40, 320, 300))], [(0, "near", 1)])
    document = psg_document([item])
    entry = document["data"][0]
    entry["segments_info"][0]["id"] = 7 + 256 * 200 + 65536 * 3
    if how == "a null box":
        entry["annotations"][1]["bbox"] = None
    else:
        del entry["annotations"]
    folder = tmp_path / "png" if how == "elsewhere" else tmp_path
    _panoptic(
        folder / entry["pan_seg_file_name"],
        (512, 384),
        {entry["segments_info"][0]["id"]: MAN[1], 1001: (200, 40, 320, 300)},
    )
    data = open_data(_write(tmp_path, document) + (f",panoptic={folder}" if how == "elsewhere" else ""))
    read, faults = data.read(0)
    assert read.graph == item.graph
    assert not faults


def test_segments_without_a_png_or_a_pixel_are_named_and_the_rest_stays(tmp_path: Path) -> None:
    item = example("1", [MAN, DOG, ("car", (300, 100, 400, 200))], [(0, "near", 1), (0, "near", 2)])
    document = psg_document([item])
    document["data"][0]["annotations"][1]["bbox"] = None
    spec = _write(tmp_path, document)
    read, faults = open_data(spec).read(0)
    assert read.graph.triplets == (("man", "near", "car"),)
    assert [fault.kind for fault in faults] == ["image", "box", "relation"]
    assert "boxes that only it has are left out" in faults[0].text
    png = tmp_path / document["data"][0]["pan_seg_file_name"]
    _panoptic(png, (512, 384), {1000: MAN[1]})
    assert [fault.kind for fault in open_data(spec).read(0)[1]] == ["box", "relation"]
    _panoptic(png, (512, 300), {1001: MAN[1]})
    assert "expected 512x384 pixels, found 512x300" in open_data(spec).read(0)[1][0].text


def test_real_panoptic_images_give_the_published_boxes(shared: Path) -> None:
    folder = shared / "data" / "coco_sample"
    published = json.loads((folder / "panoptic_coco_detection_format.json").read_text())["annotations"]
    for entry in json.loads((folder / "panoptic_examples.json").read_text())["annotations"]:
        rows = [row for row in published if row["image_id"] == entry["image_id"]]
        file = folder / "images" / entry["file_name"].replace(".png", "_panoptic.png")
        with Image.open(file) as image:
            ids = segment_ids(image.convert("RGB"))
        segments = np.array([segment["id"] for segment in entry["segments_info"]])
        boxes = segment_boxes(ids, segments)
        found = {tuple(map(int, (x1, y1, x2 - x1, y2 - y1))) for x1, y1, x2, y2 in boxes.tolist()}
        assert len(rows) == len(segments)
        assert found == {tuple(map(int, row["bbox"])) for row in rows}


def test_a_psg_entry_from_real_pieces(shared: Path, tmp_path: Path) -> None:
    sample = shared / "data" / "coco_sample"
    panoptic = json.loads((sample / "panoptic_examples.json").read_text())
    names = json.loads((shared / "data" / "psg" / "psg_categories.json").read_text())
    entry, photo = panoptic["annotations"][0], panoptic["images"][0]
    classes = [*names["thing_classes"], *names["stuff_classes"]]
    number = {c["id"]: classes.index(c["name"]) for c in panoptic["categories"] if c["name"] in classes}
    document = {
        "data": [
            {
                "file_name": f"val2017/{photo['file_name']}",
                "height": photo["height"],
                "width": photo["width"],
                "image_id": str(entry["image_id"]),
                "pan_seg_file_name": entry["file_name"].replace(".png", "_panoptic.png"),
                "segments_info": [s | {"category_id": number[s["category_id"]]} for s in entry["segments_info"]],
                "relations": [[0, 1, 3]],
            }
        ],
        "test_image_ids": [str(entry["image_id"])],
        **names,
    }
    read, faults = open_data(f"{_write(tmp_path, document)},split=test,panoptic={sample / 'images'}").read(0)
    assert not faults
    assert len(read.graph) == len(entry["segments_info"])
    assert set(read.graph.labels) <= set(PSG.objects)
    assert read.graph.predicates == ("on",)
    assert (read.width, read.height) == (photo["width"], photo["height"])


WHOLE = [
    ("{", "broken JSON"),
    (
        "[]",
        "expected psg.json, an object with data, test_image_ids, thing_classes, stuff_classes, predicate_classes, "
        "found a list",
    ),
    ('{"data": []}', "expected psg.json with the list test_image_ids, found an object without test_image_ids"),
    ('{"data": 3}', "expected psg.json with the list data, found data: 3"),
    ('{"images": []}', "found an object without data; COCO's annotations are coco:"),
    (json.dumps(psg_document([])), "expected an image with relations in split 'train', found none of 0"),
]


@pytest.mark.parametrize(("text", "said"), WHOLE)
def test_files_that_are_wrong_as_a_whole_are_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "psg.json").write_text(text)
    with pytest.raises(InputError) as caught:
        open_data(f"psg:{tmp_path}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"psg.json: expected the annotations of PSG, found no such file; give the fil"
    ):
        open_data(f"psg:{tmp_path}")
    with pytest.raises(InputError, match="nothing: expected the annotations of PSG, found no such file"):
        open_data(f"psg:{tmp_path / 'nothing'}")


ENTRIES: list[tuple[dict[str, Any], str]] = [
    ({"width": 0}, "data[1]: width: expected a whole number from 1, found 0"),
    ({"image_id": None}, "data[1]: image_id: expected a string, found None"),
    ({"file_name": 3.5}, "data[1]: file_name: expected a string"),
    ({"annotations": [{"bbox": [1, 2, 3, 4], "category_id": 0}]}, "annotations: expected as many as segments_info"),
    ({"relations": [[0, 1]]}, "relations[0]: expected [subject, object, predicate]"),
    ({"relations": {}}, "relations: expected a list, found {}"),
    ({"image_id": "1"}, "expected image ids that differ, found image_id '1' again"),
]


@pytest.mark.parametrize(("change", "said"), ENTRIES)
def test_an_entry_that_is_wrong_costs_that_entry(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    document = psg_document(examples(3))
    document["data"][1] |= change
    data = open_data(_write(tmp_path, document))
    assert [item.image_id for item in data] == ["1", "3"]
    assert said in data.notes[0].text
    assert "left out" in data.notes[0].text


def test_relations_of_unknown_predicates_and_objects_are_named(tmp_path: Path) -> None:
    document = psg_document([example("1", [MAN, DOG], [(0, "near", 1)])])
    document["data"][0]["relations"] += [[0, 1, 56], [0, 9, 1]]
    read, faults = open_data(_write(tmp_path, document)).read(0)
    assert read.graph.triplets == (("man", "near", "dog"),)
    assert [fault.kind for fault in faults] == ["name", "relation"]
