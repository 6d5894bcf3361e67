"""The compact answer format: lossless against the JSON, total on junk, and worth the same to every reward."""

import itertools
import json
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1sgg.graph.compact import id_of_name, name_of_id, predicate_of, word_of
from r1sgg.graph.scene import SceneGraph, label_of_id, normalize_name
from r1sgg.graph.text import POLICIES, Frame, parse, render
from r1sgg.judging.labels import load_similarity
from r1sgg.models.prompts import AnswerSettings, build_messages
from r1sgg.rewards.rubric import Rubric
from r1sgg.rewards.terms import TERMS

from .test_text import FRAME, FRAMES, check, kinds

MAN, DOG, WALKS = "man 100 200 300 400", "dog 0 0 1000 1000", "man walking dog"
TRIPLET = ("man", "walking", "dog")


def lines(objects=(MAN, DOG), relationships=(WALKS,)) -> str:
    return "\n".join(["objects", *objects, "relationships", *relationships, "end"])


GOLD = lines()
THINK = "<think>The man is near the dog.</think>"
JSON = '{"objects": [{"id": "cat.1", "bbox": [1, 2, 3, 4]}], "relationships": []}'

PROMPT = build_messages(AnswerSettings(answer_format="compact"))[-1]["content"]
READ = {
    "bare": GOLD,
    "tags": f"{THINK}<answer>{GOLD}</answer>",
    "tags on their own lines": f"{THINK}\n<answer>\n{GOLD}\n</answer>\n",
    "fence": f"```\n{GOLD}\n```",
    "fence with a language, in tags": f"<answer>```text\n{GOLD}\n```</answer>",
    "a draft in think": f"<think>objects\ncat 1 2 3 4\nend</think>{GOLD}",
    "carriage returns": GOLD.replace("\n", "\r\n"),
    "blank lines, spaces, tabs": GOLD.replace("\n", " \n\n\t").replace(" ", "   "),
    "floats": lines(["man 100.0 2e2 300 4.0e2", DOG]),
    "number 1 written": GOLD.replace("man", "man1"),
    "quoted": GOLD.replace("man ", '"man.1" '),
    "forms of a predicate": lines(relationships=["man WALKING_ dog"]),
    "leading zeros": lines(["man 0100 200 300 400", DOG]),
}
JUNK = {
    "surrounding_text": f"Here it is:\n{GOLD}\nEnjoy.",
    "several_graphs": f"{lines(['cat 1 2 3 4'])}\n{GOLD}",
    "prompt_text": f"{PROMPT}\n{GOLD}",
    "surrounding_text: begun twice": f"objects\ncat 1 2 3 4\n{GOLD}",
    "surrounding_text: another object first": f'{{"caption": "a"}}\n{GOLD}',
    "unclosed_tag": f"<answer>{GOLD}",
    "bad_object": lines(["man.1", MAN, DOG]),
    "bad_object: prose": lines([MAN, DOG, "and nothing else"]),
    "bad_id": lines([MAN, DOG, "12 1 2 3 4"]),
    "bad_id: a broken string": lines([MAN, DOG, '"cat 1 2 3 4']),
    "bad_id: long": lines([MAN, DOG, "x" * 300 + " 1 2 3 4"]),
    "bad_box": lines([MAN, DOG, "cat 1 2 3 x"]),
    "bad_box: brackets": lines([MAN, DOG, "cat [1, 2, 3, 4]"]),
    "bad_box: three": lines([MAN, DOG, "cat 1 2 3 "]).replace("cat", "a cat"),
    "bad_box: endless": lines([MAN, DOG, "cat 1 2 3 " + "9" * 5000]),
    "bad_box: other digits": lines([MAN, DOG, "cat 1 2 3 1_0"]),
    "inverted_box": lines([MAN, DOG, "cat 3 2 1 4"]),
    "empty_box": lines(["man 5 5 5 9", DOG]),
    "box_out_of_frame": lines(["man -500 0 1500 10", DOG]),
    "duplicate_id": lines([MAN, DOG, MAN]),
    "duplicate_id: two spellings": lines([MAN, DOG, MAN.replace("man", "man1")]),
    "bad_relationship": lines(relationships=["man walking", WALKS]),
    "bad_predicate": lines(relationships=["man ?! dog", WALKS]),
    "bad_relationship: a broken string": lines(relationships=['man "on dog', WALKS]),
    "dangling": lines(relationships=["man on cat", WALKS]),
    "dangling: a number": lines(relationships=["1 on 2", WALKS]),
    "self_loop": lines(relationships=[WALKS, "man walking man"]),
    "repeated_triplet": lines(relationships=[WALKS, WALKS]),
    "no_relationships": GOLD.replace(f"relationships\n{WALKS}\n", ""),
}
FAILS = {
    "empty": "objects\nrelationships\nend",
    "empty: only an end": "objects\nend",
    "prompt_echo": PROMPT,
    "truncated": GOLD[:-3],
    "truncated: in a line": GOLD[:50],
    "truncated: after the header": "objects",
    "no_json": "The objects are\nman 1 2 3 4\nend",
    "no_json: a heading": "objects\nThere is a man.\nThere is a dog.",
    "no_json: no header": GOLD.removeprefix("objects\n"),
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_read_without_an_issue(text: str) -> None:
    parsed = parse(text, FRAME)
    assert not parsed.issues
    assert parsed.graph.ids == ("man.1", "dog.1")
    assert parsed.graph.boxes.tolist() == [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]
    assert parsed.graph.triplets == (TRIPLET,)
    check(parsed)


@pytest.mark.parametrize(("name", "text"), JUNK.items(), ids=JUNK)
def test_a_fault_costs_its_item_only(name: str, text: str) -> None:
    parsed = parse(text, FRAME)
    assert kinds(parsed)[0] == name.partition(":")[0]
    assert set(kinds(parsed)[1:]) <= {"surrounding_text"}
    assert parsed.graph.ids[:2] == ("man.1", "dog.1")
    assert parsed.graph.triplets[:1] == (() if name == "no_relationships" else (TRIPLET,))
    check(parsed)


@pytest.mark.parametrize(("name", "text"), FAILS.items(), ids=FAILS)
def test_failures(name: str, text: str) -> None:
    assert parse(text, FRAME).failure == name.partition(":")[0]
    assert not len(parse(text, FRAME).graph)


def test_a_line_of_more_words_is_read_where_its_meaning_is_plain() -> None:
    text = lines(["traffic light 1 2 3 4", "street sign 2 5 6 7 8"], ["traffic_light in front of street_sign2"])
    parsed = parse(text, FRAME)
    assert parsed.graph.ids == ("traffic light.1", "street sign.2")
    assert parsed.graph.triplets == (("traffic light", "in front of", "street sign"),)
    assert not parsed.issues


def test_json_counts_before_compact_lines() -> None:
    for text in (f"{JSON}\n{GOLD}", f"{GOLD}\n{JSON}"):
        parsed = parse(text, FRAME)
        assert parsed.graph.ids == ("cat.1",)
        assert kinds(parsed) == ("surrounding_text",)


def test_every_beginning_is_truncated_and_repair_keeps_whole_lines() -> None:
    for end in range(len("objects"), len(GOLD) - 1):
        assert parse(GOLD[:end], FRAME).failure == "truncated", GOLD[:end]
    parsed = parse(GOLD[:-5], FRAME, repair=True)  # the last line may have been cut
    assert parsed.graph == parse(lines(relationships=()), FRAME).graph
    assert kinds(parsed)[0] == "truncated"
    assert parse(GOLD[:-3], FRAME, repair=True).graph.triplets == ()
    assert parse("objects\nman 1 2", FRAME, repair=True).failure == "truncated"


def test_rows_say_where_the_items_of_a_graph_stand() -> None:
    text = lines(["cat 1 2 3", MAN, DOG, "pig 3 2 1 4"], ["man on cat", WALKS])
    for answer in (text, JSON.replace('"objects": [', '"objects": [0, ')):
        parsed = parse(answer, FRAME)
        assert parsed.object_rows == ((1, 2) if answer == text else (1,))
    assert parse(text, FRAME).relationship_rows == (1,)


# ---------------------------------------------------------------- lossless

NAMES = (
    "man",
    "traffic light",
    "t-shirt",
    "café",
    "人",
    "boeing 747",
    "objects",
    "end",
    "a_b",
    'say "x"',
    "{a}",
    "1st",
)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    """Graphs whose ids are as odd as an answer in JSON can make them, boxes on whole units of the frame."""
    stems = st.one_of(st.sampled_from(NAMES), WORDS)
    ids = [
        name.strip()
        for name in draw(
            st.lists(st.builds("{}{}".format, stems, st.sampled_from(["", ".1", ".2", ".01", " 7", "12"])))
        )
    ]
    ids = [name for name in dict.fromkeys(ids) if label_of_id(name)]
    corners = st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(1, 1000), st.integers(1, 1000))
    boxes = [
        (x, y, min(1000, x + w), min(1000, y + h))
        for x, y, w, h in draw(st.lists(corners, min_size=len(ids), max_size=len(ids)))
    ]
    ends = st.integers(0, max(0, len(ids) - 1))
    predicates = st.one_of(st.sampled_from(["on", "in front of", "3", "relationships"]), WORDS.map(normalize_name))
    rows = draw(st.lists(st.tuples(ends, predicates.filter(bool), ends), max_size=6)) if ids else []
    return SceneGraph(
        tuple(ids),
        tuple(map(label_of_id, ids)),
        np.array(boxes, float).reshape(-1, 4) / 1000,
        tuple((s, o) for s, _, o in rows),
        tuple(p for _, p, _ in rows),
    )


