"""The guide against an oracle, with random vocabularies of tokens, hostile drawers and every budget."""

import random
import re
from itertools import product

import pytest

from r1sgg.errors import ConfigError
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.text import number_ids, parse
from r1sgg.guiding.guide import FEW, Guide
from r1sgg.guiding.names import limit, slack
from r1sgg.guiding.numbers import Integers
from r1sgg.guiding.regions import Tokens
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable

from . import drawing
from .drawing import allowed, draw_answer, random_table
from .graphs import random_text
from .oracle import read

WORDS = ("man", "mango", "man eater", "t-shirt", "room 5", "street_sign", "café", 'a "b"', "end", "relationships")
SAID = ("on", "on top of", "near-by", "near by", "to the left of")
SPECS = [
    GuideSpec((12, 105), objects, predicates, 3, 4, answer_format, minify, think)
    for (answer_format, minify), objects, predicates, think in product(
        (("json", False), ("json", True), ("compact", False)), ((), WORDS), ((), SAID, ("on",)), (0, 6)
    )
]
DRAWERS = ["evenly", "shortest", "longest", "never_ending", "looping"]


def table_for(rng: random.Random, spec: GuideSpec) -> TokenTable:
    return random_table(rng, [*(random_text(rng, spec).encode() for _ in range(6)), "café".encode()])


def drawer(name: str, rng: random.Random) -> drawing.Drawer:
    if name in ("evenly", "looping"):
        return drawing.evenly(rng) if name == "evenly" else drawing.looping()
    simple: drawing.Drawer = getattr(drawing, name)
    return simple


def check(text: bytes, spec: GuideSpec) -> None:
    """The answer is read without any issue and keeps to the specification."""
    parsed = parse(text.decode("utf-8", "replace"), spec.frame)
    graph = parsed.graph
    assert not parsed.issues, (text, parsed.issues)
    assert 1 <= len(graph) <= spec.max_objects
    assert len(graph.pairs) <= spec.max_relationships
    assert [i.rpartition(".")[2] for i in graph.ids] == [i.rpartition(".")[2] for i in number_ids(graph.labels)]
    assert not spec.objects or set(graph.labels) <= set(map(normalize_name, spec.objects))
    assert not spec.predicates or set(graph.predicates) <= set(map(normalize_name, spec.predicates))
    assert max(map(len, (*graph.labels, *graph.predicates))) <= 40
    assert graph.boxes.min() >= 0
    assert graph.boxes.max() <= 1
    assert ((graph.boxes * (spec.frame * 2)).round(6) % 1 == 0).all()


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_a_token_is_allowed_if_and_only_if_the_text_can_go_on_with_it(number: int) -> None:
    spec, rng = SPECS[number], random.Random(number)
    table = table_for(rng, spec)
    guide, text = Guide(table, spec, 1000), b""
    step = 0
    while not guide.finished:
        ids = allowed(guide)
        thinking = spec.think and b"</think>" not in text
        if rng.random() < 0.15 and (not thinking or step < 4):
            for token, piece in enumerate(table.pieces):
                ways = read(text + (piece or b""), spec)
                expected = ways.whole if token == table.end else bool(piece) and ways.possible
                assert (token in ids) == expected, (text, piece)
        token = drawing.longest(ids, table) if rng.random() < 0.3 else rng.choice(ids)
        guide.advance(token)
        text += table.pieces[token] or b""
        step += 1
    check(text, spec)


@pytest.mark.parametrize("number", range(0, len(SPECS), 2))
def test_only_near_its_end_does_a_budget_rule_out_tokens(number: int) -> None:
    """With as many tokens left as `most` says, the same tokens are allowed as with a million."""
    spec, rng = SPECS[number], random.Random(number)
    table = table_for(rng, spec)
    guide = Guide(table, spec, 1_000_000)
    while not guide.finished:
        if guide._region is not None:
            enough = guide._script.costs.most(guide._draft)
            near: list[Tokens] = []
            guide._collect(guide._draft, guide._region, guide._node, b"", enough, near)
            assert {k for tokens in near for k in tokens.ids.tolist()} == set(allowed(guide))
        guide.advance(drawing.longest(allowed(guide), table) if rng.random() < 0.5 else rng.choice(allowed(guide)))


