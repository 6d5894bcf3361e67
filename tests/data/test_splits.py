"""What results say about a set, zero-shot triplets, and the open-vocabulary splits of VG150."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.sources import open_data
from r1sgg.data.splits import (
    MODES,
    describe,
    difference,
    novel_relations,
    open_vocabulary,
    part_of,
    training_graph,
)
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.open_vocabulary import NOVEL_OBJECTS, NOVEL_PREDICATES, PARENTS, novelty
from r1sgg.graph.records import graph_of_rows
from r1sgg.graph.text import number_ids
from r1sgg.graph.vocabulary import VG150, load_vocabulary
from tests.data.annotation_files import example, examples, write_jsonl, write_vg150

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
