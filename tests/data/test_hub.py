"""Hub sets from parquet files with the published columns: both layouts, streams, shards, and rows that are wrong."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from r1sgg.data import hub
from r1sgg.data.hub import HubData, HubStream
from r1sgg.data.sources import open_data
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.graph.vocabulary import VG150
from tests.data.annotation_files import example, examples, hub_rows, numbered_rows, photo, write_parquet

MAN, DOG = ("man", (10, 20, 100, 200)), ("dog", (60, 40, 120, 300))
NAMES = {
    "categories": [{"id": k, "name": name} for k, name in enumerate(VG150.objects)],
    "rel_categories": [{"id": k, "name": name} for k, name in enumerate(VG150.predicates)],
}


def _table(rows: list[dict[str, Any]], description: str = "") -> Any:
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image(decode=False))
    table.info.description = description
    return table


def test_pictures_come_from_the_bytes_and_sizes_from_the_pictures(tmp_path: Path) -> None:
    items = examples(3)
    data = open_data(f"hub:{write_parquet(tmp_path, hub_rows(items))}")
    assert data.split == "train"
    for read, item in zip(data, items, strict=True):
        assert read.image is None
        assert (read.width, read.height) == (item.width, item.height) == data.image(read).size
        assert data.image_fault(read) is None


def test_a_row_as_the_authors_write_them(tmp_path: Path) -> None:
    row = {
        "image_id": "2",
        "image": {"bytes": photo((800, 600)), "path": None},
        "objects": '[{"id": "door-stuff.1", "bbox": [119, 70, 197, 330]}, {"id": "man.2", "bbox": [2, 280, 798, 598]}]',
        "relationships": '[{"subject": "man.2", "predicate": "walking on", "object": "door-stuff.1"}]',
        "prompt_open": "", "prompt_close": "",
    }  # fmt: skip
    read, faults = open_data(f"hub:{write_parquet(tmp_path, [row])}").read(0)
    assert not faults
    assert read.graph.ids == ("door stuff.1", "man.1")
    assert read.graph.triplets == (("man", "walking on", "door stuff"),)
    assert read.pixel_boxes.tolist() == [[119, 70, 197, 330], [2, 280, 798, 598]]


@pytest.mark.parametrize("names", ["lists", "tables"])
@pytest.mark.parametrize("ends", ["places", "ids"])
def test_numbered_columns_with_names_in_the_description(names: str, ends: str) -> None:
    items = examples(4)
    rows = numbered_rows(items)
    if ends == "ids":
        for row in rows:
            row["objects"] = [item | {"id": 500 + k} for k, item in enumerate(row["objects"])]
            for relation in row["relations"]:
                relation |= {key: relation[key] + 500 for key in ("subject_id", "object_id")}
    tables = {key: {str(row["id"]): row["name"] for row in value} for key, value in NAMES.items()}
    description = json.dumps(NAMES if names == "lists" else tables)
    data = HubData("numbered", "train", _table(rows, description))
    assert [read.graph for read in data] == [item.graph for item in items]


def test_numbers_without_names_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="numbers without names; add names=FILE to hub:NAME"):
        open_data(f"hub:{write_parquet(tmp_path, numbered_rows(examples(2)))}")


@pytest.mark.parametrize("layout", ["coco", "dicts"])
def test_numbered_columns_with_names_in_a_file(layout: str, tmp_path: Path) -> None:
    items = examples(4)
    dicts = {
        "idx_to_label": {str(row["id"]): row["name"] for row in NAMES["categories"]},
        "idx_to_predicate": {str(row["id"]): row["name"] for row in NAMES["rel_categories"]},
    }
    (tmp_path / "names.json").write_text(json.dumps({"images": [], **NAMES} if layout == "coco" else dicts))
    set_of = write_parquet(tmp_path / "set", numbered_rows(items))
    for options in ("", ",stream=yes"):
        data = open_data(f"hub:{set_of},split=train,names={tmp_path / 'names.json'}{options}")
        assert [read.graph for read in data] == [item.graph for item in items]


def test_a_file_without_names_is_one_sentence(tmp_path: Path) -> None:
    set_of = write_parquet(tmp_path / "set", numbered_rows(examples(2)))
    (tmp_path / "names.json").write_text('{"labels": {"1": "man"}}')
    for name, says in (("names.json", 'expected JSON with "categories"'), ("nowhere.json", "nowhere.json")):
        with pytest.raises(InputError, match=says):
            open_data(f"hub:{set_of},names={tmp_path / name}")


def test_other_text_columns_are_kept_where_prompts_are_looked_for(tmp_path: Path) -> None:
    rows = hub_rows(examples(2))
    rows[0] |= {"prompt_open": "Open.", "prompt_close": "Closed.", "number": 3}
    rows[1] |= {"number": 4}
    read = open_data(f"hub:{write_parquet(tmp_path, rows)}")[0]
    assert read.meta == {"prompt_open": "Open.", "prompt_close": "Closed."}


def test_a_set_in_the_hub_s_cache_is_found_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = examples(3)
    folder = tmp_path / "hub" / "datasets--JosephZ--vg150_val_sgg_prompt"
    write_parquet(folder / "snapshots" / "0123", hub_rows(items))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    data = open_data("hub:JosephZ/vg150_val_sgg_prompt")
    assert ([read.graph for read in data], data.split) == ([item.graph for item in items], "val")
    with pytest.raises(InputError, match="hub:JosephZ/psg_test_sg: expected a set with an image column"):
        open_data("hub:JosephZ/psg_test_sg")


def test_a_folder_with_several_splits_asks_which(tmp_path: Path) -> None:
    write_parquet(tmp_path, hub_rows(examples(2)), "train")
    write_parquet(tmp_path, hub_rows(examples(3)), "test")
    with pytest.raises(InputError, match="expected split= one of train, test, found no split="):
        open_data(f"hub:{tmp_path}")
    assert len(open_data(f"hub:{tmp_path},split=test")) == 3
    with pytest.raises(InputError, match="check the name and split="):
        open_data(f"hub:{tmp_path},split=dev")


def test_nothing_is_asked_of_the_network_but_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **options: Any) -> Any:
        asked.append((name, options))
        return _table(hub_rows(examples(2)))

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = open_data("hub:JosephZ/vg150_val_sgg_prompt")
    assert asked == [("JosephZ/vg150_val_sgg_prompt", {"split": "train", "streaming": False})]
    assert (len(data), data.split) == (2, "val")
    assert open_data("hub:JosephZ/psg_test_sg").split == "test"
    assert open_data("hub:me/mine,split=validation").split == "validation"


def test_no_network_is_one_sentence() -> None:
    with pytest.raises(InputError, match="the network, a hub: name needs it") as caught:
        open_data("hub:nobody/nothing")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- streams


def test_a_stream_gives_the_same_examples_and_pictures_in_order(tmp_path: Path) -> None:
    items = examples(5)
    folder = write_parquet(tmp_path, hub_rows(items), parts=2)
    stream, table = open_data(f"hub:{folder},stream=yes"), open_data(f"hub:{folder}")
    for streamed, read in zip(stream, table, strict=True):
        assert streamed.graph == read.graph
        assert stream.image(streamed).tobytes() == table.image(read).tobytes()
    assert stream.hashes() == table.hashes()


def test_a_stream_has_no_length_and_no_going_back(tmp_path: Path) -> None:
    stream = open_data(f"hub:{write_parquet(tmp_path, hub_rows(examples(3)))},stream=yes")
    with pytest.raises(ConfigError, match="a stream has no length"):
        len(stream)
    with pytest.raises(ConfigError, match="a stream is read in order"):
        stream.read(0)
    first, second, *_ = stream
    with pytest.raises(ImageError, match="read the image before the next example"):
        stream.image(first)
    del second


def test_shards_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    stream = open_data(f"hub:{write_parquet(tmp_path, hub_rows(examples(6)), parts=3)},stream=yes")
    assert isinstance(stream, HubStream)
    parts = [[item.image_id for item in stream.shard(3, k)] for k in range(3)]
    assert sorted(image_id for part in parts for image_id in part) == ["1", "2", "3", "4", "5", "6"]
    assert all(len(part) == 2 for part in parts)


# ---------------------------------------------------------------- rows that are wrong

ROWS: list[tuple[dict[str, Any], str]] = [
    ({"objects": "[{"}, "image_id 2: objects: expected JSON, found broken JSON"),
    ({"objects": '{"id": 1}'}, "objects: expected a list of JSON objects"),
    ({"relationships": "null"}, "relationships: expected a list of JSON objects, found None"),
    ({"image_id": ""}, "row 1: image_id: expected a string, found ''"),
    ({"image_id": "1"}, "row 1: expected image ids that differ, found image_id '1' again"),
]


@pytest.mark.parametrize("stream", ["yes", "no"])
@pytest.mark.parametrize(("change", "said"), ROWS)
def test_a_row_that_is_wrong_costs_that_row(change: dict[str, Any], said: str, stream: str, tmp_path: Path) -> None:
    rows = hub_rows(examples(3))
    rows[1] |= change
    data = open_data(f"hub:{write_parquet(tmp_path, rows)},stream={stream}")
    ids = [item.image_id for item in data]
    if change == {"image_id": "1"} and stream == "yes":
        assert ids == ["1", "1", "3"]  # a stream remembers no ids
        return
    assert ids == ["1", "3"]
    assert said in data.notes[0].text
    assert "left out" in data.notes[0].text


def test_an_image_cell_without_anything_is_one_sentence(tmp_path: Path) -> None:
    rows = hub_rows(examples(2))
    rows[0]["image"] = None
    data = open_data(f"hub:{write_parquet(tmp_path, rows)}")
    with pytest.raises(ImageError, match="image of image_id 1: expected bytes or a path, found none"):
        data[0]
    assert data.image(data[1]).size == (data[1].width, data[1].height)


def test_relations_to_undeclared_objects_and_repeated_ids_are_named(tmp_path: Path) -> None:
    row = hub_rows([example("1", [MAN, DOG], [(0, "near", 1)])])[0]
    row["objects"] = row["objects"].replace("dog.2", "man.1")
    row["relationships"] = json.dumps(
        [
            {"subject": "man.1", "predicate": "near", "object": "dog.2"},
            {"subject": "man.1", "predicate": None, "object": "man.1"},
        ]
    )
    read, faults = open_data(f"hub:{write_parquet(tmp_path, [row])}").read(0)
    assert read.graph.ids == ("man.1", "man.2")
    assert not read.graph.pairs
    assert [fault.kind for fault in faults] == ["id", "relation", "name"]
    assert "'man.1' again; kept; relations refer to the first" in faults[0].text


def test_images_by_path(tmp_path: Path) -> None:
    picture = tmp_path / "фото.jpg"
    picture.write_bytes(photo((512, 384)))
    row = hub_rows([example("1", [MAN, DOG], [(0, "near", 1)])])[0] | {"image": {"bytes": None, "path": str(picture)}}
    data = HubData("paths", "train", _table([row]))
    assert data[0].image == picture
    assert data.image(data[0]).size == (512, 384)
    picture.unlink()
    with pytest.raises(ImageError, match="no such file"):
        data[0]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": photo((64, 64)), "path": None}, "image_id": "1", "caption": "a dog"}]
    with pytest.raises(InputError, match="expected the columns objects and relationships, or objects and relations"):
        open_data(f"hub:{write_parquet(tmp_path, rows)}")


def test_objects_as_columns_of_lists_are_rows() -> None:
    value = {"category_id": [1, 2], "bbox": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    assert hub._list(value, "here") == [
        {"category_id": 1, "bbox": [1, 2, 3, 4]},
        {"category_id": 2, "bbox": [5, 6, 7, 8]},
    ]
