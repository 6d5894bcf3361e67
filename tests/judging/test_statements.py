"""What a caption states against a graph: each outcome by hand, and the gold caption of any graph is supported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject
from r1sgg.judging.labels import load_similarity
from r1sgg.judging.statements import Names, judge_statements

OBJECTS = ("woman", "bicycle", "traffic light", "dog")


def graph(*triplets: tuple[int, str, int], objects: tuple[str, ...] = OBJECTS) -> SceneGraph:
    boxes = [(0.2 * k, 0.1, 0.2 * k + 0.15, 0.9) for k in range(len(objects))]
    things = [SceneObject(f"{n}.{k}", n, b) for k, (n, b) in enumerate(zip(objects, boxes, strict=True), 1)]
    return SceneGraph.build(things, [Relationship(s, p, o) for s, p, o in triplets])


TRUTH = graph((0, "riding", 1), (3, "sitting on", 1), (1, "in front of", 2), (3, "near", 0))


@pytest.mark.parametrize(
    ("statement", "kind", "exact"),
    [
        (("woman", "riding", "bicycle"), "supported", "supported"),
        (("women", "rides", "the bicycles"), "supported", "supported"),  # forms are no synonyms
        (("woman", "riding", "bike"), "supported", "invented"),
        (("person", "riding", "bike"), "supported", "invented"),
        (("lady", "riding", "bicycle"), "supported", "invented"),
        (("dog", "on", "bicycle"), "supported", "predicate"),  # the graph says more
        (("woman", "on", "bicycle"), "supported", "predicate"),
        (("dog", "standing next to", "woman"), "supported", "predicate"),
        (("bicycle", "ridden by", "woman"), "supported", "supported"),
        (("woman", "pushing", "bicycle"), "predicate", "predicate"),
        (("bicycle", "riding", "woman"), "reversed", "reversed"),
        (("woman", "holding", "traffic light"), "unrelated", "unrelated"),
        (("woman", "holding", "umbrella"), "invented", "invented"),
        (("cat", "on", "umbrella"), "invented", "invented"),
    ],
)
def test_outcomes(statement: Names, kind: str, exact: str) -> None:
    (verdict,) = judge_statements([statement], [], TRUTH, load_similarity("glove")).verdicts
    assert verdict.kind == kind
    (verdict,) = judge_statements([statement], [], TRUTH, exact=True).verdicts
    assert verdict.kind == exact
    assert (verdict.relationship is not None) == (exact in ("supported", "predicate", "reversed"))


def test_coverage_and_invented_nouns() -> None:
    said = [("woman", "riding", "bike"), ("woman", "on", "bike")]
    judged = judge_statements(said, ["woman", "bike", "umbrella", "umbrella", "cloud"], TRUTH)
    assert judged.covered == {0}
    assert judged.invented == ("umbrella", "cloud")
    assert judged.mentioned == 4


@pytest.mark.parametrize("empty", [EMPTY, graph()])
def test_a_graph_without_relations_supports_nothing(empty: SceneGraph) -> None:
    judged = judge_statements([("woman", "riding", "bicycle")], ["woman"], empty)
    assert judged.verdicts[0].kind == ("unrelated" if len(empty) else "invented")
    assert judged.covered == frozenset()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(("riding", "near", "sitting on", "on")), st.integers(0, 3)).filter(
            lambda t: t[0] != t[2]
        ),
        unique=True,
    ),
    st.booleans(),
)
def test_what_the_graph_says_is_supported_and_covers_it(triplets: list[tuple[int, str, int]], exact: bool) -> None:
    truth = graph(*triplets)
    judged = judge_statements(truth.triplets, truth.labels, truth, exact=exact)
    assert {verdict.kind for verdict in judged.verdicts} <= {"supported"}
    assert judged.covered == frozenset(range(len(triplets)))
    assert judged.invented == ()
