"""What results say about a set, zero-shot triplets, and the open-vocabulary splits of VG150."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.bulk.inputs import JsonlImages
from r1sgg.cli import main
from r1sgg.data.base import read_ground_truth
from r1sgg.data.sources import open_data
from r1sgg.data.splits import (
    MODES,
    describe,
    difference,
    novel_relations,
    open_vocabulary,
    parse_parts,
    part_of,
    part_of_image,
    partition,
    training_graph,
)
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.open_vocabulary import NOVEL_OBJECTS, NOVEL_PREDICATES, PARENTS, novelty
from r1sgg.graph.records import graph_of_rows
from r1sgg.graph.text import number_ids
from r1sgg.graph.vocabulary import VG150, load_vocabulary
from tests.data.annotation_files import example, examples, write_coco, write_jsonl, write_vg150

BOX = (10, 20, 100, 200)
BASE_OBJECTS = set(VG150.objects) - NOVEL_OBJECTS
BASE_PREDICATES = set(VG150.predicates) - NOVEL_PREDICATES


def test_base_and_novel_names_are_the_published_ones(shared: Path) -> None:
    published = json.loads((shared / "data" / "vg150_open_vocab_split.json").read_text())
    assert set(published["base_objects"]) == BASE_OBJECTS
    assert set(published["novel_objects"]) == NOVEL_OBJECTS
    assert set(published["base_predicates"]) == BASE_PREDICATES
    assert set(published["novel_predicates"]) == NOVEL_PREDICATES


def test_base_and_novel_make_up_the_vocabulary() -> None:
    assert (len(BASE_OBJECTS), len(NOVEL_OBJECTS)) == (105, 45)
    assert (len(BASE_PREDICATES), len(NOVEL_PREDICATES)) == (35, 15)
    assert set(VG150.objects) >= NOVEL_OBJECTS
    assert set(VG150.predicates) >= NOVEL_PREDICATES


GRAPH = example(
    "1",
    [("bear", BOX), ("dog", BOX), ("rock", BOX), ("bear", BOX)],
    [(0, "near", 2), (0, "on", 2), (1, "near", 2), (1, "on", 0), (3, "near", 0)],
).graph
# bear and rock are base, dog is novel; "near" is base, "on" is novel
TRAINING = {
    "OvD": (
        ("bear", "animal", "rock", "bear"),
        ["bear near rock", "bear on rock", "animal near rock", "animal on bear", "bear near bear"],
    ),
    "OvR": (("bear", "dog", "rock", "bear"), ["bear near rock", "dog near rock", "bear near bear"]),
    "OvD+R": (("bear", "animal", "rock", "bear"), ["bear near rock", "animal near rock", "bear near bear"]),
}
DROPPED = {
    "OvD": (("bear", "rock", "bear"), ["bear near rock", "bear on rock", "bear near bear"]),
    "OvR": TRAINING["OvR"],
    "OvD+R": (("bear", "rock", "bear"), ["bear near rock", "bear near bear"]),
}
NOVEL = {
    "OvD": [False, False, False, False, False],  # one novel end is not enough
    "OvR": [False, True, False, True, False],
    "OvD+R": [False, True, False, True, False],
}


@pytest.mark.parametrize("mode", MODES)
def test_what_each_mode_trains_on_and_calls_novel(mode: str) -> None:
    for parents, wanted in ((True, TRAINING), (False, DROPPED)):
        graph = training_graph(GRAPH, mode, parents=parents)
        assert (graph.labels, [" ".join(t) for t in graph.triplets]) == wanted[mode]
        assert graph.ids == (number_ids(graph.labels) if mode != "OvR" else GRAPH.ids)
    assert novel_relations(GRAPH, mode) == NOVEL[mode]
    both = example("2", [("dog", BOX), ("cat", BOX)], [(0, "near", 1)]).graph
    assert novel_relations(both, mode) == [mode != "OvR"]


@given(st.integers(0, 200), st.sampled_from(MODES), st.booleans())
def test_base_and_novel_share_nothing_and_training_sees_base_only(seed: int, mode: str, parents: bool) -> None:
    graph = examples(1, seed)[0].graph
    base, novel = (part_of(graph, mode, part) for part in ("base", "novel"))
    assert base.labels == novel.labels == graph.labels
    assert sorted(base.triplets + novel.triplets) == sorted(graph.triplets)
    seen = training_graph(graph, mode, parents=parents)
    assert seen == training_graph(graph, mode, parents=parents), "a parent is drawn once and for all"
    assert mode == "OvR" or NOVEL_OBJECTS.isdisjoint(seen.labels)
    assert mode == "OvD" or NOVEL_PREDICATES.isdisjoint(seen.predicates)


def test_parents_are_base_classes_of_thirty_novel_ones() -> None:
    assert len(PARENTS) == 30
    assert set(PARENTS) < NOVEL_OBJECTS
    assert {parent for names in PARENTS.values() for parent in names} <= BASE_OBJECTS
    bikes = example("1", [("bike", BOX)] * 40 + [("tree", BOX)], [(0, "near", 1)]).graph
    assert set(training_graph(bikes, "OvD").labels) == {"vehicle", "motorcycle", "plant"}


def test_prompts_of_training_list_base_names_only() -> None:
    for mode, objects, predicates in (("ovd", 105, 50), ("ovr", 150, 35), ("ovd+r", 105, 35)):
        names = load_vocabulary(f"vg150-{mode}")
        assert (len(names.objects), len(names.predicates)) == (objects, predicates)
        assert mode == "ovr" or NOVEL_OBJECTS.isdisjoint(names.objects)
        assert mode == "ovd" or NOVEL_PREDICATES.isdisjoint(names.predicates)


def test_the_sample_images_have_the_relations_that_were_counted(shared: Path) -> None:
    rows = json.loads((shared / "data" / "vg_sample" / "vg150_style_images_1-49.json").read_text())
    graphs = [graph_of_rows(r["objects"], r["relationships"], (1, 1), "here", exported=True) for r in rows]
    assert sum(len(g.pairs) for g in graphs) == 269
    bits = [novelty(t) for g in graphs for t in g.triplets]
    assert sum(bit & 1 > 0 for bit in bits) == 108
    assert sum(bit & 2 > 0 for bit in bits) == 142
    for parents, kept in ((True, 193), (False, 89)):
        assert sum(len(training_graph(g, "OvD", parents=parents).pairs) for g in graphs) == kept


def test_a_specification_opens_the_parts(tmp_path: Path) -> None:
    items = [
        example("1", [("bear", BOX), ("rock", BOX)], [(0, "near", 1)]),
        example("2", [("dog", BOX), ("rock", BOX)], [(0, "on", 1)]),
        example("3", [("bear", BOX), ("dog", BOX)], [(0, "near", 1), (0, "on", 1)]),
    ]
    folder = write_vg150(tmp_path, items, photos=True)
    found = {
        part: [(i.image_id, len(i.graph.pairs)) for i in open_data(f"vg150:{folder},val_images=0,open=OvR,part={part}")]
        for part in ("train", "base", "novel")
    }
    assert found == {"train": [("1", 1), ("3", 1)], "base": [("1", 1), ("3", 1)], "novel": [("2", 1), ("3", 1)]}
    assert len(open_data(f"vg150:{folder},val_images=0,open=OvD")) == 3
    assert len(open_data(f"vg150:{folder},val_images=0,open=ovd+r")) == 2, "as `runs/open.sh` spells it"
    data = open_data(f"vg150:{folder},val_images=0,open=OvD,parents=no")
    assert [item.image_id for item in data] == ["1"]
    assert data.image(data[0]).size == (512, 384)
    assert "2 of 3 images without" in data.notes[-1].text
    assert data.hashes() != open_data(f"vg150:{folder},val_images=0").hashes()


def test_modes_and_parts_that_do_not_exist_are_one_sentence(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "gt.jsonl", [example("1", [("dog", BOX), ("cat", BOX)], [(0, "on", 1)])])
    for options, said in (
        ("open=OvX", "expected open= one of OvD, OvR, OvD+R, found 'OvX'"),
        ("open=OvR,part=all", "expected part= one of train, base, novel"),
        ("part=novel", "expected open= one of OvD, OvR, OvD+R, found ''"),
    ):
        with pytest.raises(ConfigError) as caught:
            open_data(f"jsonl:{path},{options}")
        assert said in str(caught.value)
    with pytest.raises(InputError, match="expected relations for open=OvD, part=train, found none"):
        open_data(f"jsonl:{path},open=OvD,parents=no")
    with pytest.raises(ConfigError, match="found 'all'"):
        open_vocabulary(open_data(str(path)), "OvR", "all")


def _described(spec: str, split: str | None, images: str = "a") -> dict[str, object]:
    return {"name": spec, "split": split, "hashes": {"images": images, "annotations": "x"}}


@pytest.mark.parametrize(
    ("trained", "evaluated", "said"),
    [
        (("vg150:D,split=train", "train", "a"), ("vg150:D,split=test", "test", "b"), None),
        (("vg150:D", "train", "a"), ("vg150:D,split=val,scale=512", "val", "b"), None),
        (("vg150:D", "train", "a"), ("vg150:D,splits=split_rel,split=test", "test", "b"), "evaluated on another set"),
        (("vg150:D", "train", "a"), ("vg150:D,val_images=100,split=val", "val", "b"), "evaluated on another set"),
        (("vg150:D", "train", "a"), ("psg:D,split=test", "test", "b"), "trained on vg150:D (split train), evaluated"),
        (("a.jsonl", None, "a"), ("b.jsonl", None, "b"), None),
        (("scenes:9", "train", "a"), ("b.jsonl", None, "b"), "evaluated on another set: b.jsonl (split None)"),
        (("a.jsonl", None, "a"), ("b.jsonl", None, "a"), "has the same images that the model was trained on"),
        (("vg150:D", "train", "a"), ("vg150:D,val_images=5000", "train", "b"), "evaluated on another set"),
        (("vg150:D,open=OvR", "train", "a"), ("vg150:D,split=test", "test", "b"), None),
        (("scenes:9,seed=1", "train", "a"), ("scenes:5,split=test", "test", "b"), None),
        (("scenes:9,seed=1", "train", "a"), ("scenes:5,seed=2", "train", "b"), "is a training split"),
        (("scenes:9,preset=small", "train", "a"), ("scenes:5,preset=hard", "test", "b"), "another set"),
        (("scenes:9,preset=standard", "train", "a"), ("scenes:5,preset=hard", "test", "b"), None),
    ],
)
def test_another_split_is_said_aloud(trained: tuple[str, ...], evaluated: tuple[str, ...], said: str | None) -> None:
    found = difference(_described(*trained), _described(*evaluated))
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_a_description_carries_both_hashes(tmp_path: Path) -> None:
    data = open_data(str(write_jsonl(tmp_path / "gt.jsonl", examples(3))))
    assert describe(data) == {"name": data.name, "split": None, "images": 3, "hashes": data.hashes()}
    assert difference(describe(data), describe(data)) is not None


# ---------------------------------------------------------------- a split of one's own data


def test_an_image_stays_in_its_part_whatever_other_images_there_are() -> None:
    shares = parse_parts("train=80,val=10,test=10")
    assert shares == parse_parts("train=0.8%, val=.1%,test=0.1") == {"train": 0.8, "val": 0.1, "test": 0.1}
    ids = [f"image-{k}" for k in range(4000)]
    parts = {name: part_of_image(name, shares) for name in ids}
    for name, share in shares.items():
        assert [*parts.values()].count(name) == pytest.approx(4000 * share, rel=0.15)
    assert {name: part_of_image(name, shares) for name in ids[::7]} == {name: parts[name] for name in ids[::7]}
    assert sum(part_of_image(name, shares, seed=1) != parts[name] for name in ids) > 1000


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ("train", "found 'train'"),
        ("train=1", "at least two parts, found 'train=1'"),
        ("train=1,train=2", "found 'train=2' again"),
        ("train=1,val=0", "found 'val=0'"),
        ("../train=1,val=1", "found '../train=1'"),
        ("train=-1,val=1", "found 'train=-1'"),
    ],
)
def test_wrong_parts_are_one_sentence(parts: str, found: str) -> None:
    with pytest.raises(ConfigError, match="--parts: expected") as error:
        parse_parts(parts)
    assert found in str(error.value)


def test_a_series_is_in_one_part(tmp_path: Path) -> None:
    names = [f"video{k // 4}_{k % 4}" for k in range(200)]
    data = open_data(str(write_jsonl(tmp_path / "all.jsonl", [example(name, [("man", BOX)]) for name in names])))
    shares = parse_parts("train=1,test=1")

    def videos(series: str | None) -> set[str]:
        rows = partition(data, shares, series=series).rows
        train, test = ({names[k].partition("_")[0] for k in rows[name]} for name in ("train", "test"))
        return train & test

    assert len(videos(None)) > 10
    assert not videos("^[^_]+")
    with pytest.raises(ConfigError, match="expected a match in every image id, found none in 'video0_0'"):
        partition(data, shares, series="clip")
    with pytest.raises(ConfigError, match="expected a regular expression"):
        partition(data, shares, series="(")


def test_the_command_writes_parts_that_share_no_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    truths = examples(60)
    write_coco(tmp_path / "set", truths, "train", photos=True)
    (tmp_path / "set" / "plain.json").write_text(
        json.dumps(
            {
                key: value
                for key, value in json.loads((tmp_path / "set/train/_annotations.coco.json").read_text()).items()
                if not key.startswith("rel_")
            }
        )
    )

    def split(data: str, out: str, *more: str) -> int:
        try:
            main(["data", "split", "--data", data, "--out", str(tmp_path / out), *more])
        except SystemExit as stop:
            return int(str(stop.code or 0))
        return 0

    assert split(f"coco:{tmp_path / 'set'}", "mine") == 0
    assert "val.jsonl: " in capsys.readouterr().out
    read = {name: [*read_ground_truth(tmp_path / "mine" / f"{name}.jsonl")] for name in ("train", "val", "test")}
    ids = [e.image_id for part in read.values() for e in part]
    assert sorted(ids) == sorted(e.image_id for e in truths)
    assert all(e.split == name and e.image is not None and e.image.is_file() for name, p in read.items() for e in p)
    by_id = {e.image_id: e.graph.triplets for e in truths}
    assert all(e.graph.triplets == by_id[e.image_id] for part in read.values() for e in part)
    names = load_vocabulary(str(tmp_path / "mine" / "vocabulary.json"))
    assert names.name == "mine"
    assert all(names.covers(e.graph) for e in truths)
    first = (tmp_path / "mine" / "val.jsonl").read_bytes()
    assert split(f"coco:{tmp_path / 'set'}", "mine") == 0
    assert (tmp_path / "mine" / "val.jsonl").read_bytes() == first
    # images are named from the file: both can be moved together, and read from any folder
    assert all('"image":"../set/train/' in line for line in first.decode().splitlines())
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("set", "mine"):
        shutil.copytree(tmp_path / name, moved / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for path in (moved / "mine" / "train.jsonl", Path("../moved/mine/train.jsonl")):
        data = open_data(str(path))
        assert all(data.image(example).size == (example.width, example.height) for example in data)
        inputs = JsonlImages(str(path), path)
        assert all(inputs.image(place).size == inputs.size(place) for place in inputs)
        assert split(str(path), "again", "--parts", "a=1,b=1") == 0
        assert all(e.image and e.image.is_file() for e in read_ground_truth(tmp_path / "again" / "a.jsonl"))
    monkeypatch.chdir(tmp_path)
    # boxes without relations
    plain = f"coco:{tmp_path / 'set/plain.json'},images={tmp_path / 'set/train'}"
    assert split(f"{plain},empty=yes", "plain") == 0
    boxes = [e for name in ("train", "val", "test") for e in read_ground_truth(tmp_path / "plain" / f"{name}.jsonl")]
    assert {e.image_id: e.graph.labels for e in boxes} == {e.image_id: e.graph.labels for e in truths}
    assert not any(e.graph.pairs for e in boxes)
    capsys.readouterr()
    for data, out, more, said in (
        (plain, "no", (), "plain COCO has no relations: write empty=yes to use its boxes alone"),
        ("scenes:50", "no", (), "drawn scenes have splits of their own"),
        (str(tmp_path / "mine/train.jsonl"), "mine", (), "expected an output that the command does not read"),
        (str(tmp_path / "mine/val.jsonl"), "no", ("--parts", "a=1,b=1e9"), "--parts: expected NAME=SHARE"),
        (str(tmp_path / "mine/val.jsonl"), "no", ("--parts", "a=1,b=99999999"), "expected an image for part 'a'"),
    ):
        assert split(data, out, *more) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert (tmp_path / "mine" / "val.jsonl").read_bytes() == first
