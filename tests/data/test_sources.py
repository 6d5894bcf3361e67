"""Naming data, ground-truth files by line, drawn scenes, and what every data set does with images and bad records."""

import json
import multiprocessing.reduction
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from r1sgg.data.base import data_hash
from r1sgg.data.sources import JsonlData, open_data, with_images
from r1sgg.data.spec import parse_spec
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.miniature.scenes import SMALL, scene, write_scenes
from tests.data.annotation_files import (
    coco_document,
    example,
    examples,
    hub_rows,
    photo,
    psg_document,
    write_coco,
    write_jsonl,
    write_parquet,
    write_psg,
    write_vg150,
)

SPECS = [
    ("train.jsonl", "jsonl", "train.jsonl", {}),
    ("jsonl:a/b.jsonl,split=val", "jsonl", "a/b.jsonl", {"split": "val"}),
    ("odd, name.jsonl", "jsonl", "odd, name.jsonl", {}),
    ("vg150:my,data,scale=512", "vg150", "my,data", {"scale": "512"}),
    ("scenes:50, seed=1", "scenes", "50", {"seed": "1"}),
    ("scenes:count=50,preset=hard", "scenes", "50", {"count": "50", "preset": "hard"}),
    ("hub:JosephZ/psg_test_sg,stream=yes", "hub", "JosephZ/psg_test_sg", {"stream": "yes"}),
    ("coco:C:/sets/mine", "coco", "C:/sets/mine", {}),
]


