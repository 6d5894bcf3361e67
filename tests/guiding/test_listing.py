"""The guide of lists of objects (`GuideSpec.listing`): random vocabularies of tokens, hostile drawers, every budget."""

from __future__ import annotations

import random

import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.dialects.qwen_json import write_detections
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.text import parse
from r1sgg.guiding.guide import Guide
from r1sgg.guiding.listing import parts_of
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable

from . import drawing
from .drawing import allowed, draw_answer, random_table
from .test_guide import DRAWERS, WORDS, drawer, least

DIALECTS = {"bbox_2d": "qwen-json", "box_2d": "gemini"}


def random_list(rng: random.Random, spec: GuideSpec) -> str:
    first, second = (int(side) for side in spec.frame)
    names, boxes = [], []
    for _ in range(rng.randint(1, min(4, spec.max_objects))):
        low = rng.randrange(first), rng.randrange(second)
        boxes.append((*low, rng.randint(low[0] + 1, first), rng.randint(low[1] + 1, second)))
        names.append(rng.choice(spec.objects or ("man", "bus stop", "t-shirt", "Bus 2")))
    return write_detections(names, boxes, spec.listing)


def table_for(rng: random.Random, spec: GuideSpec) -> TokenTable:
    return random_table(rng, [*(random_list(rng, spec).encode() for _ in range(6)), "café".encode()])


def check(text: bytes, spec: GuideSpec) -> None:
    """The answer is read without any issue of its objects and keeps to the specification."""
    parsed = parse(text.decode(), spec.frame, dialect=DIALECTS[spec.listing])
    graph = parsed.graph
    assert {issue.kind for issue in parsed.issues} <= {"no_relationships"}, (text, parsed.issues)
    assert 1 <= len(graph) <= spec.max_objects
    assert not spec.objects or set(graph.labels) <= set(map(normalize_name, spec.objects))
    assert (graph.boxes[:, :2] < graph.boxes[:, 2:]).all()
    if spec.listing == "bbox_2d":  # Gemini's are thousandths, whatever the frame
        assert graph.boxes.min() >= 0
        assert graph.boxes.max() <= 1
    assert text.decode().startswith(parts_of(spec.listing)[0])


@pytest.mark.parametrize("name", DRAWERS)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_drawn_the_list_is_valid_and_fits(name: str, seed: int) -> None:
    rng = random.Random(f"{name}{seed}")
    for _ in range(4):
        listing = rng.choice(("bbox_2d", "box_2d"))
        spec = GuideSpec(
            frame=(1000, 1000) if listing == "box_2d" else (rng.choice((1, 2, 112, 1000)), rng.choice((1, 10, 3000))),
            objects=rng.choice(((), WORDS, ("man",))),
            max_objects=rng.choice((1, 2, 12, 50)),
            max_relationships=0,
            listing=listing,
        )
        table = table_for(rng, spec)
        text, _ = draw_answer(table, spec, least(table, spec) + rng.choice((0, 3, 30, 300)), drawer(name, rng))
        check(text, spec)


@pytest.mark.parametrize("objects", [(), WORDS])
def test_every_budget_is_kept_and_some_lists_use_it_up(objects: tuple[str, ...]) -> None:
    spec, rng = GuideSpec((12, 105), objects, max_objects=3, listing="bbox_2d"), random.Random(3)
    table = table_for(rng, spec)
    start = least(table, spec)
    used = set()
    for budget in range(start, start + 30):
        for name in ("evenly", "never_ending"):
            text, tokens = draw_answer(table, spec, budget, drawer(name, rng))
            check(text, spec)
            used.add(len(tokens) - budget)
    assert max(used) == 0
    with pytest.raises(ConfigError, match=f"takes {start} tokens, found a budget of {start - 1}"):
        Guide(table, spec, start - 1)


@pytest.mark.parametrize("objects", [(), WORDS])
def test_only_near_its_end_does_a_budget_rule_out_tokens(objects: tuple[str, ...]) -> None:
    spec, rng = GuideSpec((12, 105), objects, max_objects=3, listing="bbox_2d"), random.Random(7)
    table = table_for(rng, spec)
    guide = Guide(table, spec, 1_000_000)
    while not guide.finished:
        if guide._region is not None:
            near: list = []
            enough = guide._script.costs.most(guide._draft)
            guide._collect(guide._draft, guide._region, guide._node, b"", enough, near)
            assert {k for tokens in near for k in tokens.ids.tolist()} == set(allowed(guide))
        guide.advance(drawing.longest(allowed(guide), table) if rng.random() < 0.5 else rng.choice(allowed(guide)))


def test_every_list_that_the_dialect_writes_is_allowed() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        spec = GuideSpec((112, 1000), rng.choice(((), WORDS)), max_objects=5, listing=rng.choice(("bbox_2d", "box_2d")))
        text = random_list(rng, spec).encode()
        table = random_table(rng, [text, "café".encode()])
        guide = Guide(table, spec, 10_000)
        tokens = {piece: k for k, piece in enumerate(table.pieces) if piece}
        while text:
            fits = [k for piece, k in tokens.items() if text.startswith(piece) and k in allowed(guide)]
            assert fits, text
            token = rng.choice(fits)
            guide.advance(token)
            text = text[len(table.pieces[token] or b"") :]
        assert table.end in allowed(guide)


def test_a_listing_goes_through_json_and_is_left_out_where_there_is_none() -> None:
    spec = GuideSpec((1000, 1000), ("man",), listing="bbox_2d")
    assert GuideSpec.from_json(spec.to_json()) == spec
    assert "listing" not in GuideSpec((1000, 1000)).to_json(), "an earlier server does not know the field"