@given(graph=graphs(), think=st.booleans())
def test_round_trip_is_that_of_the_json(graph: SceneGraph, think: bool) -> None:
    text = render(graph, FRAME, think=think, answer_format="compact")
    back, of_json = parse(text, FRAME), render(graph, FRAME)
    assert back.graph == graph
    if "<" not in of_json:  # JSON does not escape a tag in a name, the compact format does
        assert back == parse(of_json, FRAME)
    body = text.removeprefix("<think></think><answer>").removesuffix("</answer>")
    objects, relationships = body.removeprefix("objects\n").removesuffix("\nend").split("relationships", 1)
    assert all(len(line.split()) == 5 for line in objects.splitlines())
    assert all(len(line.split()) == 3 for line in relationships.splitlines()[1:])


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_boxes_are_those_of_the_json_in_every_frame(frame: Frame) -> None:
    sides = np.random.default_rng(0).random((40, 2, 2))
    boxes = np.concatenate((sides.min(1), sides.max(1)), axis=1)
    ids = tuple(f"man.{k}" for k in range(40))
    graph = SceneGraph(ids, ("man",) * 40, boxes)
    assert parse(render(graph, frame, answer_format="compact"), frame).graph == parse(render(graph, frame), frame).graph


@given(WORDS)
def test_names_come_back_and_hold_no_space(text: str) -> None:
    for written, back in ((name_of_id(text), id_of_name), (word_of(text), predicate_of)):
        assert len(written.split()) == (1 if written else 0)
        assert not re.search("[{<`]", written)
        assert back(written) == text or not text