@pytest.mark.parametrize("name", DRAWERS)
@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_drawn_the_answer_is_valid_and_fits(name: str, seed: int) -> None:
    rng = random.Random(f"{name}{seed}")
    for _ in range(4):
        spec = GuideSpec(
            frame=(rng.choice((1, 2, 9.5, 112, 1000)), rng.choice((1, 10, 1000, 3000))),
            objects=rng.choice(((), WORDS, ("man",))),
            predicates=rng.choice(((), SAID, ("on",))),
            max_objects=rng.choice((1, 2, 12, 50)),
            max_relationships=rng.choice((0, 1, 30)),
            answer_format=rng.choice(("json", "compact")),
            minify=rng.random() < 0.5,
            think=rng.choice((0, 0, 1, 20)),
        )
        table = table_for(rng, spec)
        text, _ = draw_answer(table, spec, least(table, spec) + rng.choice((0, 3, 30, 300)), drawer(name, rng))
        check(text, spec)


def least(table: TokenTable, spec: GuideSpec) -> int:
    """The smallest budget, as the error message has it."""
    with pytest.raises(ConfigError, match="the shortest answer takes") as error:
        Guide(table, spec, 1)
    return int(str(error.value).split("takes ")[1].split()[0])


@pytest.mark.parametrize("number", range(0, len(SPECS), 5))
def test_every_budget_is_kept(number: int) -> None:
    spec, rng = SPECS[number], random.Random(number)
    table = table_for(rng, spec)
    start = least(table, spec)
    used = set()
    for budget in range(start, start + 40):
        for name in ("evenly", "never_ending"):
            text, tokens = draw_answer(table, spec, budget, drawer(name, rng))
            check(text, spec)
            used.add(len(tokens) - budget)
    assert max(used) == 0, "some answers use all they may"
    with pytest.raises(ConfigError, match=f"takes {start} tokens, found a budget of {start - 1}"):
        Guide(table, spec, start - 1)


def test_no_answer_is_shorter_than_the_least_budget() -> None:
    spec = GuideSpec((3, 3), ("a", "bc"), (), 1, 0, minify=True)
    for seed in range(20):  # with tokens that do not run from a number into what follows it
        table = random_table(
            random.Random(seed), [b'{"objects":[{"id":"a.', b'bc","bbox":[', b']}],"relationships":[]}']
        )
        boxes = ("0,0,1,1", "2,2,3,3", "0,1,3,2")
        texts = [f'{{"objects":[{{"id":"{name}.1","bbox":[{box}]}}],"relationships":[]}}'
                 for name in spec.objects for box in boxes]  # fmt: skip
        assert least(table, spec) == min(table.cost(text.encode()) for text in texts) + 1


def test_a_thought_has_at_most_its_tokens_and_no_second_closing_tag() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        spec = GuideSpec((9, 9), ("man",), ("on",), 2, 1, think=rng.randint(1, 12))
        table = table_for(rng, spec)
        text, tokens = draw_answer(table, spec, 400, drawer(rng.choice(("evenly", "never_ending")), rng))
        check(text, spec)
        inside = text[: text.lower().index(b"</think>") + len(b"</think>")]
        assert text[len(inside) :].startswith(b"<answer>{")
        position, count = 0, 0
        for token in tokens:
            count += len(b"<think>") <= position < len(inside) - len(b"</think>")
            position += len(table.pieces[token] or b"")
        assert count <= spec.think + len(b"</think>")


@pytest.mark.parametrize("answer_format", ["json", "compact"])
@pytest.mark.parametrize("predicates", [("on",), ("on", "near"), ("next to", "next-to")])
def test_relationships_go_on_until_everything_is_said_once(answer_format: str, predicates: tuple[str, ...]) -> None:
    rng = random.Random(0)
    spec = GuideSpec((2, 2), ("a",), predicates, 3, 100, answer_format)  # type: ignore[arg-type]

    def draw(ids: list[int], table: TokenTable) -> int:
        def closing(token: int) -> int:
            piece = table.pieces[token] or b"]"
            return 2 if re.search(rb"\]|\n[er]", piece) else int(piece[:1] in b"er")

        least_closing = min(map(closing, ids))
        return rng.choice([token for token in ids if closing(token) == least_closing])

    pairs = set()
    for _ in range(4):
        text, _ = draw_answer(table_for(rng, spec), spec, 2000, draw)
        check(text, spec)
        graph = parse(text.decode(), spec.frame).graph
        assert len(graph.pairs) == len(graph) * (len(graph) - 1) * len(set(map(normalize_name, predicates)))
        pairs.add(len(graph.pairs))
    assert max(pairs) >= 6


