"""Guides that are held to given objects: exactly these are written, whatever is drawn and however short the budget."""

import random
from dataclasses import replace

import numpy as np
import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.given import Given
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids, parse, render
from r1sgg.guiding.guide import Guide
from r1sgg.guiding.regions import Tokens
from r1sgg.guiding.spec import GuideSpec

from . import drawing
from .drawing import allowed, draw_answer
from .oracle import read
from .test_guide import DRAWERS, SAID, WORDS, drawer, least, table_for

NAMES = ("man", "mango", "man eater", "t shirt", "room 5", "street sign", "café", "end", "relationships")
FRAME = (12.0, 105.0)


def truth_of(rng: random.Random, count: int) -> SceneGraph:
    labels = tuple(rng.choice(NAMES) for _ in range(count))
    corners = [(rng.uniform(0, 0.9), rng.uniform(0, 0.9)) for _ in labels]
    boxes = [(x, y, rng.uniform(x + 0.01, 1), rng.uniform(y + 0.01, 1)) for x, y in corners]
    return SceneGraph(tuple(f"x.{k}" for k in range(count)), labels, np.array(boxes).reshape(-1, 4))


def spec_of(rng: random.Random, task: str, *, think: int = 0) -> tuple[GuideSpec, Given]:
    given = Given.of(truth_of(rng, rng.choice((1, 2, 5))), FRAME, task)
    answer_format, minify = rng.choice((("json", False), ("json", True), ("compact", False)))
    rows = tuple((label, *box) for label, box in zip(given.told, given.boxes, strict=True))
    names = tuple(dict.fromkeys(given.labels)) if task == "predcls" else rng.choice(((), WORDS))
    predicates = rng.choice(((), SAID))
    return GuideSpec(FRAME, names, predicates, 3, 4, answer_format, minify, think, rows), given


def check(text: bytes, spec: GuideSpec, given: Given) -> None:
    parsed = parse(text.decode("utf-8", "replace"), spec.frame)
    assert not parsed.issues, (text, parsed.issues)
    boxes = parsed.graph.boxes * (spec.frame * 2)
    assert [tuple(box) for box in boxes.round().astype(int).tolist()] == list(given.boxes)
    numbers = [[i.rpartition(".")[2] for i in ids] for ids in (parsed.graph.ids, number_ids(parsed.graph.labels))]
    assert numbers[0] == numbers[1]
    if given.task == "predcls":
        assert parsed.graph.labels == given.labels
    assert len(parsed.graph.pairs) <= spec.max_relationships


@pytest.mark.parametrize("task", ["sgcls", "predcls"])
@pytest.mark.parametrize("name", DRAWERS)
def test_whatever_is_drawn_exactly_the_given_objects_are_written_and_the_answer_fits(name: str, task: str) -> None:
    rng = random.Random(f"{name}{task}")
    for _ in range(6):
        spec, given = spec_of(rng, task, think=rng.choice((0, 0, 5)))
        table = table_for(rng, replace(spec, given=()))
        text, _ = draw_answer(table, spec, least(table, spec) + rng.choice((0, 0, 3, 30, 300)), drawer(name, rng))
        check(text, spec, given)


@pytest.mark.parametrize("task", ["sgcls", "predcls"])
@pytest.mark.parametrize("seed", range(4))
def test_only_near_its_end_does_a_budget_rule_out_tokens(seed: int, task: str) -> None:
    rng = random.Random(f"{seed}{task}")
    spec, _ = spec_of(rng, task)
    table = table_for(rng, replace(spec, given=()))
    guide = Guide(table, spec, 1_000_000)
    while not guide.finished:
        if guide._region is not None:
            enough = guide._script.costs.most(guide._draft)
            near: list[Tokens] = []
            guide._collect(guide._draft, guide._region, guide._node, b"", enough, near)
            assert {k for tokens in near for k in tokens.ids.tolist()} == set(allowed(guide))
        guide.advance(drawing.longest(allowed(guide), table) if rng.random() < 0.5 else rng.choice(allowed(guide)))


@pytest.mark.parametrize("seed", range(8))
def test_a_token_is_allowed_if_and_only_if_the_given_objects_can_go_on_with_it(seed: int) -> None:
    """Against the oracle of free answers, cut to those that begin with the given objects."""
    rng = random.Random(seed)
    spec, given = spec_of(rng, "predcls")
    assert given.graph is not None
    written = render(given.graph, FRAME, minify=spec.minify, answer_format=spec.answer_format)
    head = written[: written.rindex("end" if spec.answer_format == "compact" else "]}")].encode()
    free = replace(spec, given=(), max_objects=len(given.boxes))
    table = table_for(rng, free)
    guide, text = Guide(table, spec, 1000), b""
    while not guide.finished:
        ids = allowed(guide)
        for token, piece in enumerate(table.pieces) if rng.random() < 0.2 else ():
            after = text + (piece or b"")
            ways = read(after, free)
            fits = head.startswith(after) or after.startswith(head)
            expected = ways.whole if token == table.end else bool(piece) and ways.possible and fits
            assert (token in ids) == expected, (text, piece)
        token = drawing.longest(ids, table) if rng.random() < 0.3 else rng.choice(ids)
        guide.advance(token)
        text += table.pieces[token] or b""
    check(text, spec, given)


def test_a_specification_goes_through_json_and_refuses_what_cannot_be_given() -> None:
    spec = GuideSpec((100, 100), given=(("", 1, 2, 3, 4), ("man", 0, 0, 100, 100)))
    assert GuideSpec.from_json(spec.to_json()) == spec
    for given, objects, said in (
        ((("", 3, 2, 3, 4),), (), "boxes inside the frame"),
        ((("", 1, 2, 3, 101),), (), "boxes inside the frame"),
        ((("dog", 1, 2, 3, 4),), ("man",), "names among its objects, found 'dog'"),
    ):
        with pytest.raises(ConfigError, match=said):
            GuideSpec((100, 100), objects, given=given)
    with pytest.raises(ConfigError, match="expected a list of"):
        GuideSpec.from_json('{"frame": [9, 9], "given": [["man", 1, 2, 3]]}')