@pytest.mark.parametrize(("text", "kind", "place", "options"), SPECS)
def test_specifications(text: str, kind: str, place: str, options: dict[str, str]) -> None:
    spec = parse_spec(text)
    assert (spec.kind, spec.place, spec.options) == (kind, place, options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vg105:dir", "expected one of jsonl:, vg150:, psg:, coco:, hub:, instruct:, scenes:, found 'vg105:'"),
        ("psg:dir,scale=512", "expected options of split=, images=, panoptic=, empty=, found 'scale=512'"),
        ("vg150:dir,scale=", "found 'scale='"),
        ("vg150:dir,scale=1024,more", "found 'more'"),
        ("coco:", "expected coco:PATH, found no PATH behind the colon"),
        ("scenes:", "expected scenes:COUNT, found no COUNT behind the colon"),
        ("scenes:many", "expected a whole number for COUNT, found 'many'"),
        ("scenes:5,preset=huge", "expected preset= one of small, hard, found 'huge'"),
        ("scenes:5,split=dev", "expected split= one of train, validation, test, found 'dev'"),
        ("vg150:dir,scale=600", "expected scale= one of 1024, 512, found '600'"),
        ("vg150:dir,split=dev", "expected split= one of train, val, test, found 'dev'"),
        ("psg:.,images=no/such/folder", "expected images= a folder, found no folder no/such/folder"),
    ],
)
def test_a_specification_that_means_nothing_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        open_data(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["", "jsonl:", "vg150:", "psg:", "coco:", "hub:"])
def test_a_path_that_is_not_there_is_one_sentence(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_data(f"{kind}{tmp_path / 'nothing'}")
    assert "nothing" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- your own ground truth


def test_lines_are_read_when_asked_for_and_in_any_order(tmp_path: Path) -> None:
    items = examples(5)
    data = open_data(str(write_jsonl(tmp_path / "gt.jsonl", items)))
    assert [data[k].image_id for k in (4, 0, -1, -5)] == ["5", "1", "5", "1"]
    assert [item.graph for item in data] == [item.graph for item in items]
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            data[wrong]


def test_hashes_name_images_and_annotations_apart_whatever_the_order(tmp_path: Path) -> None:
    items = examples(4)
    hashes = open_data(str(write_jsonl(tmp_path / "a.jsonl", items))).hashes()
    turned = open_data(str(write_jsonl(tmp_path / "b.jsonl", items[::-1]))).hashes()
    assert hashes == turned
    assert hashes["annotations"] == data_hash(items)
    other = [example("1", [("dog", (1, 2, 30, 40))]), *items[1:]]
    changed = open_data(str(write_jsonl(tmp_path / "c.jsonl", other))).hashes()
    assert changed["images"] == hashes["images"]
    assert changed["annotations"] != hashes["annotations"]
    fewer = open_data(str(write_jsonl(tmp_path / "d.jsonl", items[1:]))).hashes()
    assert fewer["images"] != hashes["images"]


def test_a_split_is_taken_out_of_a_file_that_holds_several(tmp_path: Path) -> None:
    path = tmp_path / "gt.jsonl"
    rows = [item.to_record() | {"split": "val" if k % 2 else "train"} for k, item in enumerate(examples(5))]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert open_data(str(path)).split is None
    data = open_data(f"jsonl:{path},split=val")
    assert ([item.image_id for item in data], data.split) == (["2", "4"], "val")
    assert data.hashes()["annotations"] == data_hash(list(data))
    with pytest.raises(InputError, match="lines of split 'test', found 'train', 'val'"):
        open_data(f"jsonl:{path},split=test")


def test_the_split_of_a_file_is_what_all_its_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "gt.jsonl"
    path.write_text(json.dumps(examples(1)[0].to_record() | {"split": "test"}))
    assert open_data(str(path)).split == "test"


LINES = [
    ('{"image_id": "x", "width"', "cut off"),
    ("[]", "expected a JSON object"),
    (json.dumps(examples(1)[0].to_record()), "'1' again"),
    ('{"image_id": "x", "width": 9, "height": 9, "objects": [], "relationships": [], "boxes": []}', "'boxes'"),
    (
        '{"image_id": "x", "width": 9, "height": 9, "objects": [{"id": "a.1", "bbox": [NaN, 1, 2, 3]}]}',
        "broken JSON",
    ),
]


@pytest.mark.parametrize(("line", "said"), LINES)
def test_a_wrong_line_is_an_error_or_left_out_by_name(line: str, said: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "gt.jsonl", examples(3))
    path.write_text(path.read_text() + line)
    with pytest.raises(InputError, match=r"gt\.jsonl:4") as caught:
        open_data(str(path))
    assert said in str(caught.value)
    data = open_data(str(path), strict=False)
    assert len(data) == 3
    (note,) = data.notes
    assert str(caught.value).startswith(note.text), "the error names the page of own data, too"
    assert data.hashes()["annotations"] == data_hash(examples(3))


def test_the_memory_of_a_file_is_its_places(tmp_path: Path) -> None:
    data = JsonlData(write_jsonl(tmp_path / "gt.jsonl", examples(50)))
    held = [value for value in vars(data).values() if isinstance(value, list | tuple | dict | set)]
    assert all(len(value) < 5 for value in held)
    assert data._places.nbytes == 50 * 16


# ---------------------------------------------------------------- scenes


def test_scenes_are_those_that_the_command_writes(tmp_path: Path) -> None:
    path = write_scenes(tmp_path, 3, 7, SMALL, "test")
    drawn, written = open_data("scenes:3,seed=7,split=test"), open_data(str(path))
    assert drawn.hashes() == written.hashes()
    assert drawn.split == written.split == "test"
    for one, other in zip(drawn, written, strict=True):
        assert one.graph == other.graph
        assert np.array_equal(drawn.image(one), written.image(other))


def test_a_large_drawn_set_says_that_its_hash_is_of_the_first_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1sgg.miniature.sources.HASHED_SCENES", 2)
    two, three = open_data("scenes:2").hashes(), open_data("scenes:3").hashes()
    assert three["annotations"] == f"{two['annotations']}-first2"
    assert two["images"] != three["images"]


def test_scenes_are_not_drawn_to_see_whether_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data("scenes:1000")
    monkeypatch.setattr(type(data), "read", None)
    assert len(with_images(data)) == 1000


def test_a_set_goes_to_other_processes(tmp_path: Path) -> None:
    items = examples(3)
    for spec in (
        "scenes:3",
        f"vg150:{write_vg150(tmp_path, items)},val_images=0",
        f"psg:{write_psg(tmp_path, items)}",
        f"coco:{write_coco(tmp_path, items)}",
        f"hub:{write_parquet(tmp_path / 'hub', hub_rows(items))}",
        str(write_jsonl(tmp_path / "gt.jsonl", items)),
    ):
        data = open_data(spec)
        again = multiprocessing.reduction.ForkingPickler.loads(multiprocessing.reduction.ForkingPickler.dumps(data))
        assert [item.graph for item in again] == [item.graph for item in data]


def test_a_scene_that_is_changed_does_not_change_the_set() -> None:
    data = open_data("scenes:1")
    data.image(data[0]).paste((0, 0, 0), (0, 0, 112, 112))
    assert np.array_equal(data.image(data[0]), scene(0, SMALL).image)


# ---------------------------------------------------------------- images of every format

WRITERS = {
    "vg150": lambda folder, items: f"vg150:{write_vg150(folder, items, photos=True)},val_images=0",
    "psg": lambda folder, items: f"psg:{write_psg(folder, items, photos=True)}",
    "coco": lambda folder, items: f"coco:{write_coco(folder, items, photos=True)}",
}


def _bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in a few hundred bytes, its data left out."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


BAD_IMAGES = {
    "missing": (None, "expected an image file, found no such file", True),
    "cut in half": (photo((384, 512), 9)[:2000], "expected a whole image, found damaged data", False),
    "a bomb": (_bomb(), "expected at most 100,000,000 pixels, found far more", True),
    "a text": (b"<html>404</html>", "expected an image (JPEG, PNG, WEBP, ", True),
    "empty": (b"", "expected an image", True),
}


@pytest.mark.parametrize("kind", [*WRITERS, "hub"])
@pytest.mark.parametrize("case", list(BAD_IMAGES))
def test_a_bad_image_is_one_sentence_and_costs_nothing_else(kind: str, case: str, tmp_path: Path) -> None:
    content, said, seen_early = BAD_IMAGES[case]
    items = examples(3, seed=5)
    if kind == "hub":
        if not content:
            pytest.skip("a cell without bytes is its own case in test_hub")
        rows = hub_rows(items)
        rows[1]["image"]["bytes"] = content
        rows = [row | {"width": item.width, "height": item.height} for row, item in zip(rows, items, strict=True)]
        data = open_data(f"hub:{write_parquet(tmp_path, rows)}")
    else:
        data = open_data(WRITERS[kind](tmp_path, items))
        path = data[1].image
        assert path is not None
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    broken = data[1]
    with pytest.raises(ImageError) as caught:
        data.image(broken)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert broken.graph == items[1].graph
    assert data.image(data[2]).size == (items[2].width, items[2].height)
    fault = data.image_fault(broken)
    assert (fault is not None) == seen_early
    kept = with_images(data)
    named = seen_early and kind != "hub"  # images that are inside are taken as they are
    assert len(kept) == (2 if named else 3)
    assert any(note.kind == "image" for note in kept.notes) == named
    assert kept.draw(0)[0].size == (items[0].width, items[0].height)


def test_a_set_without_images_reads_and_says_what_is_missing(tmp_path: Path) -> None:
    items = examples(3)
    for spec in (
        f"vg150:{write_vg150(tmp_path / 'vg', items)},val_images=0",
        f"psg:{write_psg(tmp_path / 'psg', items)}",
        f"coco:{write_coco(tmp_path / 'coco', items)}",
        str(write_jsonl(tmp_path / "gt.jsonl", items)),
    ):
        data = open_data(spec)
        assert [item.graph for item in data] == [item.graph for item in items]
        with pytest.raises(ImageError, match="image"):
            data.image(data[0])
        with pytest.raises(InputError, match="at least one image that can be read, found none of 3"):
            with_images(data)


def test_an_image_of_another_size_is_said_and_kept(tmp_path: Path) -> None:
    data = open_data(WRITERS["coco"](tmp_path, examples(2)))
    assert data[0].image is not None
    Image.new("RGB", (50, 40)).save(data[0].image)
    fault = data.image_fault(data[0])
    assert fault is not None
    assert fault.kind == "size"
    assert "50x40" in fault.text
    assert len(with_images(data)) == 2


# ---------------------------------------------------------------- bad records of every format

NAN = float("nan")
GOOD = ((10, 20, 100, 200), (30, 40, 120, 300))
BAD_BOXES = {
    "NaN": (NAN, 20, 100, 200),
    "infinite": (10, 20, float("inf"), float("-inf")),
    "inverted": (100, 200, 10, 20),
    "no area": (10, 20, 10, 200),
    "outside": (600, 20, 700, 200),
}


@pytest.mark.parametrize("kind", ["psg", "coco", "hub", "vg150"])
@pytest.mark.parametrize("case", list(BAD_BOXES))
def test_a_bad_box_costs_that_object_and_its_relations(kind: str, case: str, tmp_path: Path) -> None:
    item = example("1", [("man", GOOD[0]), ("dog", GOOD[0]), ("man", GOOD[1])], [(0, "near", 1), (0, "behind", 2)])
    bad = BAD_BOXES[case]
    size = [bad[2] - bad[0], bad[3] - bad[1]]
    if kind == "psg":
        document = psg_document([item])
        document["data"][0]["annotations"][1]["bbox"] = bad
        if case == "infinite":
            document["data"][0]["annotations"][1]["bbox"] = [10, 20, 1e300, -1e300]
        text = json.dumps(document).replace("NaN", "null")
        (tmp_path / "psg.json").write_text(text)
        data = open_data(f"psg:{tmp_path}")
    elif kind == "coco":
        document = coco_document([item])
        document["annotations"][1]["bbox"] = [*bad[:2], *size] if case != "infinite" else [10, 20, 1e300, -1e300]
        path = write_coco(tmp_path, [item]) / "train" / "_annotations.coco.json"
        path.write_text(json.dumps(document).replace("NaN", "null"))
        data = open_data(f"coco:{tmp_path}")
    elif kind == "hub":
        row = hub_rows([item])[0]
        objects = json.loads(row["objects"])
        objects[1]["bbox"] = bad if case != "infinite" else [10, 20, 1e300, -1e300]
        row["objects"] = json.dumps(objects).replace("NaN", "null")
        data = open_data(f"hub:{write_parquet(tmp_path, [row])}")
    else:
        middle = [(bad[0] + bad[2]) / 2, (bad[1] + bad[3]) / 2]
        boxes = np.array([[110, 220, 180, 360], [2 * v for v in (*middle, *size)], [150, 340, 180, 520]])
        data = open_data(f"vg150:{write_vg150(tmp_path, [item], boxes_1024=boxes)},val_images=0")
    read, faults = data.read(0)
    assert read.graph.ids == ("man.1", "man.2")
    assert read.graph.relationships[0].predicate == "behind"
    assert len(read.graph.pairs) == 1
    named = [fault for fault in faults if fault.kind == "box"]
    assert len(named) == 1
    assert "object 1: expected a box with an area inside 512x384" in named[0].text
    rest = ["image"] if kind == "psg" and case == "NaN" else []  # the panoptic PNG could have held the box
    assert [fault.kind for fault in faults] == [*rest, "box", "relation"]


@pytest.mark.parametrize("kind", ["psg", "coco", "hub", "vg150"])
def test_a_relation_to_itself_is_named_and_left_out(kind: str, tmp_path: Path) -> None:
    item = example("1", [("man", GOOD[0]), ("dog", GOOD[1])], [(0, "near", 1), (1, "eating", 1)])
    spec = {
        "psg": lambda: f"psg:{write_psg(tmp_path, [item])}",
        "coco": lambda: f"coco:{write_coco(tmp_path, [item])}",
        "hub": lambda: f"hub:{write_parquet(tmp_path, hub_rows([item]))}",
        "vg150": lambda: f"vg150:{write_vg150(tmp_path, [item])},val_images=0",
    }[kind]()
    read, faults = open_data(spec).read(0)
    assert read.graph.triplets == (("man", "near", "dog"),)
    assert "relation 1: expected two objects, found one object with itself" in faults[0].text


def test_a_box_that_reaches_far_outside_is_clipped_by_name_and_a_pixel_is_rounding(tmp_path: Path) -> None:
    document = coco_document([example("1", [("man", GOOD[0]), ("dog", GOOD[1])], [(0, "near", 1)])])
    document["annotations"][0]["bbox"] = [-0.6, 0, 513, 384.5]
    document["annotations"][1]["bbox"] = [-50, 10, 100, 100]
    write_coco(tmp_path, examples(1))
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(document))
    read, faults = open_data(f"coco:{tmp_path}").read(0)
    assert read.pixel_boxes.tolist() == [[0, 0, 512, 384], [0, 10, 50, 110]]
    assert len(faults) == 1
    assert "object 1: expected a box inside 512x384, found [-50.0, 10.0, 50.0, 110.0]; clipped" in faults[0].text


