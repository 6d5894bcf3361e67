"""VG-SGG.h5 as it is published: layout, splits, filters, folders; and files that are wrong."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from r1sgg.data.sources import open_data
from r1sgg.errors import InputError
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.vocabulary import VG150
from tests.data.annotation_files import CORRUPT, example, examples, h5_arrays, photo, write_vg150

MAN, DOG, CAR = ("man", (10, 20, 100, 200)), ("dog", (60, 40, 120, 300)), ("car", (300, 20, 500, 200))
PUBLISHED = {
    "boxes_1024": 2, "boxes_512": 2, "labels": 2, "predicates": 2, "relationships": 2, "img_to_first_box": 1,
    "img_to_last_box": 1, "img_to_first_rel": 1, "img_to_last_rel": 1, "split": 1,
}  # fmt: skip


def ids(spec: str) -> list[str]:
    return [item.image_id for item in open_data(spec)]


def test_the_fixture_has_exactly_the_published_fields(tmp_path: Path) -> None:
    write_vg150(tmp_path, examples(3))
    with h5py.File(tmp_path / "VG-SGG.h5") as file:
        assert {key: file[key].ndim for key in PUBLISHED} == PUBLISHED
        assert all(file[key].dtype == np.int32 for key in PUBLISHED)
        assert set(file) - set(PUBLISHED) == {"attributes", "active_object_mask"}


@pytest.mark.parametrize(("scale", "half"), [(1024, 2), (512, 4)])
def test_boxes_are_centre_and_size_at_either_scale(scale: int, half: int, tmp_path: Path) -> None:
    size = 1024 * 1024 // scale, 768 * 1024 // scale  # pixels that the scale's grid holds
    corners = (1, 2, 5, 8), (100, 50, 164, 90)
    boxes = [tuple(half * v for v in box) for box in corners]
    item = example("7", [("man", boxes[0]), ("dog", boxes[1])], [(0, "near", 1)], size)
    data = open_data(f"vg150:{write_vg150(tmp_path, [item])},val_images=0,scale={scale}")
    assert data[0].graph == item.graph


def test_a_box_of_the_published_kind_by_hand(tmp_path: Path) -> None:
    item = example("1", [MAN, DOG], [(0, "near", 1)], (800, 600))
    boxes = np.array([[341, 598, 134, 318], [512, 384, 1023, 767]], dtype=np.int32)
    data = open_data(f"vg150:{write_vg150(tmp_path, [item], boxes_1024=boxes)},val_images=0")
    man = [(341 - 67) * 800 / 1024, (598 - 159) * 800 / 1024, (341 + 67) * 800 / 1024, (598 + 159) * 800 / 1024]
    assert data[0].pixel_boxes[0].tolist() == [round(v, 2) for v in man]
    assert data[0].pixel_boxes[1].tolist() == [0.39, 0.39, 799.61, 599.61]


def test_splits_are_the_published_ones(tmp_path: Path) -> None:
    folder = write_vg150(tmp_path, examples(8), [0, 2, 0, 0, 2, 0, 0, 0])
    assert ids(f"vg150:{folder},split=val,val_images=2") == ["1", "3"]
    assert ids(f"vg150:{folder},split=train,val_images=2") == ["4", "6", "7", "8"]
    assert ids(f"vg150:{folder},val_images=2") == ["4", "6", "7", "8"]
    assert ids(f"vg150:{folder},split=test") == ["2", "5"]
    with pytest.raises(InputError, match="images of split 'train', found none; validation is the first 5,000"):
        open_data(f"vg150:{folder}")


def test_validation_counts_only_images_that_are_used(tmp_path: Path) -> None:
    bare = example("1", [MAN, DOG])
    nothing = example("2", [])
    folder = write_vg150(tmp_path, [bare, nothing, *examples(6)[2:]])
    assert ids(f"vg150:{folder},split=val,val_images=2") == ["3", "4"]
    assert ids(f"vg150:{folder},val_images=2") == ["5", "6"]
    assert ids(f"vg150:{folder},val_images=0,empty=yes") == ["1", "3", "4", "5", "6"]
    assert open_data(f"vg150:{folder},val_images=0").empty_ids == {"1"}


def test_the_three_way_split_of_newer_files(tmp_path: Path) -> None:
    folder = write_vg150(tmp_path, examples(4), split_rel=np.array([0, 1, 2, 0], dtype=np.int32))
    assert [ids(f"vg150:{folder},splits=split_rel,split={s}") for s in ("train", "val", "test")] == [
        ["1", "4"],
        ["2"],
        ["3"],
    ]


def test_images_that_cannot_be_decoded_are_in_image_data_only(tmp_path: Path) -> None:
    folder = write_vg150(tmp_path, examples(6))
    listed = [row["image_id"] for row in json.loads((folder / "image_data.json").read_text())]
    assert set(CORRUPT) < set(listed)
    data = open_data(f"vg150:{folder},val_images=0")
    assert [(item.image_id, item.width, item.height) for item in data] == [
        (item.image_id, item.width, item.height) for item in examples(6)
    ]


def test_photos_are_found_in_both_folders_and_under_images(tmp_path: Path) -> None:
    folder = write_vg150(tmp_path / "set", examples(4), photos=True)
    for item in open_data(f"vg150:{folder},val_images=0"):
        assert item.image is not None
        assert item.image.is_file()
    assert not open_data(f"vg150:{folder},val_images=0").notes
    other = tmp_path / "photos"
    other.mkdir()
    (other / "2.jpg").write_bytes(photo((512, 384)))
    assert open_data(f"vg150:{folder},val_images=0,images={other}")[1].image == other / "." / "2.jpg"
    bare = write_vg150(tmp_path / "bare", examples(2))
    (note,) = open_data(f"vg150:{bare},val_images=0").notes
    assert "expected the photos in VG_100K and VG_100K_2, found no such folder; to train, name it" in note.text


def test_relations_between_boxes_that_do_not_touch_go_only_when_asked(tmp_path: Path) -> None:
    touching = example("1", [MAN, DOG, CAR], [(0, "near", 1), (0, "near", 2)])
    apart = example("2", [MAN, CAR], [(0, "near", 1)])
    folder = write_vg150(tmp_path, [touching, apart])
    plain = open_data(f"vg150:{folder},val_images=0")
    assert [len(item.graph.pairs) for item in plain] == [2, 1]
    filtered = open_data(f"vg150:{folder},val_images=0,filter_non_overlap=yes")
    assert [(item.image_id, item.graph.pairs) for item in filtered] == [("1", ((0, 1),))]


def test_one_predicate_of_each_pair_is_drawn_when_asked(tmp_path: Path) -> None:
    many = [(0, p, 1) for p in ("near", "behind", "holding", "riding", "with", "watching")]
    items = [example(str(k), [MAN, DOG], [*many, (1, "near", 0)]) for k in range(1, 40)]
    folder = write_vg150(tmp_path, items)
    assert {len(item.graph.pairs) for item in open_data(f"vg150:{folder},val_images=0")} == {7}
    drawn = [
        [item.graph.triplets for item in open_data(f"vg150:{folder},val_images=0,filter_duplicate_rels=yes,seed={s}")]
        for s in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all({t[::2] for t in graph} == {("man", "dog"), ("dog", "man")} and len(graph) == 2 for graph in drawn[0])
    assert {graph[0][1] for graph in drawn[0]} == {p for _, p, _ in many}


def test_the_real_dictionary(shared: Path, tmp_path: Path) -> None:
    folder = write_vg150(tmp_path, examples(5))
    (folder / "VG-SGG-dicts.json").unlink()
    real = (shared / "data" / "vg150_dicts" / "VG-SGG-dicts-with-attri.json").read_bytes()
    (folder / "VG-SGG-dicts-with-attri.json").write_bytes(real)
    (folder / "VG-SGG.h5").rename(folder / "VG-SGG-with-attri.h5")
    data: Any = open_data(f"vg150:{folder},val_images=0")
    assert tuple(map(normalize_name, data.objects)) == VG150.objects
    assert tuple(map(normalize_name, data.predicates)) == VG150.predicates
    assert [item.graph for item in data] == [item.graph for item in examples(5)]


def test_a_relation_that_reaches_into_another_image_is_named_and_left_out(tmp_path: Path) -> None:
    items = [example(str(k), [MAN, DOG], [(0, "near", 1), (1, "near", 0)]) for k in (1, 2)]
    ends = h5_arrays(items, [0, 0])["relationships"].copy()
    ends[0] = [0, 3]
    folder = write_vg150(tmp_path, items, relationships=ends)
    data = open_data(f"vg150:{folder},val_images=0")
    read, faults = data.read(0)
    assert read.graph.pairs == ((1, 0),)
    assert "image_id 1: relation 0: expected objects of this image, 0 to 1, found 0 and 3" in faults[0].text
    assert data.read(1) == (data[1], [])


def test_class_numbers_that_have_no_name_are_named_and_left_out(tmp_path: Path) -> None:
    items = [example("1", [MAN, DOG, CAR], [(0, "near", 1), (0, "near", 2)])]
    arrays = h5_arrays(items, [0])
    labels, predicates = arrays["labels"].copy(), arrays["predicates"].copy()
    labels[1], predicates[1] = 151, 0
    folder = write_vg150(tmp_path, items, labels=labels, predicates=predicates)
    read, faults = open_data(f"vg150:{folder},val_images=0").read(0)
    assert read.graph.labels == ("man", "car")
    assert [fault.kind for fault in faults] == ["name", "relation", "name"]
    assert "object 1: expected a number that the list of names has" in faults[0].text


def test_an_image_id_that_stands_there_twice_costs_its_second_entry(tmp_path: Path) -> None:
    folder = write_vg150(tmp_path, examples(3))
    rows = json.loads((folder / "image_data.json").read_text())
    rows[-2]["image_id"] = 1
    (folder / "image_data.json").write_text(json.dumps(rows))
    data = open_data(f"vg150:{folder},val_images=0")
    assert [item.image_id for item in data] == ["1", "2"]
    assert "entry 2: expected image ids that differ, found image_id 1 again; left out" in data.notes[0].text


def _cut(folder: Path) -> None:
    file = folder / "VG-SGG.h5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _fewer_images(folder: Path) -> None:
    rows = json.loads((folder / "image_data.json").read_text())
    (folder / "image_data.json").write_text(json.dumps(rows[:-2] + rows[-1:]))


def _no_width(folder: Path) -> None:
    rows = json.loads((folder / "image_data.json").read_text())
    del rows[-2]["width"]
    (folder / "image_data.json").write_text(json.dumps(rows))


def _int(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


WRONG: dict[str, tuple[Any, str]] = {
    "a truncated h5": (_cut, "expected a whole HDF5 file, found a damaged or cut file"),
    "no h5": (lambda f: (f / "VG-SGG.h5").write_bytes(b"<html>"), "expected a whole HDF5 file, found a damaged"),
    "no dictionary": (lambda f: (f / "VG-SGG-dicts.json").unlink(), "expected VG-SGG-dicts.json or"),
    "no image_data": (lambda f: (f / "image_data.json").unlink(), "expected image_data.json"),
    "broken dictionary": (lambda f: (f / "VG-SGG-dicts.json").write_text("{"), "expected JSON, found broken JSON"),
    "another dictionary": (lambda f: (f / "VG-SGG-dicts.json").write_text("{}"), 'idx_to_label: expected {"1": "airp'),
    "image without annotation": (lambda f: None, "expected an entry for each of the 2 images"),
    "annotation without image": (_fewer_images, "found 2; both files must be of one release"),
    "image without size": (_no_width, "expected image_id, width and height in every entry"),
    "missing dataset": ({"predicates": None}, "predicates: expected this dataset, found only active_object_mask, "),
    "missing boxes": ({"boxes_1024": None}, "boxes_1024: expected this dataset"),
    "wrong split index": ({"split": _int(0, 7, 0)}, "split[1]: expected 0, 2, found 7"),
    "three-way split": ({"split": _int(0, 1, 2)}, "three-way splits are read with splits=split_rel"),
    "index outside": ({"img_to_last_box": _int(1, 3, 99)}, "img_to_last_box[2]: expected -1 and -1, or first <= last"),
    "half an index": ({"img_to_first_rel": _int(-1, 1, 2)}, "img_to_first_rel[0]"),
    "labels too few": ({"labels": _int(1, 2)}, "boxes_1024: expected shape (2, 4), as its partners have"),
    "index too short": ({"img_to_first_box": _int(0, 2)}, "img_to_first_box: expected shape (3,)"),
    "boxes of three": ({"boxes_1024": np.zeros((6, 3))}, "boxes_1024: expected shape (6, 4)"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_files_that_are_wrong_as_a_whole_are_one_sentence(case: str, tmp_path: Path) -> None:
    change, said = WRONG[case]
    items = [example(str(k), [MAN, DOG], [(0, "near", 1)]) for k in (1, 2, 3)]
    folder = write_vg150(tmp_path, items, **(change if isinstance(change, dict) else {}))
    if case == "image without annotation":
        write_vg150(tmp_path / "other", items[:2])
        (tmp_path / "other" / "VG-SGG.h5").replace(folder / "VG-SGG.h5")
    elif not isinstance(change, dict):
        change(folder)
    with pytest.raises(InputError) as caught:
        open_data(f"vg150:{folder},val_images=0")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_raw_visual_genome_is_told_apart(tmp_path: Path) -> None:
    for name in ("objects", "relationships"):
        (tmp_path / f"{name}.json").write_text("[]")
    with pytest.raises(InputError, match="raw Visual Genome is converted by `r1sgg data vg`"):
        open_data(f"vg150:{tmp_path}")


def test_a_file_with_other_names_is_read_by_its_own_dictionary(tmp_path: Path) -> None:
    names = SimpleNamespace(
        objects=("猫", "dog"), object_index={"猫": 0, "dog": 1}, predicates=("рядом",), predicate_index={"рядом": 0}
    )
    item = example("1", [("猫", MAN[1]), DOG], [(0, "рядом", 1)])
    data = open_data(f"vg150:{write_vg150(tmp_path, [item], vocabulary=names)},val_images=0")
    assert data[0].graph == item.graph


def test_the_memory_of_a_set_is_arrays(tmp_path: Path) -> None:
    sizes = []
    for count in (10, 40):
        data: Any = open_data(f"vg150:{write_vg150(tmp_path / str(count), examples(count))},val_images=0")
        assert all(isinstance(v, np.ndarray | int) for v in data.columns.values())
        sizes.append({k: len(v) for k, v in vars(data).items() if isinstance(v, list | tuple | set)})
    assert sizes[0] == sizes[1]