def test_written_text() -> None:
    ids = ("man.1", "man.2", "traffic light.1", "T_shirt", "room 5.1")
    boxes = np.tile([0.1, 0.2, 0.3, 0.4], (5, 1))
    graph = SceneGraph(ids, tuple(map(label_of_id, ids)), boxes, ((1, 2), (0, 3)), ("in front of", "on"))
    assert render(graph, FRAME, answer_format="compact").splitlines() == [
        "objects",
        "man 100 200 300 400",
        "man2 100 200 300 400",
        "traffic_light 100 200 300 400",
        '"T\\u005fshirt" 100 200 300 400',
        '"room\\u00205.1" 100 200 300 400',
        "relationships",
        "man2 in_front_of traffic_light",
        'man on "T\\u005fshirt"',
        "end",
    ]


# ---------------------------------------------------------------- rewards, and damage

ALL_TERMS = Rubric(dict.fromkeys(TERMS, 1.0), load_similarity("exact"))


@settings(max_examples=40)
@given(graphs(), graphs(), st.booleans())
def test_rewards_are_those_of_the_json(answer: SceneGraph, truth: SceneGraph, think: bool) -> None:
    of_json, of_compact = (
        ALL_TERMS.score([render(answer, FRAME, think=think, answer_format=form)], [truth], [FRAME])[0]
        for form in ("json", "compact")
    )
    if "<" in "".join((*answer.ids, *answer.predicates)):
        return  # JSON does not escape a tag in a name
    assert of_json.issues == of_compact.issues
    del of_json.terms["brevity"], of_compact.terms["brevity"]  # it measures the text
    assert of_json.terms == of_compact.terms