@pytest.mark.parametrize("name", ["猫", "صخرة", "собака", "क़लम", "🐈"])
def test_names_in_other_scripts_pass_through(name: str, tmp_path: Path) -> None:
    item = example("ид-1", [("man", GOOD[0]), ("dog", GOOD[1])], [(0, "near", 1)])
    psg = psg_document([item])
    psg["thing_classes"][psg["data"][0]["annotations"][0]["category_id"]] = name
    psg["data"][0]["file_name"] = "val2017/фото.jpg"
    (tmp_path / "psg.json").write_text(json.dumps(psg))
    coco = coco_document([item])
    coco["categories"][coco["annotations"][0]["category_id"]]["name"] = name
    write_coco(tmp_path, [])
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(coco))
    row = hub_rows([item])[0]
    row["objects"] = json.dumps(json.loads(row["objects"].replace("man.", f"{name}.")))
    row["relationships"] = row["relationships"].replace("man.", f"{name}.")
    write_parquet(tmp_path / "hub", [row])
    jsonl = write_jsonl(tmp_path / "own.jsonl", list(open_data(f"psg:{tmp_path}")))
    graphs = [
        open_data(spec)[0].graph
        for spec in (f"psg:{tmp_path}", f"coco:{tmp_path}", f"hub:{tmp_path / 'hub'}", str(jsonl))
    ]
    assert all(graph == graphs[0] for graph in graphs)
    assert graphs[0].labels == (name, "dog")