def test_one_open_predicate_said_over_and_over_becomes_another() -> None:
    spec = GuideSpec((2, 2), ("a",), (), 2, 40)
    texts = [b'{"subject": "a.1", "predicate": "on", "object": "a.2"}, {"subject": "a.2"', b'"on", "object"']
    table = random_table(random.Random(1), texts)

    def draw(ids: list[int], table: TokenTable) -> int:
        def wish(token: int) -> int:
            piece = table.pieces[token] or b"]]]"
            return [b"]" not in piece, piece[:1] in b'"}.,', piece[:1] in b"on"].index(True) if b"]" not in piece else 9

        return min(ids, key=lambda k: (wish(k), k))

    text, _ = draw_answer(table, spec, 3000, draw)
    check(text, spec)


def test_no_name_is_a_dead_end() -> None:
    rng = random.Random(0)
    for count in (1, 25, 26, 80):
        lengths = rng.choice((range(1, 41), range(38, 41), [40], [1, 2, 3]))
        forbidden = frozenset("".join(rng.choices("ab", k=rng.choice(list(lengths)))) for _ in range(count))
        longest, more = limit(forbidden), slack(len(forbidden))
        assert 26**more > len(forbidden) >= 26 ** (more - 1)
        if longest:
            assert more <= longest <= 40
            assert not any(longest - more < len(name) <= longest for name in forbidden)
    assert limit(frozenset()) == 40
    assert limit(frozenset({"x" * 40})) == 39
    assert limit(frozenset("a" * n for n in range(1, 41))) == 0, "such a subject is not offered any more"


def test_forced_tokens_are_those_without_an_alternative() -> None:
    spec = GuideSpec((1, 1), ("man",), (), 1, 0)
    table = TokenTable([bytes([b]) for b in range(256)] + [None], 256)
    guide = Guide(table, spec, 100)
    forced = Guide(table, spec, 100).follow()
    assert (
        len(forced)
        == len(least_text := b'{"objects": [{"id": "man.1", "bbox": [0, 0, 1, 1]}], "relationships": []}') + 1
    )
    assert bytes(forced[:-1]) == least_text
    for token in forced:
        assert guide.few().tolist() == [token]  # type: ignore[union-attr]
        guide.advance(token)
    assert guide.finished
    assert guide.follow() == []


def test_guides_of_one_table_do_not_disturb_each_other() -> None:
    table = table_for(random.Random(0), SPECS[0])

    def answers(together: bool) -> list[list[int]]:
        draws = [random.Random(k) for k in range(6)]
        guides = [Guide(table, SPECS[k % 3], 60 + 20 * k) for k in range(6)]
        drawn: list[list[int]] = [[] for _ in guides]
        order = [k for _ in range(400) for k in range(6)] if together else [k for k in range(6) for _ in range(400)]
        for k in order:
            if not guides[k].finished:
                drawn[k].append(draws[k].choice(allowed(guides[k])))
                guides[k].advance(drawn[k][-1])
        assert all(guide.finished for guide in guides)
        return drawn

    assert answers(together=True) == answers(together=False)


def test_a_token_that_is_not_allowed_is_refused_and_changes_nothing() -> None:
    table = table_for(random.Random(0), SPECS[0])
    guide = Guide(table, SPECS[0], 200)
    before = allowed(guide)
    for token in (table.end, next(k for k in range(1, table.size) if k not in before)):
        with pytest.raises(ValueError, match="only allowed tokens may be drawn"):
            guide.advance(token)
    assert allowed(guide) == before


