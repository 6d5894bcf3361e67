"""The reward for incomplete truth: it is the F1 where the truth is complete, and its costs follow the equation."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.data.base import Example, write_ground_truth
from r1sgg.errors import InputError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import parse, render
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.rubric import Rubric
from r1sgg.rewards.sparse import ENOUGH, PRIOR, ClassDensity, density, triplet_pu

from .test_hacks import graphs as vg_graphs  # noqa: F401 - a fixture
from .test_hacks import hacks  # noqa: F401 - likewise
from .test_reward_properties import graphs, with_triplets

EXACT = load_similarity("exact")
BOTH = Rubric({"triplet_f1": 1.0, "triplet_pu": 1.0}, EXACT)
FRAME = (1000.0, 1000.0)

LABELS = ("man", "horse", "dog", "tree")


def scene(*triplets: tuple[int, str, int], labels: tuple[str, ...] = LABELS) -> SceneGraph:
    """Objects in a row, apart from each other."""
    boxes = [(0.2 * k, 0.1, 0.2 * k + 0.15, 0.9) for k in range(len(labels))]
    objects = [SceneObject(f"{n}.{k + 1}", n, b) for k, (n, b) in enumerate(zip(labels, boxes, strict=True))]
    return SceneGraph.build(objects, [Relationship(s, p, o) for s, p, o in triplets])


def terms(answer: SceneGraph, truth: SceneGraph, rubric: Rubric = BOTH) -> dict[str, float | None]:
    return rubric.score([render(answer, FRAME)], [truth], [FRAME])[0].terms


def evidence(answer: SceneGraph, truth: SceneGraph):
    text = render(answer, FRAME)
    return BOTH.evidence([text], [parse(text, FRAME)], [truth], [FRAME])


TRUTH = scene((0, "riding", 1))  # one of the six pairs is annotated
RHO = 1 / 6


@pytest.mark.parametrize(
    ("more", "cost"),
    [
        ([], 0.0),
        ([(2, "near", 3)], RHO),  # an unlabelled pair
        ([(2, "near", 3), (3, "near", 2)], 2 * RHO),  # each direction is one
        ([(2, "near", 3), (2, "under", 3)], RHO + 1),  # a second predicate on it
        ([(0, "near", 1)], 1.0),  # the annotation says something else about these two
        ([(1, "under", 0)], 1.0),
        ([(0, "near", 2), (0, "near", 3)], 2 * RHO),
    ],
)
def test_costs_are_those_of_the_equation(more: list[tuple[int, str, int]], cost: float) -> None:
    answer = scene((0, "riding", 1), *more)
    found = terms(answer, TRUTH)
    assert found["triplet_pu"] == pytest.approx(2 / (1 + 1 + cost))
    assert found["triplet_f1"] == pytest.approx(2 / (1 + 1 + len(more)))


def test_what_is_no_object_of_the_truth_or_said_before_costs_1() -> None:
    invented = scene((0, "riding", 1), (0, "near", 4), labels=(*LABELS, "cat"))
    assert terms(invented, TRUTH)["triplet_pu"] == pytest.approx(2 / 3)
    text = render(scene((0, "riding", 1), (2, "near", 3)), FRAME)
    again = text.replace(
        '{"subject":"dog.3"', '{"subject":"man.1","predicate":"riding","object":"horse.2"},{"subject":"dog.3"'
    )
    if again == text:
        again = text.replace(
            '{"subject": "dog.3"',
            '{"subject": "man.1", "predicate": "riding", "object": "horse.2"}, {"subject": "dog.3"',
        )
    assert again != text
    (score,) = BOTH.score([again], [TRUTH], [FRAME])
    assert score.terms["triplet_pu"] == pytest.approx(2 / (2 + 1 + RHO))


def test_an_image_without_relations_says_nothing_of_any() -> None:
    assert terms(scene((0, "near", 1)), scene())["triplet_pu"] is None
    assert terms(scene((0, "near", 1)), scene())["triplet_f1"] == 0


def test_density_counts_pairs_of_distinct_objects() -> None:
    for triplets, pairs in (
        (((0, "a", 1),), 1),
        (((0, "a", 1), (1, "b", 0), (0, "c", 1)), 1),
        (((0, "a", 1), (2, "a", 3)), 2),
    ):
        assert density(evidence(scene(), scene(*triplets))) == pytest.approx([pairs / 6])
    assert density(evidence(scene(), scene(labels=("man",)))) == [1.0]


@given(graphs(least=1), graphs(), st.sampled_from(("on", "riding")))
@settings(max_examples=60)
def test_where_every_pair_is_annotated_it_is_the_f1(truth: SceneGraph, answer: SceneGraph, predicate: str) -> None:
    pairs = [pair for pair in itertools.combinations(range(len(truth)), 2) if pair not in truth.pairs]
    full = with_triplets(truth, [(pair, predicate) for pair in pairs])
    found = terms(answer, full)
    if full.pairs:
        assert found["triplet_pu"] == pytest.approx(found["triplet_f1"], abs=1e-12)


@given(graphs(least=1), graphs())
@settings(max_examples=60)
def test_it_never_punishes_more_than_the_f1(truth: SceneGraph, answer: SceneGraph) -> None:
    found = terms(answer, truth)
    if truth.pairs:
        assert found["triplet_pu"] >= found["triplet_f1"] - 1e-12  # type: ignore[operator]


@given(st.integers(3, 9), st.data())
@settings(max_examples=30)
def test_all_unlabelled_pairs_together_cost_at_most_twice_the_related_ones(count: int, data: st.DataObject) -> None:
    labels = tuple(f"thing{chr(97 + k)}" for k in range(count))
    boxes = [(0.1 * k, 0.1, 0.1 * k + 0.08, 0.9) for k in range(count)]
    objects = [SceneObject(f"{n}.1", n, b) for n, b in zip(labels, boxes, strict=True)]
    pairs = data.draw(st.lists(st.sampled_from(list(itertools.combinations(range(count), 2))), min_size=1, unique=True))
    truth = SceneGraph.build(objects, [Relationship(a, "on", b) for a, b in pairs])
    everything = SceneGraph.build(
        objects, [Relationship(a, "on", b) for a, b in itertools.permutations(range(count), 2)]
    )
    related = len(pairs)
    cost = 2 * related / terms(everything, truth)["triplet_pu"] - 2 * related  # type: ignore[operator]
    assert cost <= related + 2 * related + 1e-6  # the other direction of each related pair, and all the others


# ---------------------------------------------------------------- class statistics


def test_class_statistics_replace_the_image_s_density() -> None:
    seen = [scene((0, "riding", 1))] * 30 + [scene((2, "near", 3))] * 20
    statistics = ClassDensity.of_graphs(seen)
    assert statistics.shown["dog", "tree"] == 50
    assert statistics.cost("dog", "near", "tree", 0.5) == pytest.approx((20 + PRIOR * 0.5) / (50 + PRIOR))
    assert statistics.cost("dog", "eating", "tree", 0.5) == 1.0  # related 20 times, never so
    assert statistics.cost("zebra", "near", "tree", 0.5) == 0.5  # nothing is known: the image's own
    few = ClassDensity.of_graphs([scene((2, "near", 3))] * (ENOUGH - 1))
    assert few.cost("dog", "eating", "tree", 0.5) < 1
    answer = scene((0, "riding", 1), (2, "near", 3), (2, "eating", 3))
    (value,) = statistics(evidence(answer, TRUTH))
    assert value == pytest.approx(2 / (2 + (20 + PRIOR * RHO) / (50 + PRIOR) + 1))


def test_a_training_file_gives_the_statistics(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_ground_truth(path, [Example(str(k), 100, 100, scene((2, "near", 3))) for k in range(12)])
    answer = scene((0, "riding", 1), (2, "eating", 3))
    plain, informed = Rubric.of("sparse", EXACT), Rubric.of(f"sparse:{path}", EXACT)
    assert informed.weights == plain.weights
    assert terms(answer, TRUTH, plain)["triplet_pu"] == pytest.approx(2 / (2 + RHO))
    assert terms(answer, TRUTH, informed)["triplet_pu"] == pytest.approx(2 / 3)
    with pytest.raises(InputError):
        Rubric.of("sparse:nowhere.jsonl")


# ---------------------------------------------------------------- gaming


def test_sparse_pays_for_more_than_is_annotated_but_not_for_listing(hacks, vg_graphs) -> None:  # noqa: F811
    rows = hacks.measure(vg_graphs[:24], ["balanced", "sparse"])
    gold = rows["ground truth"]
    beyond = rows["ground truth, and 5 pairs that nobody annotated"]
    assert gold["sparse"] - beyond["sparse"] < 0.06
    assert gold["balanced"] - beyond["balanced"] > 0.15
    exact = rows["honest: exact objects, 4/5 of predicates"]["sparse"]
    for name, (knows, _) in (hacks.HACKS | hacks.MOVED).items():
        if knows == "objects":
            assert rows[name]["sparse"] <= exact - 0.1, name
        elif knows in ("nothing", "boxes"):
            assert rows[name]["sparse"] <= rows["honest: 4/5 of objects and predicates"]["sparse"] - 0.4, name
    assert rows["keywords only"]["sparse"] < 0.05
    assert np.isclose(gold["sparse"], 1.0, atol=0.005)


def test_the_term_has_its_name() -> None:
    assert triplet_pu.__name__ in BOTH.names
