"""Alignment, grounding and merging, each on cases that can be decided by hand; the ledger adds up."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.data.captions.aligning import Aligner
from r1sgg.data.captions.boxes_file import given_boxes
from r1sgg.data.captions.grounding import SAME_BOX_IOU, by_trace
from r1sgg.data.captions.making import Maker
from r1sgg.data.captions.phrases import Extraction, Link, Phrase
from r1sgg.data.captions.plain_parser import PlainParser
from r1sgg.data.captions.provenance import DROPPED_AT, GROUNDED, KEPT, KEY, PHRASES, READ, CaptionLedger
from r1sgg.data.captions.records import Caption, Captioned, NamedBox, Point, Spoken
from r1sgg.graph.vocabulary import OPEN, PSG, VG150

PARSER = PlainParser()


def record(*texts: str, boxes: dict[str, tuple[float, float, float, float]] | None = None) -> Captioned:
    given = None if boxes is None else tuple(NamedBox(n.partition(".")[0], b) for n, b in boxes.items())
    return Captioned("1", 100, 100, tuple(Caption(text) for text in texts), given)


def make(found: Captioned, vocabulary=VG150, ground: str = "given", how: str = "rules", *, keep: bool = False):
    maker = Maker(Aligner(vocabulary, how), ground, given_boxes if ground == "given" else None, keep_boxes=keep)
    extractions = [e._replace(caption=k) for k, e in enumerate(PARSER.parse([c.text for c in found.captions]))]
    names = maker.names(found, extractions)
    maker.aligner.prepare(*map(sorted, names))
    return maker.make(found, extractions)


def said(example) -> set[tuple[str, str, str]]:
    ids = example.graph.ids
    return {(ids[s], p, ids[o]) for (s, o), p in zip(example.graph.pairs, example.graph.predicates, strict=True)}


# ---------------------------------------------------------------- alignment


@pytest.mark.parametrize(
    ("name", "target", "how"),
    [
        ("man", "man", ""),
        ("horses", "horse", "normal form"),
        ("bicycle", "bike", "synonym"),
        ("pigeon", "bird", "synonym"),
        ("polar bear", "bear", "synonym"),
        ("kitchen table", "table", "head noun"),
        ("zorgl", None, "not in vocabulary"),
        ("", None, "not in vocabulary"),
    ],
)
def test_nouns_are_aligned_by_rules(name: str, target: str | None, how: str) -> None:
    aligner = Aligner(VG150)
    aligner.prepare([name], [])
    assert aligner.object(name)[:2] == (target, how)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("riding", "riding"),
        ("next to", "near"),
        ("sitting next to", "near"),
        ("standing in front of", "in front of"),
        ("sitting on", "sitting on"),  # never without its verb where the vocabulary has it
        ("is wearing", "wearing"),
        ("waiting", None),
        ("eating next to", None),  # eating is no posture: it says more than where
    ],
)
def test_predicates_are_aligned_by_rules(name: str, target: str | None) -> None:
    aligner = Aligner(VG150)
    aligner.prepare([], [name])
    assert aligner.predicate(name).name == target


def test_an_open_vocabulary_keeps_every_name() -> None:
    aligner = Aligner(OPEN)
    aligner.prepare(["zorgl"], ["is over the"])
    assert (aligner.object("zorgl").name, aligner.predicate("is over the").name) == ("zorgl", "over")


def test_each_distinct_name_is_asked_once_and_only_what_rules_leave() -> None:
    asked: list[tuple[str, list[str]]] = []

    def ask(kind: str, names):
        asked.append((kind, list(names)))
        return dict.fromkeys(names, "dog" if kind == "object" else None)

    aligner = Aligner(VG150, "an engine", ask)
    aligner.prepare(["wombat", "man", "123", "wombat"], ["frobbing", "on", "one two three four five"])
    aligner.prepare(["wombat", "quokka"], ["frobbing"])
    assert asked == [("object", ["wombat"]), ("predicate", ["frobbing"]), ("object", ["quokka"])]
    assert aligner.object("wombat") == ("dog", "an engine", False)
    assert aligner.predicate("frobbing") == (None, "none (an engine)", False)


# ---------------------------------------------------------------- grounding in given boxes

NEAR_AND_FAR = {"man": (0, 0, 20, 40), "horse.1": (60, 60, 99, 99), "horse.2": (10, 20, 40, 60)}


def test_of_several_boxes_the_closest_is_taken() -> None:
    example = make(record("A man rides a horse.", boxes=NEAR_AND_FAR))
    assert said(example) == {("man.1", "riding", "horse.1")}
    assert example.pixel_boxes.tolist() == [[0, 0, 20, 40], [10, 20, 40, 60]]
    (row,) = example.meta[KEY]["triplets"]
    assert row["grounded"] == [1.0, 0.5]  # one of two horses


def test_given_boxes_that_nobody_mentions_are_kept_if_asked() -> None:
    assert len(make(record("A man rides a horse.", boxes=NEAR_AND_FAR), keep=True).graph) == 3


def test_a_phrase_has_one_box_in_all_relations_of_a_caption() -> None:
    boxes = {"man": (0, 0, 20, 40), "horse.1": (10, 20, 40, 60), "horse.2": (60, 60, 99, 99), "tree": (80, 50, 99, 90)}
    found = said(make(record("A man rides a horse next to a tree.", boxes=boxes)))
    assert found == {("man.1", "riding", "horse.1"), ("horse.1", "near", "tree.1")}


@pytest.mark.parametrize(
    ("caption", "many"), [("A bird is near a tree", 1), ("Two birds are near a tree", 2), ("Birds are near a tree", 3)]
)
def test_a_plural_takes_as_many_boxes_as_it_says(caption: str, many: int) -> None:
    boxes = {f"bird.{k}": (10.0 * k, 0, 10.0 * k + 8, 8) for k in range(3)} | {"tree": (70, 0, 99, 90)}
    example = make(record(caption, boxes=boxes))
    assert len(example.graph.pairs) == many
    assert example.meta[KEY]["counts"][KEPT] == many


def test_two_plurals_of_one_size_go_one_to_one() -> None:
    boxes = {"man.1": (0, 0, 10, 50), "man.2": (50, 0, 60, 50), "hat.1": (50, 0, 58, 5), "hat.2": (0, 0, 8, 5)}
    example = make(record("Two men wearing two hats", boxes=boxes))
    left = example.pixel_boxes[:, 0].tolist()
    pairs = {(left[s], left[o]) for s, o in example.graph.pairs}
    assert pairs == {(0, 0), (50, 50)}


def test_another_word_for_a_box_grounds_in_it() -> None:
    boxes = {"woman": (0, 0, 20, 40), "horse": (10, 20, 40, 60)}
    assert said(make(record("A person rides a pony.", boxes=boxes))) == {("woman.1", "riding", "horse.1")}


def test_a_passive_turned_by_alignment_keeps_its_boxes() -> None:
    boxes = {"shirt": (0, 0, 20, 40), "man": (10, 20, 40, 60)}
    aligner = Aligner(VG150)
    aligner.prepare(["man", "shirt"], ["worn by"])
    maker = Maker(aligner, "given", given_boxes)
    extraction = Extraction((Phrase("shirt", 0, 0), Phrase("man", 0, 0)), (Link(0, "worn by", 1),), "test")
    example = maker.make(record("x", boxes=boxes), [extraction])
    assert said(example) == {("man.1", "wearing", "shirt.1")}


def test_what_has_no_box_is_dropped_and_counted() -> None:
    counts = make(record("A man rides a horse.", boxes={"man": (0, 0, 9, 9)})).meta[KEY]["counts"]
    assert counts == {
        "captions": 1, "phrases": 2, PHRASES: 2, GROUNDED: 1, READ: 1, DROPPED_AT[2]: 1,
    }  # fmt: skip


# ---------------------------------------------------------------- regions, traces


def test_whole_takes_the_region_or_the_image_and_locates_nothing() -> None:
    found = Captioned("1", 100, 100, (Caption("a man on a horse", (10, 20, 120, 90)), Caption("a dog near a cat")))
    example = make(found, ground="whole")
    boxes = dict(zip(example.graph.ids, example.pixel_boxes.tolist(), strict=True))
    assert boxes["man.1"] == [10, 20, 100, 90]  # clipped to the image
    assert boxes["dog.1"] == [0, 0, 100, 100]
    assert all(row["grounded"] == [0.0, 0.0] for row in example.meta[KEY]["triplets"])


def test_a_trace_is_the_box_of_the_points_while_a_phrase_was_said() -> None:
    text = "A man near a dog"
    caption = Caption(
        text,
        None,
        (Spoken(0, 5, 0.0, 1.0), Spoken(6, 16, 3.0, 4.0)),
        (Point(0.1, 0.1, 0.2), Point(0.3, 0.5, 0.8), Point(1.4, 0.5, 0.9), Point(0.7, 0.7, 3.5), Point(0.9, 0.9, 9.0)),
    )
    found = Captioned("1", 100, 200, (caption,))
    box, score = by_trace(caption, Phrase("man", 0, 5), found) or ((), 0)
    assert box == pytest.approx((10, 20, 30, 100))
    assert score == pytest.approx(2 / 3)  # a third point is outside the image
    resting, _ = by_trace(caption, Phrase("dog", 11, 16), found) or ((), 0)
    assert resting == pytest.approx((69, 138, 71, 142))  # a mouse that rests is a small box
    assert by_trace(caption, Phrase("cat", 40, 45), found) is None
    assert by_trace(Caption(text), Phrase("man", 0, 5), found) is None


# ---------------------------------------------------------------- merging and the ledger


def test_same_name_boxes_that_overlap_are_one_object_and_a_repeated_triplet_names_all_its_captions() -> None:
    assert SAME_BOX_IOU == 0.7
    boxes = {"man.1": (0, 0, 20, 40), "man.2": (0, 0, 20, 38), "horse": (10, 20, 40, 60)}
    example = make(record("A man rides a horse.", "The horse is ridden by a man.", boxes=boxes))
    assert said(example) == {("man.1", "riding", "horse.1")}
    (row,) = example.meta[KEY]["triplets"]
    assert row["captions"] == [0, 1]


CAPTIONS = st.lists(
    st.sampled_from(
        [
            *("A man rides a horse.", "Two men are near a tree and a zorgl.", "The hat is worn by a boy.", "Dogs"),
            *(
                "A man frobs a horse near a dog.",
                "a cat on a cat",
                "People on horses in front of a house",
                "of and the",
            ),
        ]
    ),
    min_size=1,
    max_size=5,
)
BOXES = st.dictionaries(
    st.sampled_from([f"{n}.{k}" for n in ("man", "horse", "dog", "cat", "tree", "house", "hat") for k in range(2)]),
    st.tuples(st.integers(-9, 80), st.integers(-9, 80), st.integers(1, 40), st.integers(1, 40)).map(
        lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
    ),
    max_size=8,
)


@given(CAPTIONS, BOXES, st.sampled_from(["given", "whole"]), st.sampled_from([VG150, PSG, OPEN]), st.booleans())
def test_every_triplet_that_was_read_is_kept_or_counted_as_dropped(texts, boxes, ground, vocabulary, keep) -> None:
    example = make(record(*texts, boxes=boxes), vocabulary, ground, keep=keep)
    provenance = example.meta[KEY]
    counts = Counter(provenance["counts"])
    assert counts[READ] == counts[KEPT] + sum(counts[step] for step in DROPPED_AT)
    assert counts[KEPT] == len(example.graph.pairs) == len(provenance["triplets"])
    assert len({*zip(example.graph.pairs, example.graph.predicates, strict=True)}) == len(example.graph.pairs)
    assert vocabulary.covers(example.graph)
    assert all(0 <= s <= 1 for row in provenance["triplets"] for s in row["grounded"])
    assert all(0 <= k < len(texts) for row in provenance["triplets"] for k in row["captions"])
    boxes_N4 = example.graph.boxes
    assert ((boxes_N4 >= 0) & (boxes_N4 <= 1)).all()
    ledger = CaptionLedger()
    ledger.add(example.meta)
    assert ledger.counts[KEPT] == len(example.graph.pairs)


def test_a_ledger_ignores_what_others_wrote_under_meta() -> None:
    ledger = CaptionLedger()
    for meta in (None, 3, {}, {KEY: 3}, {KEY: {"counts": "x", "triplets": [3]}}, {KEY: {"counts": {"a": "b"}}}):
        ledger.add(meta)
    assert not ledger.counts.total()