def test_large_sets_come_as_bits_only() -> None:
    pieces = [bytes([b]) for b in range(128)] + [
        f"{a}{b}{c}".encode() for a, b, c in product("abcdefghijklmn", repeat=3)
    ]
    table = TokenTable([*pieces, None], len(pieces))
    guide = Guide(table, GuideSpec((9, 9)), 200)
    for byte in b'{"objects": [{"id": "':
        guide.advance(byte)
    assert len(pieces) > FEW
    assert guide.few() is None
    mask = guide.mask()
    assert mask is not None
    assert mask.dtype == "int32"
    assert len(mask) == -(-table.size // 32)


LETTERS = [bytes([b]) for b in range(128)]


@pytest.mark.parametrize(
    ("spec", "pieces", "message"),
    [
        (GuideSpec((9, 9), ("man", "caf\u00e9")), LETTERS, "objects: this tokenizer can't spell 'caf\u00e9'"),
        (GuideSpec((9, 9), ("man",), ("\u2192",)), LETTERS, "predicates: this tokenizer can't spell '\u2192'"),
        (GuideSpec((9, 9), ("man", "\ud800")), LETTERS, "objects: this tokenizer can't spell"),
        (GuideSpec((9, 9), ("man", "7")), LETTERS, "objects: expected names that can be read again, found '7'"),
        (GuideSpec((9, 9), ("",)), LETTERS, "objects: expected names that can be read again, found ''"),
        (GuideSpec((9, 9), ("x" * 300,)), LETTERS, "objects: expected names that can be read again, found 'xxx"),
        (GuideSpec((9, 9), (), ("...",)), LETTERS, "predicates: expected names that can be read again, found '...'"),
        (GuideSpec((9, 9), ("a</answer>b",), think=3), LETTERS, "expected names that can be read again, found 'a</"),
        (GuideSpec((9, 9), ("st", "st.1 x")), LETTERS, "'st.1 x' can't be told from the beginning of an id of 'st'"),
        (GuideSpec((9, 9), ("b", "b2 bomber"), answer_format="compact"), LETTERS, "'b2 bomber' can't be told from"),
        (GuideSpec((9, 9)), [p for p in LETTERS if p != b"7"], "this tokenizer has no tokens for '7'"),
        (GuideSpec((9, 9)), [p for p in LETTERS if p != b"q"], "this tokenizer has no tokens for 'q'"),
        (GuideSpec((9, 9)), [p for p in LETTERS if p != b"{"], "this tokenizer has no tokens for '{"),
    ],
)
def test_what_cannot_be_guided_is_one_sentence(spec: GuideSpec, pieces: list[bytes], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Guide(TokenTable([*pieces, None], len(pieces)), spec, 1000)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_closed_vocabulary_needs_only_the_letters_of_its_names() -> None:
    spec = GuideSpec((9, 9), ("man",), ("on",))
    letters = set(b'{"objects": [{"id": "man.1", "bbox": [23456789]}], "relationships": []} "subject predicate on')
    pieces = [bytes([b]) for b in letters | set(b"<think></think><answer></answer>0123456789")]
    text, _ = draw_answer(TokenTable([*pieces, None], len(pieces)), spec, 300, drawer("evenly", random.Random(0)))
    check(text, spec)


def test_a_vocabulary_of_whole_words_never_begins_what_it_cannot_finish() -> None:
    """Tokens "man" and "map" but no "m", "a", "n" or "p"; "ma" is a token that nothing can finish."""
    spec = GuideSpec((9, 9), ("man", "map"), ("on",), 3, 3, minify=True)
    fixed = [b'{"objects":[{"id":"', b'","bbox":[', b']},{"id":"', b']}],"relationships":[{"subject":"', b"on"]
    fixed += [b']}],"relationships":[]}', b'","predicate":"', b'","object":"', b'"},{"subject":"', b'"}]}', b",", b"."]
    fixed += [b"<think>", b"</think>", b"<answer>", b"man", b"map", b"ma", *(str(k).encode() for k in range(10))]
    table = TokenTable([*fixed, None], len(fixed))
    graphs = []
    for seed in range(40):
        text, tokens = draw_answer(table, spec, 80, drawer("evenly", random.Random(seed)))
        check(text, spec)
        assert fixed.index(b"ma") not in tokens
        graphs.append(parse(text.decode(), spec.frame).graph)
    assert {len(graph.pairs) for graph in graphs} >= {0, 1, 2}


@pytest.mark.parametrize("low", [0, 1, 7, 99, 480, 1000])
def test_numbers_are_the_same_in_few_tokens_and_in_many(low: int) -> None:
    """Tokens that are whole numbers are found in another way than digits: all that begin a number are allowed."""
    texts = [str(k).encode() for k in range(1001)] + [b"00", b"01", b"007"]
    many = TokenTable([*texts, None], len(texts))
    region = Integers.of(many, low, 1000)
    for node in (b"", b"0", b"1", b"4", b"48", b"100", b"1000"):
        (tokens,), exits = region.reach(node, b"")
        begun = {text for text in texts if any(str(n).startswith((node + text).decode()) for n in range(low, 1001))}
        assert {many.pieces[k] for k in tokens.ids.tolist()} == begun
        assert tokens.ids.tolist() == sorted(tokens.ids.tolist())
        assert [e.value for e in exits] == ([int(node)] if node and low <= int(node) <= 1000 else [])
        for more in (0, 1, 2):
            (near,), _ = region.within(node, b"", more, (0,))
            missing = {text for text in begun if any(
                len(str(n)) <= len(node + text) + more and str(n).startswith((node + text).decode())
                for n in range(low, 1001))}  # fmt: skip
            assert {many.pieces[k] for k in near.ids.tolist()} == missing
