"""Each dialect reads its own example, no dialect misreads another's, and a file's dialect is decided from all of it."""

import random
from pathlib import Path

import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.dialects.registry import AUTO, DIALECTS, OURS, choose_dialect, dialect_of
from r1sgg.graph.frames import BoxFrame
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Parsed, parse

from .test_text import check

FRAME = (1000.0, 1000.0)
BOXES = {"man.1": [0.1, 0.08, 0.42, 0.9], "horse.1": [0.09, 0.3, 0.8, 0.99], "tree.1": [0.7, 0.01, 0.99, 0.6]}
TRIPLETS = {("man", "riding", "horse"), ("horse", "near", "tree")}
NAMES = list(DIALECTS)


def read(text: str, dialect: str) -> Parsed:
    parsed = parse(text, FRAME, dialect=dialect)
    check(parsed)
    return parsed


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_read_in_full(name: str) -> None:
    dialect = DIALECTS[name]
    parsed = read(dialect.example, name)
    assert {issue.kind for issue in parsed.issues} <= (set() if dialect.relations else {"no_relationships"})
    assert parsed.graph.ids == tuple(BOXES)
    for box, want in zip(parsed.graph.boxes.tolist(), BOXES.values(), strict=True):
        assert box == pytest.approx(want, abs=0.0015)
    assert set(parsed.graph.triplets) == (TRIPLETS if dialect.relations else set())


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_shows_the_example(name: str) -> None:
    module = name.replace("-", "_")
    text = (Path(__file__).parents[2] / f"src/r1sgg/graph/dialects/{module}.py").read_text("utf-8")
    docstring = "".join(text.split('"""')[1].split())
    for word in ("man", "horse", "tree"):
        assert word in docstring


@pytest.mark.parametrize("writer", NAMES)
@pytest.mark.parametrize("reader", NAMES)
def test_no_dialect_misreads_anothers_answer(reader: str, writer: str) -> None:
    """The graph of the writer, or a named failure: never a plausible half."""
    text = DIALECTS[writer].example
    for answer in (text, f"<think>Let me see.</think>{text}", f"Here it is:\n{text}\nDone."):
        right, parsed = read(answer, writer), read(answer, reader)
        if parsed.failure is None:
            assert same(parsed.graph, right.graph)
        else:
            assert parsed.failure == ("other_dialect" if reader != writer else None)


def same(first: SceneGraph, second: SceneGraph) -> bool:
    return (
        (first.ids, first.labels) == (second.ids, second.labels)
        and abs(first.boxes - second.boxes).max() < 1e-9
        and set(first.triplets) == set(second.triplets)
    )


@pytest.mark.parametrize("name", NAMES)
def test_auto_decides_from_the_whole_file(name: str) -> None:
    text = DIALECTS[name].example
    assert dialect_of(text) == name
    choice = choose_dialect([*["no idea"] * 20, text, text, DIALECTS[OURS].example])
    assert choice.dialect == (name if name != OURS else OURS)
    assert choice.texts == 23
    assert choose_dialect(["no idea"]).dialect == OURS
    assert choose_dialect([text], OURS).dialect == OURS


def test_an_unknown_dialect_is_one_sentence() -> None:
    for call in (lambda: parse("", FRAME, dialect="latin"), lambda: choose_dialect([], "latin")):
        with pytest.raises(ConfigError, match=r"dialect: expected one of arrows, .*, found 'latin'"):
            call()
    assert choose_dialect([], AUTO).dialect == OURS


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_answer_is_no_half_graph(name: str) -> None:
    """Every beginning of an example that loses a relationship, or has none of its end, fails or says so.

    A list of objects without any end (tags, tokens) cannot be told from a whole one: its beginnings hold fewer objects.
    """
    text, dialect = DIALECTS[name].example, DIALECTS[name]
    whole = read(text, name).graph
    for end in range(len(text)):
        parsed = read(text[:end], name)
        if parsed.failure is None and dialect.relations and name not in ("asmv2", "pix2grp"):
            assert same(parsed.graph, whole), text[:end]


ROWS = [
    ("toon", "obj[2]{id,name,x1,y1,x2,y2}:\n 1,man,1,2,3,4\nrel[1]{subj,pred,obj}:", "truncated"),
    ("toon", "<answer>obj[2]{id,name,x1,y1,x2,y2}:\n 1,man,1,2,3,4\nrel[0]{subj,pred,obj}:</answer>", None),
    ("toon", 'obj[1]{id,name,x1,y1,x2,y2}:\n 1,"a, b",1,2,3,4\nrel[0]{subj,pred,obj}:', None),
    ("sgg-r3", DIALECTS["sgg-r3"].example.partition("<RELATION>")[0], "truncated"),
    ("sgg-r3", DIALECTS["sgg-r3"].example.replace('"tree.1"}]', '""tree.1"}]'), "invalid_json"),
    (
        "qwen-json",
        '[{"bbox_2d": [1, 2, 3, 4], "label": "a"}, {{"bbox_2d": [1, 2, 3, 4], "label": "b"}]',
        "invalid_json",
    ),
    ("qwen-json", '{"bbox_2d": [1, 2, 3, 4], "label": "a"}\n{"bbox_2d": [1, 2, 3, 4], "label": "b"}', None),
    ("qwen-json", '[{"point_2d": [1, 2], "label": "a"}]', "wrong_schema"),
    ("det-tags", "<|ref|>a<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|><|ref|>b<|/ref|><|det|>[[1, 2", "truncated"),
    ("asmv2", "<ref>a</ref><box>[[1, 2, 3, 4]]</box>", "other_dialect"),
    ("pix2grp", "man [OBJ] [CORD] [CORD] [OBJ/] on [REL] dog [OBJ] [CORD] [OBJ/]", "wrong_schema"),
    ("paligemma", "<loc0001><loc0002><loc0003><loc0004>", "truncated"),
    ("florence", "a<loc_1><loc_2><loc_3>", "truncated"),
]


