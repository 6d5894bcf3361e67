"""Confidences from pieces made by hand, and from the embedded model."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.graph.places import places_of
from r1sgg.graph.text import AnswerFormat, parse, render
from r1sgg.inference.confidence import scored
from r1sgg.inference.engine import Completion, Piece
from r1sgg.inference.engines import load
from r1sgg.miniature.scenes import SMALL, scene

from ..graph.test_compact import FRAME, graphs

GRAPH = parse(
    json.dumps(
        {
            "objects": [
                {"id": "man.1", "bbox": [100, 200, 300, 400]},
                {"id": "traffic light.2", "bbox": [1, 2, 33, 44]},
            ],
            "relationships": [{"subject": "man.1", "predicate": "standing on", "object": "traffic light.2"}],
        }
    ),
    FRAME,
).graph
LOGS = {  # by what a token writes; all others are certain
    "man": -0.1, "traffic": -0.2, " light": -0.3, "_light": -0.3, "100": -0.4, "400": -0.8, "33": -1.2,
    "standing": -0.5, " on": -0.7, "_on": -0.7,
}  # fmt: skip
WANTED = [math.exp((-0.1 - (0.4 + 0.8) / 4) / 2), math.exp((-0.5 - 1.2 / 4) / 2)]
WANTED_RELATION = math.exp(-0.5 - 0.7 - 0.2 - 0.3) * math.prod(WANTED)


def completion(text: str, *, allowed: bool = False, seed: int = 0) -> Completion:
    """The text in tokens of whole words and odd pieces of what stands between them; each with its probability."""
    rng = random.Random(seed)
    pieces: list[Piece] = []
    last = text.count("man") - 1  # the reference to "man" is certain: it is no part of any score
    at = 0
    while at < len(text):
        word = next((w for w in sorted(LOGS, key=len, reverse=True) if text.startswith(w, at)), None)
        if word is None:
            pieces.append(Piece(text[at], 0.0, 0.0 if allowed else None))
            at += 1
            continue
        log = LOGS[word]
        if word == "man" and text.count("man", 0, at) == last:
            log = 0.0
        at += len(word)
        if rng.random() < 0.3 and at < len(text) and text[at] in '"\n':  # a token that runs into what follows
            word, at = word + text[at], at + 1
        pieces.append(Piece(word, log - 9.0, log) if allowed else Piece(word, log))
    return Completion(text, len(pieces), "stop", pieces=tuple(pieces))


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("answer_format", ["json", "compact"])
@pytest.mark.parametrize("think", [False, True])
def test_scores_are_those_of_the_tokens_in_both_formats(
    answer_format: AnswerFormat, allowed: bool, think: bool
) -> None:
    text = render(GRAPH, FRAME, answer_format=answer_format, think=think)
    for seed in range(5):
        graph = scored(parse(text, FRAME), completion(text, allowed=allowed, seed=seed))
        assert graph.object_scores == pytest.approx(WANTED, abs=6e-4)
        assert graph.relationship_scores == pytest.approx([WANTED_RELATION], abs=6e-4)
        assert replace(graph, object_scores=None, relationship_scores=None) == GRAPH


def test_what_was_dropped_has_no_score_and_what_is_kept_keeps_its_own() -> None:
    document = json.loads(render(GRAPH, FRAME))
    document["objects"].insert(0, {"id": "man.7", "bbox": [1, 2, 3]})
    document["relationships"].insert(0, {"subject": "man.7", "predicate": "near", "object": "man.1"})
    text = json.dumps(document)
    pieces = list(completion(text).pieces or ())
    first = next(k for k, piece in enumerate(pieces) if piece.text.startswith("man"))
    pieces[first] = Piece(pieces[first].text, -5.0)
    parsed = parse(text, FRAME)
    assert [issue.kind for issue in parsed.issues] == ["bad_box", "dangling"]
    graph = scored(parsed, Completion(text, len(pieces), "stop", pieces=tuple(pieces)))
    assert graph.object_scores == pytest.approx(WANTED, abs=6e-4)
    assert graph.relationship_scores == pytest.approx([WANTED_RELATION], abs=6e-4)


@given(graphs(), st.lists(st.floats(-800, 0), min_size=1), st.sampled_from(["json", "compact"]), st.integers(1, 9))
def test_scores_lie_between_0_and_1_wherever_tokens_end(graph, logs, answer_format, length) -> None:
    text = render(graph, FRAME, answer_format=answer_format)
    parts = [text[k : k + length] for k in range(0, len(text), length)]
    pieces = tuple(Piece(part, logs[k % len(logs)]) for k, part in enumerate(parts))
    parsed = parse(text, FRAME)
    got = scored(parsed, Completion(text, len(pieces), "stop", pieces=pieces))
    for scores, count in ((got.object_scores, len(got)), (got.relationship_scores, len(got.pairs))):
        if count:
            assert scores is not None
            assert len(scores) == count
            assert ((scores >= 0) & (scores <= 1)).all()
    assert replace(got, object_scores=None, relationship_scores=None) == parsed.graph


def test_a_character_of_several_tokens_counts_once_with_all_of_them() -> None:
    text = "objects\n人 1 2 3 4\nrelationships\nend"
    head, tail = text.split("人")
    pieces = (Piece(head, 0.0), Piece("", -1.0), Piece("", -0.5), Piece("人", -0.25), Piece(tail, 0.0))
    got = scored(parse(text, FRAME), Completion(text, 5, "stop", pieces=pieces))
    assert got.object_scores == pytest.approx([math.exp(-1.75 / 2)], abs=6e-4)


def test_impossible_tokens_give_zero_not_nan() -> None:
    text = render(GRAPH, FRAME)
    pieces = tuple(Piece(c, -math.inf) for c in text)
    got = scored(parse(text, FRAME), Completion(text, len(text), "stop", pieces=pieces))
    assert got.object_scores is not None
    assert (got.object_scores < 1e-100).all()


@pytest.mark.parametrize("pieces", [None, (), (Piece("something else", -0.1),)])
def test_without_the_text_s_own_pieces_there_are_no_scores(pieces) -> None:
    text = render(GRAPH, FRAME)
    assert scored(parse(text, FRAME), Completion(text, 1, "stop", pieces=pieces)) == GRAPH


def test_a_failed_answer_stays_empty() -> None:
    text = "I see nothing."
    assert not len(scored(parse(text, FRAME), Completion(text, 1, "stop", pieces=(Piece(text, -0.1),))))


PLACES = {
    "json": '<think>a man</think><answer>{"objects": [{"bbox": [1, 2, 3, 4], "a": {"id": "x", "b": [1, {"c": 2}]}, '
    '"id": "traffic light.12 "}, 7], "relationships": [{"object": "traffic light.12", "predicate": "on", '
    '"subject": "traffic light.12"}], "more": {"objects": [{"id": "no.1"}]}}</answer>',
    "cut": 'Here: {"objects": [{"id": "traffic light.12", "bbox": [1, 2, 3, 4]}], "relationships": [{"subject": '
    '"traffic light.12", "predicate": "on", "object": "traffic light.12"}, {"subject": "x',
    "compact": "Well:\nobjects\ntraffic_light12 1 2 3 4\n7\nrelationships\ntraffic_light12 on traffic_light12\nend",
}


@pytest.mark.parametrize("name", PLACES)
def test_places_are_where_the_words_stand(name: str) -> None:
    text = PLACES[name]
    places = places_of(text)
    assert list(places.objects) == list(places.relationships) == [0]
    thing, relation = places.objects[0], places.relationships[0]
    assert text[slice(*thing.label)].replace("_", " ") == "traffic light"
    assert [text[slice(*side)] for side in thing.box] == ["1", "2", "3", "4"]
    assert text[slice(*relation.predicate)] == "on"
    for end in (relation.subject, relation.object):
        assert text[slice(*end)] in ("traffic light.12", "traffic_light12")


@given(graphs(), st.sampled_from(["json", "compact"]))
def test_every_row_that_was_read_has_a_place(graph, answer_format) -> None:
    text = render(graph, FRAME, answer_format=answer_format)
    parsed, places = parse(text, FRAME), places_of(text)
    assert set(parsed.object_rows) <= set(places.objects)
    assert set(parsed.relationship_rows) <= set(places.relationships)
    for row, box in zip(parsed.object_rows, np.rint(parsed.graph.boxes * 1000), strict=True):
        assert [float(text[slice(*side)]) for side in places.objects[row].box] == box.tolist()


def test_the_embedded_model_gives_scores_and_a_guide_raises_them() -> None:
    """What a guide rules out no longer competes."""
    reader = load("tiny", device="cpu")
    picture = scene(2, SMALL).image  # of which the free completion repeats nothing, so that both are the same
    free, guided = (reader.read(picture, scores=True, guide=guide).graph for guide in (False, True))
    assert (free.ids, free.triplets) == (guided.ids, guided.triplets)
    for one, other in ((free.object_scores, guided.object_scores), (free.triplet_scores, guided.triplet_scores)):
        assert one is not None
        assert other is not None
        assert ((one > 0) & (one <= other + 1e-5) & (other <= 1)).all()
