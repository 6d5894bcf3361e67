"""Questions: what is asked, what is never a distractor, balance, seeds, schemes, too small vocabularies."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.data.base import Example, read_ground_truth
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.vocabulary import VG150, Vocabulary
from r1sgg.metrics.frequency import TrainingStatistics, collect
from r1sgg.probing.questions import LETTERS, SCHEMES, _generator, build_questions, draw


def example(image_id: str, *relations: tuple[int, str, int]) -> Example:
    objects = [
        SceneObject(f"{name}.{k}", name, (k / 10, 0.1, k / 10 + 0.2, 0.5))
        for k, name in enumerate(("man", "horse", "hat"), 1)
    ]
    graph = SceneGraph.build(objects, [Relationship(s, p, o) for s, p, o in relations])
    return Example(image_id, 200, 100, graph)


def of_class_pairs(**counts: dict[str, int]) -> TrainingStatistics:
    """Statistics from "man_horse" -> {predicate: count}."""
    pairs = {(name.split("_")[0], name.split("_")[1]): Counter(c) for name, c in counts.items()}
    total: Counter[str] = Counter()
    for counter in pairs.values():
        total.update(counter)
    return TrainingStatistics(predicates=total, pairs=pairs)


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from([0, 1]), st.sampled_from(VG150.predicates[:9]), st.sampled_from([1, 2])),
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(SCHEMES),
    st.integers(0, 3),
)
def test_no_option_is_true_but_the_answer(images: list[list[tuple[int, str, int]]], scheme: str, seed: int) -> None:
    examples = [example(str(k), (0, "riding", 1), *relations) for k, relations in enumerate(images)]
    asked = build_questions(
        examples, vocabulary=VG150, scheme=scheme, statistics=collect(examples), seed=seed
    ).questions
    relations = {
        (e.image_id, *pair, p) for e in examples for pair, p in zip(e.graph.pairs, e.graph.predicates, strict=True)
    }
    assert len(asked) == len(relations)
    for question in asked:
        ends = (question.example.image_id, question.subject, question.object)
        assert len(set(question.options)) == len(LETTERS)
        assert [(*ends, option) in relations for option in question.options].index(True) == question.answer
        assert sum((*ends, option) in relations for option in question.options) == 1


def test_each_letter_is_right_equally_often_from_the_first_question_on(scenes: Path) -> None:
    answers = [q.answer for q in build_questions(read_ground_truth(scenes)).questions]
    assert len(answers) > 60
    for whole in range(4, len(answers), 4):
        assert set(Counter(answers[:whole]).values()) == {whole // 4}
    assert answers[:4] != answers[4:8] or answers[:4] != answers[8:12], "the order within four differs"


def test_wrong_options_stand_in_any_order() -> None:
    likely = of_class_pairs(man_horse={"on": 10**6, "near": 10**3, "behind": 10})
    asked = build_questions(
        [example(str(k), (0, "riding", 1)) for k in range(200)],
        vocabulary=Vocabulary("mine", (), ("riding", "on", "near", "behind")),
        scheme="hard",
        statistics=likely,
    ).questions
    first = Counter(next(o for o in q.options if o != "riding") for q in asked)
    assert min(first["on"], first["near"], first["behind"]) > 40


def test_the_same_seed_asks_the_same_and_another_asks_otherwise(scenes: Path) -> None:
    examples = list(read_ground_truth(scenes))
    first = build_questions(examples, seed=1)
    assert b"".join(first.lines()) == b"".join(build_questions(iter(examples), seed=1).lines())
    assert first.hash == build_questions(examples, seed=1).hash
    assert len({first.hash, build_questions(examples, seed=2).hash, build_questions(examples[1:], seed=1).hash}) == 3


def test_distractors_do_not_depend_on_other_images(scenes: Path) -> None:
    examples = list(read_ground_truth(scenes))
    all_of_them = {q.id: set(q.options) for q in build_questions(examples, vocabulary=VG150).questions}
    some = {q.id: set(q.options) for q in build_questions(examples[3:9], vocabulary=VG150).questions}
    assert some
    assert some == {name: all_of_them[name] for name in some}


def test_the_limit_keeps_the_vocabulary_of_the_whole_file(scenes: Path) -> None:
    examples = list(read_ground_truth(scenes))
    known = {p for e in examples for p in e.graph.predicates}
    few = build_questions(examples, limit=6).questions
    assert {q.example.image_id for q in few} <= {e.image_id for e in examples[:6]}
    assert [q.options for q in few] == [q.options for q in build_questions(examples).questions[: len(few)]]
    assert {o for q in few for o in q.options} <= known


def test_a_line_says_everything() -> None:
    (question,) = build_questions([example("7", (0, "riding", 1))], vocabulary=VG150).questions
    record = question.to_record()
    assert record["id"] == "7#0"
    assert (record["subject"], record["object"]) == ("man.1", "horse.2")
    assert record["subject_box"] == [20, 10, 60, 50]
    assert record["options"][record["answer"]] == question.predicate == "riding"


def test_a_repeated_triplet_is_asked_once_and_both_directions_each() -> None:
    asked = build_questions(
        [example("1", (0, "riding", 1), (0, "riding", 1), (1, "under", 0), (0, "on", 1))], vocabulary=VG150
    ).questions
    assert [(q.subject, q.predicate, q.object) for q in asked] == [(0, "riding", 1), (1, "under", 0), (0, "on", 1)]


# ---------------------------------------------------------------- schemes


def options_drawn(scheme: str, statistics: TrainingStatistics | None, count: int = 300) -> Counter[str]:
    asked = build_questions(
        [example(str(k), (0, "riding", 1)) for k in range(count)],
        vocabulary=VG150,
        scheme=scheme,
        statistics=statistics,
    ).questions
    return Counter(o for q in asked for o in q.options if o != "riding")


def test_uniform_takes_all_predicates_alike() -> None:
    counts = options_drawn("uniform", of_class_pairs(man_horse={"on": 1000}))
    assert len(counts) == 49
    assert max(counts.values()) < 45  # 900 draws over 49 names, 18 each


def test_frequency_follows_the_counts_of_training() -> None:
    counts = options_drawn("frequency", of_class_pairs(hat_hat={"on": 60, "has": 30, "near": 10, "of": 10, "in": 10}))
    assert set(counts) == {"on", "has", "near", "of", "in"}, "only what occurs, where that is enough"
    assert counts["on"] > counts["has"] > counts["near"]


def test_frequency_without_training_uses_the_ground_truth_s_counts() -> None:
    examples = [example(str(k), (0, "riding", 1), (1, "near", 2), (0, "on", 2), (2, "of", 1)) for k in range(4)]
    asked = build_questions(examples, vocabulary=VG150, scheme="frequency").questions
    assert {o for q in asked for o in q.options} == {"riding", "near", "on", "of"}


def test_hard_prefers_the_pair_then_either_class_then_all() -> None:
    pair = of_class_pairs(man_horse={"on": 5, "feeding": 9, "riding": 3, "near": 1}, hat_hat={"of": 10**6})
    assert set(options_drawn("hard", pair)) == {"on", "near", "of"}, "feeding is no name of VG150; of fills the third"
    either = of_class_pairs(man_horse={"on": 1}, man_hat={"wearing": 1}, hat_horse={"above": 1}, hat_hat={"of": 10**6})
    assert set(options_drawn("hard", either)) == {"on", "wearing", "above"}
    nothing = options_drawn("hard", of_class_pairs(man_horse={"on": 1}))
    assert nothing["on"] == 300
    assert len(nothing) == 49, "the rest evenly"


def test_drawing_without_replacement_follows_the_weights() -> None:
    drawn = Counter(draw([{"a": 8.0, "b": 1.0, "c": 1.0}], set(), _generator(0, str(k)), 1)[0] for k in range(2000))
    assert 1500 < drawn["a"] < 1700
    assert draw([{"a": 1.0}, {"a": 1.0, "b": 1.0}], {"b"}, _generator(0, ""), 3) == ["a"]


# ---------------------------------------------------------------- what gives no question


def test_what_gives_no_question_is_counted() -> None:
    four = Vocabulary("four", (), ("riding", "on", "near", "under"))
    asked = build_questions(
        [example("1", (0, "riding", 1), (0, "feeding", 1), (1, "on", 2), (1, "near", 2))], vocabulary=four
    )
    assert [q.predicate for q in asked.questions] == ["riding"]
    assert asked.left_out == {"outside_vocabulary": 1, "too_few_predicates": 2}


def test_no_question_at_all_is_one_sentence() -> None:
    with pytest.raises(InputError, match="1 too few predicates"):
        build_questions([example("1", (0, "riding", 1))])
    with pytest.raises(InputError, match="found no relation"):
        build_questions([example("1")])
    with pytest.raises(ConfigError, match=r"hard: expected a training set"):
        build_questions([example("1")], scheme="hard")
    with pytest.raises(ConfigError, match="expected one of uniform"):
        build_questions([example("1")], scheme="odd")


def test_boxes_at_the_border_are_whole_pixels_of_the_image() -> None:
    one = example("1", (0, "riding", 1))
    graph = dataclasses.replace(one.graph, boxes=np.array([[0, 0, 1, 1], [0.5, 0.5, 1, 1], [0, 0, 0.1, 0.1]]))
    (question,) = build_questions([dataclasses.replace(one, graph=graph)], vocabulary=VG150).questions
    assert question.to_record()["subject_box"] == [0, 0, 200, 100]