@pytest.mark.parametrize(("name", "text", "failure"), ROWS)
def test_odd_answers(name: str, text: str, failure: str | None) -> None:
    assert read(text, name).failure == failure


def test_the_prompt_in_a_completion_of_sgg_r3_is_not_its_answer() -> None:
    example = DIALECTS["sgg-r3"].example
    answer = example.replace("man", "woman")
    assert read(example + answer, "sgg-r3").graph.labels == ("woman", "horse", "tree")
    assert read(example + answer.partition("<RELATION>")[0], "sgg-r3").failure == "truncated"


def test_relationships_of_sgg_r3_by_kind_or_in_one_list() -> None:
    example = DIALECTS["sgg-r3"].example
    want = read(example, "sgg-r3").graph.triplets
    start, _, rest = example.partition('{"relations": ')
    flat = f"{start}{rest}".replace("}}\n</RELATION>", "}\n</RELATION>")
    assert read(flat, "sgg-r3").graph.triplets == want
    one = flat.replace('{"spatial_relations": ', "").replace('], "interaction_relations": [', ", ")
    assert read(one.replace("]}\n</REL", "]\n</REL"), "sgg-r3").graph.triplets == want


def test_relationships_beside_detections_are_read() -> None:
    text = (
        '{"objects": [{"bbox_2d": [1, 2, 3, 4], "label": "man"}, {"bbox_2d": [10, 20, 300, 400], "label": "dog"}], '
        '"relationships": [{"subject": "man", "predicate": "walking", "object": "dog"}, '
        '{"subject": 0, "predicate": "near", "object": 1}]}'
    )
    parsed = read(text, "qwen-json")
    assert parsed.graph.triplets == (("man", "walking", "dog"), ("man", "near", "dog"))
    assert [issue.kind for issue in parsed.issues] == ["end_by_class", "end_by_index"]


def test_asmv2_pairs_one_box_with_several() -> None:
    text = (
        "<ref>men</ref><box>[[0, 0, 9, 9], [20, 0, 29, 9]]</box> on <ref>road</ref><box>[[0, 0, 99, 99]]</box> "
        "<pred>walking on</pred><box>[[0, 0, 9, 9], [20, 0, 29, 9]]</box><box>[[0, 0, 99, 99]]</box>"
        "<pred>near</pred><box>[[1, 1, 2, 2]]</box><box>[[0, 0, 99, 99]]</box>"
    )
    parsed = read(text, "asmv2")
    assert parsed.graph.triplets == (("men", "walking on", "road"),) * 2
    assert parsed.graph.pairs == ((0, 2), (1, 2))
    assert [issue.kind for issue in parsed.issues] == ["dangling"]  # a box that no name has


def test_a_padded_square_needs_the_image() -> None:
    box = "<box>[[250, 0, 749, 999]]</box>"
    text = f"<ref>a</ref>{box}<pred>on</pred>{box}{box}"
    graph = parse(text, FRAME, dialect="asmv2", image=(300, 600)).graph
    assert graph.boxes[0].tolist() == pytest.approx([0, 0, 1, 1], abs=0.002)


def test_a_declared_frame_beats_the_dialects_own() -> None:
    text = '[{"box_2d": [1, 2, 30, 40], "label": "a"}]'
    assert parse(text, FRAME, dialect="gemini").graph.boxes[0].tolist() == [0.002, 0.001, 0.04, 0.03]
    frame = BoxFrame((100.0, 200.0))
    assert parse(text, frame, dialect="gemini").graph.boxes[0].tolist() == [0.01, 0.01, 0.3, 0.2]


def test_time_is_linear_in_odd_texts() -> None:
    """Reaching the end at all is the test: quadratic reading of these takes minutes."""
    pieces = ("<ref>", "<box>[[1,", "<pred>a</pred>", "<|det|>", "<loc0001>", "<loc_1>", "[OBJ] 1 [OBJ/] a [REL] ",
              "->", "→ ", ' -> \\"', "obj[1]{a}:\n1,2\n",
              '"a -> b', "obj[1]{id}:\n", "<OBJECT>{", "<scene>{", '[{"bbox_2d":', '{"box_2d": [', "<|box_start|>(1,",
              '{"objects": [], "relationships": []}', '{"objects": ', "objects\nend\n", "[THINK]", "◁think▷",
              "<thinking>",
              '{"a": 1}', '{"a": "', "[1, 2, 3] ", '{"id": 1} ')  # fmt: skip
    rng = random.Random(0)
    for start in ("man [OBJ] ", "->[OBJ]", "<box>", "<|det|>", "obj[1]{a}:\n"):
        for filling in ("x", " ", "-", "9", "a.1", "\\"):
            for name in NAMES:
                parse(f'{start}"{filling * 60_000}" [OBJ/] ->', FRAME, dialect=name)
    for piece in pieces:
        for other in ("", rng.choice(pieces)):
            text = (piece + other) * (65_536 // len(piece + other))
            for name in NAMES:
                parse(text, FRAME, dialect=name)