def test_brevity_compares_with_gold_in_the_answer_s_own_format() -> None:
    truth = parse(GOLD, FRAME).graph
    for form in ("json", "compact"):
        gold = render(truth, FRAME, think=True, answer_format=form)
        text = gold.replace("<think>", "<think>" + "x" * 3 * len(gold))
        assert ALL_TERMS.score([text], [truth], [FRAME])[0].terms["brevity"] == pytest.approx(0.5)


@settings(max_examples=40)
@given(graphs().filter(lambda g: len(g) and g.pairs))
def test_gold_gets_full_marks_on_every_term(truth: SceneGraph) -> None:
    truth = SceneGraph(truth.ids, truth.labels, truth.boxes, truth.pairs[:1], truth.predicates[:1])
    (score,) = ALL_TERMS.score([render(truth, FRAME, think=True, answer_format="compact")], [truth], [FRAME])
    assert {name: value for name, value in score.terms.items() if value != pytest.approx(1.0)} == {}


def damaged(text: str, rng: random.Random) -> str:
    """A few characters or lines changed, doubled or dropped."""
    pieces = text.split("\n") if rng.random() < 0.5 else list(text)
    glue = "\n" if len(pieces) < len(text) else ""
    for _ in range(rng.choice((1, 2, 6))):
        k = rng.randrange(len(pieces))
        new = rng.choice((rng.choice(pieces), rng.choice('0 \t\n"_{<`}-.éobj'), "end", "objects", "relationships", '"'))
        pieces[k : k + rng.randrange(3)] = [new] * rng.choice((0, 1, 1, 2))
        if not pieces:
            return ""
    return glue.join(pieces)


def test_damage_never_raises() -> None:
    rng = random.Random(0)
    texts = [damaged(rng.choice((*READ.values(), *JUNK.values())), rng) for _ in range(4000)]
    parsed = [parse(text, FRAME) for text in texts]
    for p, text in zip(parsed, texts, strict=True):
        check(p)
        check(parse(text, FRAME, repair=True))
    found = {issue.kind for p in parsed for issue in p.issues}
    of_json = {"invalid_json", "wrong_schema", "other_dialect", "split_graph", "closed_early", "duplicate_key"}
    of_json |= {"other_key", "much_broken", "class_key", "odd_id", "end_by_index", "end_by_class", "wrong_count"}
    assert found >= set(POLICIES) - of_json - {"several_answers", "many_issues", "prompt_echo"}


def test_time_is_linear_in_odd_texts() -> None:
    """Reaching the end at all is the test: quadratic reading of these takes minutes."""
    for piece in (
        "objects\n",
        "objects\nend\n",
        "\n",
        " ",
        "objects\n a",
        "1 ",
        "man 1 2 3 4\n",
        '"',
        "_",
        "a.1",
        "\t",
    ):
        for head, tail in itertools.product(("", "objects\n", "objects\nrelationships\n"), ("", "\nend")):
            parse(head + piece * (400_000 // len(piece)) + tail, FRAME)


def test_a_prediction_file_may_mix_both(tmp_path) -> None:
    from r1sgg.data.predictions import read_predictions

    graph = parse(GOLD, FRAME).graph
    path = tmp_path / "predictions.jsonl"
    rows = [
        {"image_id": form, "frame": FRAME, "completion": render(graph, FRAME, answer_format=form)}
        for form in ("json", "compact")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = (p.read() for p in read_predictions(path))
    assert first.graph == second.graph == graph
