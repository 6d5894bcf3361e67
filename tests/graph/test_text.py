"""`parse` on gold and junk, `render` and the round trip; every policy has a row here."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject, label_of_id
from r1sgg.graph.text import FAILURES, POLICIES, Parsed, number_ids, parse, parse_document, render
from r1sgg.models.prompts import AnswerSettings, build_messages

FRAME = (1000, 1000)
FRAMES = [(1000, 1000), (644, 476), (420, 644), (1036, 756), (4032, 3024), (17, 3), (1, 1)]
MAN = {"id": "man.1", "bbox": [100, 200, 300, 400]}
DOG = {"id": "dog.1", "bbox": [0, 0, 1000, 1000]}
WALKS = {"subject": "man.1", "predicate": "walking", "object": "dog.1"}
TRIPLET = ("man", "walking", "dog")


def gold(objects: Any = (MAN, DOG), relationships: Any = (WALKS,), **more: Any) -> str:
    return json.dumps({"objects": objects, "relationships": relationships, **more})


class Row(NamedTuple):
    """A text and what must come of it."""

    name: str
    text: str
    kinds: tuple[str, ...] = ()
    ids: tuple[str, ...] = ("man.1", "dog.1")
    triplets: tuple[tuple[str, str, str], ...] = (TRIPLET,)


def fails(name: str, text: str, *kinds: str) -> Row:
    return Row(name, text, kinds, (), ())


ANSWER = f"<answer>{gold()}</answer>"
THINK = "<think>The man is near the dog.</think>"
PROMPT = build_messages(AnswerSettings())[-1]["content"]
OTHER = gold([{"id": "cat.1", "bbox": [1, 2, 3, 4]}], [])
THOUGHTS = (
    *("<thinking>...</thinking>", "◁think▷...◁/think▷", "[THINK]...[/THINK]", "<seed:think>...</seed:think>"),
    *("<thought>...</thought>", "<reasoning>...</reasoning>", "<|begin_of_thought|>...<|end_of_thought|>"),
    *("<|START_THINKING|>...<|END_THINKING|>", "<|channel>thought\n...<channel|>", "...</thinking>", "...◁/think▷"),
    "<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>",
)
GOLD = [
    Row("bare", gold()),
    Row("pretty", json.dumps(json.loads(gold()), indent=2)),
    Row("tags", THINK + ANSWER),
    Row("upper-case tags", "<THINK>a</THINK><ANSWER>" + gold() + "</ANSWER>"),
    Row("spaces", f"\n {THINK}\n\n<answer>  {gold()} \n</answer>\n"),
    Row("text around the tags", f"Sure! {THINK} so {ANSWER} Done.<|im_end|>"),
    Row("fence", f"```json\n{gold()}\n```"),
    Row("fence without a language", f"```\n{gold()}\n```"),
    Row("fence on one line", f"```json{gold()}```"),
    Row("fence in tags", f"{THINK}<answer>\n```json\n{gold()}\n```\n</answer>"),
    Row("think, no answer tags", THINK + gold()),
    *(Row(f"thoughts {k}", tags.replace("...", OTHER) + gold()) for k, tags in enumerate(THOUGHTS)),
    Row("answer, then think", ANSWER + THINK),
    Row("json, then think", gold() + THINK),
    Row("an answer tag in think", f"<think>I put it in <answer> tags.</think>{ANSWER}"),
    Row("a draft in think", f"<think>Draft <answer>{OTHER}</answer></think>{ANSWER}"),
    Row("json in think", f"<think>{OTHER}</think>{ANSWER}"),
    Row("think opened in the prompt", f"The man <answer>{OTHER}</answer> no.</think>{ANSWER}"),
    Row("think opened in the prompt, bare", f"The man <answer> no.</think>{gold()}"),
    Row("a stray end of think", f"{ANSWER}</think>"),
    Row("nested answer", f"<answer>{ANSWER}</answer>"),
    Row("floats", gold([{**MAN, "bbox": [100.0, 2e2, 300.0, 4.0e2]}, DOG])),
    Row("extra keys", gold([{**MAN, "color": ["red"]}, DOG], [{**WALKS, "why": {"a": None}}], caption="x")),
    Row("spaces in names", gold([{**MAN, "id": " man.1 "}, DOG], [{**WALKS, "object": "dog.1 "}])),
    Row("forms of a predicate", gold(relationships=[{**WALKS, "predicate": " Walking_ "}])),
    Row("objects only", gold(relationships=[]), triplets=()),
    Row("up to a unit outside", gold([{**MAN, "bbox": [-1, 200, 1001, 400]}, DOG])),
    Row("two predicates on a pair", gold(relationships=[WALKS, {**WALKS, "predicate": "near"}]), (), ("man.1", "dog.1"),
        (TRIPLET, ("man", "near", "dog"))),
    Row("half a surrogate pair", gold([MAN, {**DOG, "id": "dog\ud800.1"}], []), (), ("man.1", "dog\ufffd.1"), ()),
]  # fmt: skip
LONG = "x" * 300
JUNK = [
    fails("nothing", "", "no_json"),
    fails("prose", "I cannot help with that.", "no_json"),
    fails("empty tags", "<think></think><answer></answer>", "no_json"),
    fails("braces that are not JSON", "obj 2 {id,name,x1}:\n 1,man,3", "no_json"),
    fails("another dialect", "obj[1]{id,name,x1}:\n 1,man,3", "other_dialect"),
    fails("detections", '[{"label": "man", "bbox_2d": [1, 2, 3, 4]}]', "other_dialect"),
    fails("relationships as arrows", gold(relationships=["man.1 -> walking -> dog.1"]), "other_dialect"),
    fails("only thoughts", f"<think>{gold()}</think>", "no_json"),
    fails("nesting", "[" * 65536, "no_json"),
    fails("nested objects", '{"a":' * 10000, "invalid_json"),
    fails("brackets in keys", '{"a]}":' * 9000, "invalid_json"),
    fails("braces", "{" * 65536, "invalid_json"),
    fails("single quotes", gold().replace('"', "'"), "invalid_json"),
    fails("no quotes", gold().replace('"', ""), "invalid_json"),
    fails("trailing comma", gold()[:-1] + ",}", "invalid_json"),
    fails("comment", gold().replace("[", "[ // all\n", 1), "invalid_json"),
    fails("stray colon", gold().replace("[", "[:", 1), "invalid_json"),
    fails("stray brace", "[" + gold() [:-1] + ", {{]", "invalid_json"),
    fails("raw newline in a string", gold().replace("man.1", "man\n.1"), "invalid_json"),
    fails("truncated", gold()[:60], "truncated"),
    fails("truncated in a fence", "```json\n" + gold()[:60] + "\n```", "truncated"),
    fails("truncated in tags", f"<answer>{gold()[:60]}</answer>", "truncated"),
    fails("truncated and unclosed", f"{THINK}<answer>{gold()[:60]}", "unclosed_tag", "truncated"),
    fails("a list", "[]", "wrong_schema"),
    fails("null", "null", "wrong_schema"),
    fails("a number", "3.5", "wrong_schema"),
    fails("another object", '{"caption": "a man"}', "wrong_schema"),
    fails("objects is an object", gold({"man.1": [1, 2, 3, 4]}), "wrong_schema"),
    fails("objects is null", gold(None), "wrong_schema"),
    fails("no objects at all", gold([], []), "empty"),
    fails("objects are strings", gold(["man.1", "dog.1"]), "bad_object", "bad_object", "dangling", "empty"),
    Row("unclosed answer", f"<answer>{gold()}", ("unclosed_tag",)),
    Row("unclosed think", f"<think>hmm {ANSWER}", ("unclosed_tag",)),
    Row("unclosed think after thoughts", f"<think>a</think><think>b {ANSWER}", ("unclosed_tag",)),
    Row("prose around", f"Here it is: {gold()} Enjoy.", ("surrounding_text",)),
    Row("two documents: the last counts", OTHER + "\n" + gold(), ("several_graphs", "surrounding_text")),
    Row("a draft with the other list", gold(relationships=[]) + gold(), ("several_graphs", "surrounding_text")),
    fails("a graph, then a broken one", gold() + "\n" + gold()[:60], "several_graphs", "truncated"),
    Row("a key twice: the last counts", '{"objects": [], ' + gold()[1:], ("duplicate_key",)),
    Row("an object in an object", gold().replace("}, {", ', "id": "x.1"}, {', 1).replace('"x.1"', '"man.1"'),
        ("duplicate_key",)),
    Row("closed early, triplets", gold().replace('], "relationships', ']}, "triplets'),
        ("closed_early", "surrounding_text", "other_key")),
    Row("relationships first", json.dumps({"relationships": [WALKS]}) + json.dumps({"objects": [MAN, DOG]}),
        ("split_graph",)),
    Row("edges apart", json.dumps({"objects": [MAN, DOG]}) + json.dumps({"edges": [WALKS]}),
        ("split_graph", "other_key")),
    Row("a predicate twice", gold().replace('"predicate"', '"predicate": "on", "predicate"'), ("duplicate_key",)),
    Row("a box that is scored", gold([{**MAN, "id": "box.1", "confidence": 0.5, "type": "parcel"}, DOG], []), (),
        ("box.1", "dog.1"), ()),
    Row("an unknown key of the class", gold([{**MAN, "id": "object.1", "klass": "man"}, DOG], []), ("class_key",),
        ("object.1", "dog.1"), ()),
    Row("a class_name beside a number", gold([{**MAN, "id": "object_1", "class_name": "man"}, DOG],
        [{**WALKS, "subject": "object_1"}]), ("class_key",)),
    Row("closed early", gold().replace('], "rel', ']}, "rel'), ("closed_early", "surrounding_text")),
    Row("closed early, key relations", gold().replace('], "relationships', ']}, "relations')[:-1],
        ("closed_early", "other_key")),
    Row("in two objects", json.dumps({"objects": [MAN, DOG]}) + json.dumps({"relationships": [WALKS]}),
        ("split_graph",)),
    Row("key relations", gold().replace("relationships", "relations"), ("other_key",)),
    Row("relations by kind", json.dumps({"objects": [MAN, DOG], "relations": {"a": [], "b": [WALKS]}}), ("other_key",)),
    Row("other keys of ends", gold(relationships=[{"subj": "man.1", "relation": "walking", "target": "dog.1"}]),
        ("other_key",) * 3),
    Row("the prompt before the answer", PROMPT + gold(), ("prompt_text", "surrounding_text")),
    Row("the prompt before a copy of its example", PROMPT + "So:\n" + gold(), ("prompt_text", "surrounding_text")),
    fails("the prompt alone", PROMPT, "prompt_echo"),
    fails("the prompt before no answer", PROMPT + "I see a dog.", "prompt_echo"),
    Row("300 objects before the graph", '{"step": 1} ' * 300 + gold(), ("surrounding_text",)),
    Row("300 broken objects before the graph", '{"step": ] ' * 300 + gold(), ("much_broken", "surrounding_text")),
    fails("300 broken objects", '{"step": ] ' * 300, "much_broken", "invalid_json"),
    Row("another object first", '{"thought": "a {man}"}\n' + gold(), ("surrounding_text",)),
    Row("a list around it", f"[{gold()}]", ("surrounding_text",)),
    Row("doubled braces", "{" + gold() + "}", ("surrounding_text",)),
    Row("two answers", f"<answer>{OTHER}</answer>{ANSWER}", ("several_answers",)),
    Row("no relationships", '{"objects": ' + json.dumps([MAN, DOG]) + "}", ("no_relationships",), triplets=()),
    Row("null relationships", gold(relationships=None), ("no_relationships",), triplets=()),
    Row("a null object", gold([None, MAN, DOG]), ("bad_object",)),
    Row("1,500 bad objects", gold([MAN, *[0] * 1500, DOG]), ("bad_object",) * 1000 + ("many_issues",)),
    Row("id is a number", gold([MAN, DOG, {"id": 3, "bbox": [1, 2, 3, 4]}]), ("bad_id",)),
    Row("no id", gold([MAN, DOG, {"bbox": [1, 2, 3, 4]}]), ("bad_id",)),
    Row("ids without a class", gold([{**MAN, "id": i} for i in ("", " ", ".1", "12", "?")] + [MAN, DOG]),
        ("bad_id",) * 5),
    Row("an endless id", gold([{**MAN, "id": LONG}, MAN, DOG]), ("bad_id",)),
    Row("no box", gold([{"id": "cat.1"}, MAN, DOG]), ("bad_box",)),
    Row("inverted", gold([{"id": "cat.1", "bbox": [3, 2, 1, 4]}, {"id": "cat.2", "bbox": [1, 4, 3, 2]}, MAN, DOG]),
        ("inverted_box",) * 2),
    Row("a flat box", gold([{**MAN, "bbox": [5, 5, 5, 9]}, DOG]), ("empty_box",)),
    Row("far outside", gold([{**MAN, "bbox": [-500, 0, 1500, 10]}, DOG]), ("box_out_of_frame",)),
    Row("an object twice", gold([MAN, DOG, MAN]), ("duplicate_id",)),
    Row("an id twice", gold([MAN, DOG, {**MAN, "bbox": [0, 0, 9, 9]}, {**MAN, "bbox": [0, 0, 9, 9]}]),
        ("duplicate_id",) * 2, ("man.1", "dog.1", "man.2")),
    Row("a fresh id takes no declared one",
        gold([MAN, {**MAN, "bbox": [0, 0, 9, 9]}, {**MAN, "id": "man.2"}, DOG], [{**WALKS, "subject": "man.2"}]),
        ("duplicate_id",), ("man.1", "man.3", "man.2", "dog.1")),
    Row("relationship is a list", gold(relationships=[["man.1", "walking", "dog.1"], WALKS]), ("bad_relationship",)),
    Row("relationship without object", gold(relationships=[{**WALKS, "object": None}, WALKS]), ("bad_relationship",)),
    Row("predicate is a number", gold(relationships=[{**WALKS, "predicate": 3}, WALKS]), ("bad_relationship",)),
    Row("empty predicates", gold(relationships=[{**WALKS, "predicate": p} for p in ("", " ", "?!", LONG)] + [WALKS]),
        ("bad_predicate",) * 4),
    Row("undeclared id", gold(relationships=[{**WALKS, "object": "cat.9"}, WALKS]), ("dangling",)),
    Row("class in place of an id", gold(relationships=[{**WALKS, "object": "Dog"}]), ("end_by_class",)),
    Row("a class of two", gold([MAN, DOG, {**DOG, "id": "dog.2", "bbox": [1, 2, 3, 4]}],
        [{**WALKS, "object": "dog"}, WALKS]), ("dangling",), ("man.1", "dog.1", "dog.2")),
    Row("places from 0", gold(relationships=[{**WALKS, "subject": 0, "object": 1}]), ("end_by_index",)),
    Row("places from 1", gold(relationships=[{**WALKS, "subject": 1, "object": 2}]), ("end_by_index",)),
    Row("a place beyond", gold(relationships=[{**WALKS, "object": 7}, WALKS]), ("dangling",)),
    Row("numbers as ids", gold([{**MAN, "id": 4, "label": "man"}, {**DOG, "id": 7, "label": "dog"}],
        [{**WALKS, "subject": 4, "object": 7}]), ("class_key",) * 2),
    Row("generic ids", gold([{**MAN, "id": "obj1", "label": "man"}, {**DOG, "id": "object_2", "name": "dog"}],
        [{**WALKS, "subject": "obj1", "object": "object_2"}]), ("class_key",) * 2),
    Row("labels without ids", gold([{"label": "man", "bbox": MAN["bbox"]}, {"category": "dog", "bbox": DOG["bbox"]}]),
        ("class_key", "class_key", "end_by_class")),
    Row("a label beside the same class", gold([{**MAN, "label": "man"}, DOG])),
    Row("a label that says something else", gold([{**MAN, "id": "person.1", "label": "man"}, DOG],
        [{**WALKS, "subject": "person.1"}]), ("class_key",)),
    Row("a category beside the class", gold([{**MAN, "category": "person"}, DOG]), ("class_key",)),
    Row("a number without a separator", gold([{**MAN, "id": "man1"}, DOG], [{**WALKS, "subject": "man1"}]), ("odd_id",),
        ("man1", "dog.1")),
    Row("other separators", gold([{**MAN, "id": "man#1"}, {**DOG, "id": "dog:1"}],
        [{**WALKS, "subject": "man#1", "object": "dog:1"}]), ("odd_id",) * 2, ("man#1", "dog:1")),
    Row("dropped id", gold([MAN, DOG, {"id": "cat.1", "bbox": []}], [WALKS, {**WALKS, "object": "cat.1"}]),
        ("bad_box", "dangling")),
    Row("self loop", gold(relationships=[WALKS, {**WALKS, "object": "man.1"}]), ("self_loop",),
        triplets=(TRIPLET, ("man", "walking", "man"))),
    Row("said twice", gold(relationships=[WALKS, WALKS]), ("repeated_triplet",), triplets=(TRIPLET, TRIPLET)),
]  # fmt: skip
BAD_BOXES = [
    "null", "3", '"1,2,3,4"', "[]", "[1, 2, 3]", "[1, 2, 3, 4, 5]", "[[1, 2, 3, 4]]", '{"x1": 1}',
    '["1", "2", "3", "4"]', "[true, 2, 3, 4]", "[1, 2, null, 4]", "[NaN, 2, 3, 4]", "[1, 2, Infinity, 4]",
    "[-Infinity, 2, 3, 4]", "[1, 2, 1e999, 4]", "[1, 2, 3e9, 4]", "[1, 2, 3, " + "9" * 5000 + "]",
]  # fmt: skip


def kinds(parsed: Parsed) -> tuple[str, ...]:
    return tuple(i.kind for i in parsed.issues)


def check(parsed: Parsed) -> None:
    """What must hold of any answer."""
    graph = parsed.graph
    assert (parsed.failure is None) == (len(graph) > 0)
    assert {i.kind for i in parsed.issues} <= set(POLICIES)
    assert len(parsed.issues) <= 1010
    assert len(graph.ids) == len(set(graph.ids)) == len(graph.labels) == len(graph.boxes)
    assert graph.labels == tuple(map(label_of_id, graph.ids))
    assert all(graph.labels)
    assert all(graph.predicates)
    assert np.isfinite(graph.boxes).all()
    assert (graph.boxes[:, :2] <= graph.boxes[:, 2:]).all()
    assert all(0 <= end < len(graph) for pair in graph.pairs for end in pair)
    orjson.dumps([graph.ids, graph.labels, graph.predicates, [*map(tuple, parsed.issues)]])  # UTF-8 can hold them
    again = parse(render(graph, FRAME), FRAME).graph
    assert (again.ids, again.pairs, again.predicates) == (graph.ids, graph.pairs, graph.predicates)


@pytest.mark.parametrize("row", GOLD + JUNK, ids=lambda row: row.name)
def test_table(row: Row) -> None:
    parsed = parse(row.text, FRAME)
    assert kinds(parsed) == row.kinds
    assert parsed.graph.ids == row.ids
    assert parsed.graph.triplets == row.triplets
    assert parsed.failure == (None if row.ids else row.kinds[-1])
    check(parsed)


def test_every_policy_has_a_row() -> None:
    others = {"bad_box", "wrong_count"}  # below; of tables (test_dialects.py)
    assert {kind for row in JUNK for kind in row.kinds} | others == set(POLICIES)
    assert {k for k, words in POLICIES.items() if words.startswith("failure: ")} == set(FAILURES)


def test_the_documentation_prints_the_policies() -> None:
    page = (Path(__file__).parents[2] / "docs/answers.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(kind, words.replace("<", "&lt;")) for kind, words in POLICIES.items()]


@pytest.mark.parametrize("box", BAD_BOXES)
def test_a_bad_box_drops_its_object_only(box: str) -> None:
    for text in (gold([{"id": "cat.1", "bbox": "BOX"}, MAN, DOG]), gold([MAN, DOG, {"id": "cat.1", "bbox": "BOX"}])):
        parsed = parse(text.replace('"BOX"', box), FRAME)
        assert kinds(parsed) == ("bad_box",)
        assert parsed.graph == parse(gold(), FRAME).graph


def test_boxes_are_fractions_of_the_frame() -> None:
    assert parse(gold(), (500, 2000)).graph.boxes.tolist() == [[0.2, 0.1, 0.6, 0.2], [0, 0, 2, 0.5]]


def test_odd_boxes_are_kept_as_written() -> None:
    graph = parse(gold([{**MAN, "bbox": [-500, 0, 1500, 0]}]), FRAME).graph
    assert graph.boxes.tolist() == [[-0.5, 0, 1.5, 0]]


@pytest.mark.parametrize(("x2", "expected"), [(1.005, ()), (1.2, ("box_out_of_frame",))])
def test_rounding_is_measured_in_small_frames_too(x2: float, expected: tuple[str, ...]) -> None:
    assert kinds(parse(gold([{"id": "a.1", "bbox": [0.1, 0.1, x2, 0.9]}], []), (1, 1))) == expected


def test_relationships_refer_to_the_first_of_two() -> None:
    graph = parse(gold([MAN, {**MAN, "bbox": [0, 0, 9, 9]}, DOG]), FRAME).graph
    assert graph.pairs == ((0, 2),)


DETAILS = (
    '{"objects": [], "a": [true, false, null, -1.5e-10, 2E+3, 0, NaN, Infinity, -Infinity], "b": {"c": [[], {}]}, '
    '"d": "\\u00e9\\ud83d\\ude00\\n\\"{", "e": ""}'
)


@pytest.mark.parametrize("text", [gold(), json.dumps(json.loads(gold()), indent=1), DETAILS])
def test_every_beginning_of_right_json_is_truncated(text: str) -> None:
    for wrapped in (text, "```json\n" + text, "Here: " + text, "<answer>" + text):
        for end in range(wrapped.index("{") + 1, len(wrapped)):
            assert parse(wrapped[:end], FRAME).failure == "truncated", wrapped[:end]


def test_given_objects() -> None:
    """Where the prompt gave the objects an answer may hold relationships only."""
    given = parse(gold(relationships=[]), FRAME).graph
    only = json.dumps({"relationships": [WALKS, {**WALKS, "object": "cat.1"}]})
    assert parse(only, FRAME).failure == "wrong_schema"
    parsed = parse(only, FRAME, given=given)
    assert parsed.graph == parse(gold(), FRAME).graph
    assert kinds(parsed) == ("dangling",)
    assert parse(OTHER, FRAME, given=given).graph == parse(OTHER, FRAME).graph
    assert parse("{}", FRAME, given=given).failure == "wrong_schema"
    assert parse(only, FRAME, given=EMPTY).failure == "empty"


# ---------------------------------------------------------------- repair


@pytest.mark.parametrize(
    ("text", "kind", "ids", "n_relationships"),
    [
        (gold()[:-3], "truncated", ("man.1", "dog.1"), 0),
        (gold()[:-2], "truncated", ("man.1", "dog.1"), 1),
        (gold()[:70], "truncated", ("man.1",), 0),
        (gold()[:-1] + ",}", "invalid_json", ("man.1", "dog.1"), 1),
        (gold().replace("[", "[:", 1), "invalid_json", ("man.1", "dog.1"), 1),
        (gold().replace("[0, 0,", "[0, 0 0,"), "invalid_json", ("man.1",), 0),
        (gold([{**MAN, "attributes": {"color": "red"}}, DOG])[:-3], "truncated", ("man.1", "dog.1"), 0),
    ],
)
def test_repair_keeps_whole_items(text: str, kind: str, ids: tuple[str, ...], n_relationships: int) -> None:
    assert parse(text, FRAME).failure == kind
    parsed = parse(text, FRAME, repair=True)
    assert parsed.failure is None
    assert parsed.issues[0].kind == kind
    assert "repaired" in parsed.issues[0].detail
    assert parsed.graph.ids == ids
    assert len(parsed.graph.pairs) == n_relationships


@pytest.mark.parametrize("text", ["", "{", gold()[:20], "[]", '{"caption": 1}', '{"id": {"id": {"id": ', gold([], [])])
def test_repair_does_not_invent(text: str) -> None:
    assert parse(text, FRAME, repair=True).failure == parse(text, FRAME).failure


@pytest.mark.parametrize("row", GOLD, ids=lambda row: row.name)
def test_repair_leaves_right_answers_alone(row: Row) -> None:
    assert parse(row.text, FRAME, repair=True).graph == parse(row.text, FRAME).graph


# ---------------------------------------------------------------- any text


FRAGMENTS = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "\\", "'", "```json\n", "```", "<think>", "</think>", "<answer>", "</answer>",
     '"objects":', '"relationships":', '"id":', '"bbox":', '"subject":"a.1"', '"predicate":"on"', '"object":"a.1"',
     '{"id":"a.1","bbox":[1,2,3,4]}', '{"id":"b","bbox":[9,8,7,6]}', gold(), gold()[:50], gold()[50:], "NaN", "1e999",
     "-", "\\ud800", "\ud800", "\x00", "null", "true", " ", "\n", "é", "😀"]
)  # fmt: skip
ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["a.1", "b.1", "on"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["objects", "relationships", "id", "bbox", "subject", "predicate", "object"]), inner
        )
    ),
    max_leaves=20,
)


@given(ANY_TEXT | st.lists(FRAGMENTS | ANY_TEXT, max_size=30).map("".join), st.booleans())
def test_parse_is_total(text: str, repair: bool) -> None:
    check(parse(text, FRAME, repair=repair))


@given(st.fixed_dictionaries({"objects": VALUES, "relationships": VALUES}))
def test_parse_is_total_on_any_document(document: dict[str, Any]) -> None:
    check(parse(json.dumps(document), FRAME))
    check(parse_document(document, FRAME))


@given(st.integers(0, 400), st.integers(0, 400), FRAGMENTS | ANY_TEXT)
def test_parse_is_total_on_mutated_gold(start: int, length: int, patch: str) -> None:
    text = THINK + ANSWER
    check(parse(text[:start] + patch + text[start + length :], FRAME))


# ---------------------------------------------------------------- render


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    """Any graph that `SceneGraph.build` accepts, slivers included."""
    labels = draw(
        st.lists(st.sampled_from(["man", "traffic light", "t shirt", "café", "人", "boeing 747"]), max_size=8)
    )

    def side() -> tuple[float, float]:
        low, high = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True)))
        return low, high

    objects = []
    for name in number_ids(labels):
        (x1, x2), (y1, y2) = side(), side()
        objects.append(SceneObject(name, label_of_id(name), (x1, y1, x2, y2)))
    if not objects:
        return EMPTY
    end = st.integers(0, len(objects) - 1)
    relationship = st.builds(Relationship, end, st.sampled_from(["on", "in front of", '"on" \\ top']), end)
    return SceneGraph.build(objects, draw(st.lists(relationship, max_size=8)))


def sides(boxes: Iterable[Iterable[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return array[:, 2:] - array[:, :2]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@given(graph=graphs(), minify=st.booleans(), think=st.booleans())
def test_round_trip(frame: tuple[float, float], graph: SceneGraph, minify: bool, think: bool) -> None:
    text = render(graph, frame, minify=minify, think=think)
    assert text.startswith("<think></think><answer>{" if think else "{")
    document = json.loads(text.removeprefix("<think></think><answer>").removesuffix("</answer>"))
    written = np.array([o["bbox"] for o in document["objects"]]).reshape(-1, 4)
    assert (written >= 0).all()
    assert (written <= np.tile(np.floor(frame), 2)).all()
    assert (sides(written) >= 1).all()

    parsed = parse(text, frame)
    assert set(kinds(parsed)) <= {"repeated_triplet", "self_loop", "empty"}
    back = parsed.graph
    assert (back.ids, back.labels, back.pairs, back.predicates) == (
        graph.ids, graph.labels, graph.pairs, graph.predicates,
    )  # fmt: skip
    unit = np.tile(frame, 2)
    error = np.abs(back.boxes - graph.boxes) * unit
    rounds_to_nothing = np.tile(sides(np.rint(np.minimum(graph.boxes * unit, np.floor(unit)))) < 1, (1, 2))
    assert (error <= np.where(rounds_to_nothing, 1, 0.5) + 1e-6).all()


@pytest.mark.parametrize("frame", [f for f in FRAMES if f[0] >= 420], ids=str)
def test_whole_units_come_back_exactly(frame: tuple[int, int]) -> None:
    width, height = frame
    boxes = [(0, 0, width, height), (1, 2, 3, 4), (width - 1, height - 1, width, height), (7, 0, 191, height - 3)]
    graph = SceneGraph.build(
        [
            SceneObject(name, "man", (x1 / width, y1 / height, x2 / width, y2 / height))
            for name, (x1, y1, x2, y2) in zip(number_ids(["man"] * 4), boxes, strict=True)
        ]
    )
    assert np.allclose(parse(render(graph, frame), frame).graph.boxes, graph.boxes, rtol=0, atol=1e-15)


def test_render_clips_what_a_model_put_outside() -> None:
    text = gold([{**MAN, "bbox": [-500, 5, 1500, 5]}, {**DOG, "bbox": [1200, 10, 1300, 20]}])
    written = json.loads(render(parse(text, FRAME).graph, FRAME))["objects"]
    assert [o["bbox"] for o in written] == [[0, 5, 1000, 6], [999, 10, 1000, 20]]


def test_rendered_text() -> None:
    graph = parse(gold([MAN], []), FRAME).graph
    assert render(graph, FRAME) == '{"objects": [{"id": "man.1", "bbox": [100, 200, 300, 400]}], "relationships": []}'
    assert render(graph, (10, 10), minify=True, think=True) == (
        '<think></think><answer>{"objects":[{"id":"man.1","bbox":[1,2,3,4]}],"relationships":[]}</answer>'
    )
    assert render(EMPTY, FRAME, minify=True) == '{"objects":[],"relationships":[]}'
