"""Guides on real tokenizers: Qwen2's, the tiny model's, and a SentencePiece-like one with bytes to fall back on."""

import json
import random
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from r1sgg.errors import ModelError
from r1sgg.graph.text import parse
from r1sgg.graph.vocabulary import PSG, VG150
from r1sgg.guiding.guide import Guide
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import IMPOSSIBLE, TokenTable

from .drawing import Drawer, allowed, draw_answer, evenly, longest, never_ending
from .graphs import random_text

SPECS = [
    GuideSpec((1000, 1000)),
    GuideSpec((1000, 1000), minify=True),
    GuideSpec((644, 1288), VG150.objects, VG150.predicates),
    GuideSpec((1000, 1000), PSG.objects, PSG.predicates, minify=True, think=9),
    GuideSpec((1000, 1000), answer_format="compact"),
    GuideSpec((1000, 1000), VG150.objects, VG150.predicates, answer_format="compact"),
    GuideSpec((1000, 1000), PSG.objects, PSG.predicates, answer_format="compact", think=9),
]


def sentence_piece_like() -> Any:
    """Trained on answers, so its tokens run over every border; a space belongs to the word behind it."""
    rng = random.Random(0)
    texts = [random_text(rng, spec) for spec in SPECS for _ in range(60)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    alphabet = [chr(b) for b in range(33, 127)]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1500, special_tokens=["<unk>", "</s>", *bytes_], initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = [t for t in stored["added_tokens"] if t["content"] not in bytes_]  # they are ordinary ones
    tokenizer = Tokenizer.from_str(json.dumps(stored))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", clean_up_tokenization_spaces=False)


@pytest.fixture(scope="module")
def tokenizers(tiny_tokenizer: Any) -> dict[str, tuple[Any, TokenTable]]:
    piece_like = sentence_piece_like()
    return {
        "tiny": (tiny_tokenizer, TokenTable.of(tiny_tokenizer)),
        "sentence piece": (piece_like, TokenTable.of(piece_like)),
    }


@pytest.fixture(params=["tiny", "sentence piece", "qwen2"])
def pair(request: pytest.FixtureRequest, tokenizers: dict[str, tuple[Any, TokenTable]]) -> tuple[Any, TokenTable]:
    if request.param == "qwen2":
        return request.getfixturevalue("qwen2_tokenizer"), request.getfixturevalue("qwen2_table")
    return tokenizers[request.param]


def test_tokens_are_the_bytes_that_decoding_gives(pair: tuple[Any, TokenTable]) -> None:
    tokenizer, table = pair
    rng = random.Random(0)
    whole = [k for k, piece in enumerate(table.pieces) if piece and piece.isascii() and b"<" not in piece]
    for _ in range(300):
        ids = rng.choices(whole, k=5)
        text = b"".join(table.pieces[k] or b"" for k in ids).decode()
        decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert decoded in (text, text.removeprefix(" "))
    assert all(table.pieces[k] is None for k in tokenizer.all_special_ids)
    assert table.pieces[table.end] is None


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_the_tokenizer_s_own_way_to_write_an_answer_is_allowed(number: int, pair: tuple[Any, TokenTable]) -> None:
    tokenizer, table = pair
    spec, rng = SPECS[number], random.Random(number)
    for _ in range(25):
        text = random_text(rng, spec)
        if spec.think:
            text = text.replace("<think>", "<think>" + rng.choice(["", "A man", "é: 3 > 2", "\n\n"]), 1)
        ids = tokenizer.encode(text, add_special_tokens=False)
        if table.pieces[ids[0]] in (b" ", b"\xe2\x96\x81"):  # SentencePiece's own space in front
            ids = ids[1:]
        elif (first := table.pieces[ids[0]] or b"")[:1] == b" ":
            ids = [*table.spell(first[1:]), *ids[1:]]
        guide = Guide(table, spec, 4000)
        for token in ids:
            mask = guide.mask()
            assert mask is not None
            assert mask[token >> 5] >> (token & 31) & 1, (text, tokenizer.decode([token]))
            guide.advance(token)
        assert table.end in (guide.few().tolist())  # type: ignore[union-attr]


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[1], SPECS[4]], ids=["json", "minified", "compact"])
def test_a_predicate_that_is_used_up_is_not_begun_again_and_then_lengthened(
    spec: GuideSpec, pair: tuple[Any, TokenTable]
) -> None:
    """A model that wants to repeat itself says another predicate, not "near at"; "near by" stays writable."""
    tokenizer, table = pair
    if spec.answer_format == "json":
        comma, colon = (",", ":") if spec.minify else (", ", ": ")
        one = f'{{"id"{colon}"man.N","bbox"{colon}[0,0,9,9]}}'.replace(",", comma)
        both = comma.join(one.replace("N", n) for n in "12")
        start = f'{{"objects"{colon}[{both}]{comma}"relationships"{colon}['
        said = f'{{"subject"{colon}"man.1"{comma}"predicate"{colon}"near"{comma}"object"{colon}"man.2"}}{comma}'
        again, behind = f'{{"subject"{colon}"man.1"{comma}"predicate"{colon}"', f'"{comma}"object"'
    else:
        start, said = "objects\nman 0 0 9 9\nman2 0 0 9 9\nrelationships\n", "man near man2\n"
        again, behind = "man ", " "

    def at_the_predicate(text: str, end: str) -> tuple[Guide, list[int], int]:
        """A guide before the predicate, in the tokenizer's own tokens, those that it goes on with, and how many letters
        of the predicate the first holds."""
        ids = tokenizer.encode(text + end, add_special_tokens=False)
        length = sum(len(table.pieces[k] or b"") for k in ids) - len((text + end).encode())
        if length:  # SentencePiece's own space in front
            ids = [*table.spell((table.pieces[ids[0]] or b"")[length:]), *ids[1:]]
        guide, written = Guide(table, spec, 4000), 0
        while ids and written + len(table.pieces[ids[0]] or b"") <= len(text):
            written += len(table.pieces[ids[0]] or b"")
            guide.advance(ids.pop(0))
        if written < len(text):  # the token runs over the border
            assert text[written:].encode() == (table.pieces[ids[0]] or b"")[: len(text) - written]
        return guide, ids, written + len(table.pieces[ids[0]] or b"") - len(text) if ids else 0

    def allows(guide: Guide, token: int) -> bool:
        mask = guide.mask()
        return mask is not None and bool(mask[token >> 5] >> (token & 31) & 1)

    guide, ids, _ = at_the_predicate(start + again, "near" + behind)
    assert allows(guide, ids[0]), "at first it may be said"
    guide, ids, letters = at_the_predicate(start + said + again, "near" + behind)
    assert allows(guide, ids[0]) == (letters == 1)
    assert letters > 1 or table.size < 2000, "only of the smallest vocabularies"
    guide, ids, _ = at_the_predicate(start + said + again, "behind" + behind)
    assert allows(guide, ids[0])

    guide, *_ = at_the_predicate(start + said + again.rstrip(), "")
    name = again[len(again.rstrip()) :] + "near" + ("_" if spec.answer_format == "compact" else " ") + "by"
    for letter in name.encode():
        token = table.ids[bytes([letter])][0]
        assert allows(guide, token), chr(letter)
        guide.advance(token)


def test_a_used_up_predicate_s_first_token_is_that_between_two_names() -> None:
    """Llama 2's tokenizer has a token of two spaces, and puts a space in front of a text.

    It reads " near" as two spaces and "near", but "man near" with the token " near".
    """
    tokens = [*(chr(b) for b in range(33, 127)), "▁", "▁▁", "ne", "ar", "near", "▁near"]
    merges = [("▁", "▁"), ("n", "e"), ("a", "r"), ("ne", "ar"), ("▁", "near")]
    ids = {token: k for k, token in enumerate(["<unk>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *tokens])}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = sentence_piece_like().backend_tokenizer.decoder
    table = TokenTable.of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"))

    def allowed_behind(said: str) -> list[int]:
        guide = Guide(table, GuideSpec((1000, 1000), answer_format="compact"), 4000)
        for token in table.spell(f"objects\nman 0 0 9 9\nman2 0 0 9 9\nrelationships\n{said}man".encode()):
            guide.advance(token)
        return allowed(guide)

    assert ids["▁near"] in allowed_behind("")
    assert ids["▁near"] not in allowed_behind("man near man2\n")
    assert ids["▁"] in allowed_behind("man near man2\n")


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_whatever_is_drawn_from_a_real_vocabulary_is_valid(number: int, pair: tuple[Any, TokenTable]) -> None:
    tokenizer, table = pair
    spec, rng = SPECS[number], random.Random(number)

    def thinned(draw: Drawer) -> Drawer:
        return lambda ids, table: draw(ids[:: 1 + len(ids) // 400], table)

    for draw in (evenly(rng), longest, never_ending):
        for budget in (90, 200):
            _, tokens = draw_answer(table, spec, budget, thinned(draw))
            text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            parsed = parse(text, spec.frame)
            assert not parsed.issues, text
            assert len(parsed.graph) >= 1


def test_fixed_parts_are_written_in_the_tokenizer_s_own_tokens(qwen2_tokenizer: Any, qwen2_table: TokenTable) -> None:
    spec = GuideSpec((1000, 1000), ("man", "sky"), ("on",))
    guide = Guide(qwen2_table, spec, 400)
    opening = [qwen2_tokenizer.decode([k]) for k in guide.follow()]
    assert opening == ['{"', "objects", '":', ' [{"', "id", '":', ' "']
    guide.advance(*qwen2_tokenizer.encode("man"))
    assert [qwen2_tokenizer.decode([k]) for k in guide.follow()] == [".", "1", '",', ' "', "bbox", '":', " ["]


@pytest.mark.parametrize("minify", [True, False])
@pytest.mark.parametrize("name", ["tiny", "qwen2"])
def test_an_answer_of_listed_names_has_the_tokenizer_s_own_tokens(
    name: str, minify: bool, request: pytest.FixtureRequest
) -> None:
    """Numbers, names and references could be spelled in many ways; the guide leaves the one that models learn."""
    tokenizer, table = request.getfixturevalue(f"{name}_tokenizer"), request.getfixturevalue(f"{name}_table")
    spec = GuideSpec((1000, 1000), VG150.objects, VG150.predicates, 6, 9, minify=minify)
    rng = random.Random(0)
    for _ in range(20):
        text, tokens = draw_answer(table, spec, 4000, evenly(rng))
        assert [*tokenizer.encode(text.decode(), add_special_tokens=False), table.end] == tokens


def test_beside_unusual_names_the_tokenizer_s_own_way_is_allowed(qwen2_tokenizer: Any, qwen2_table: TokenTable) -> None:
    """Punctuation at a name's ends, which this tokenizer joins with that of the JSON around it."""
    spec = GuideSpec((100, 100), ("3d printer", "man", "(box)", "R2"), ("on", "(on)", "near 3"), 4, 6, minify=True)
    rng = random.Random(0)
    for _ in range(30):
        text, _ = draw_answer(qwen2_table, spec, 4000, evenly(rng))
        guide = Guide(qwen2_table, spec, 4000)
        for token in qwen2_tokenizer.encode(text.decode(), add_special_tokens=False):
            mask = guide.mask()
            assert mask is not None
            assert mask[token >> 5] >> (token & 31) & 1, (text, qwen2_tokenizer.decode([token]))
            guide.advance(token)


def test_the_fewest_tokens_that_spell_a_text() -> None:
    table = TokenTable([b"a", b"b", b"ab", b"aba", b"bab", None], 5)
    assert table.cost(b"ababab") == 2
    assert [table.pieces[k] for k in table.spell(b"ababab")] == [b"aba", b"bab"]
    assert table.costs(b"abb") == (2, 2, 1, 0)
    assert table.cost(b"abc") >= IMPOSSIBLE
    assert table.cost(b"") == 0


@pytest.mark.parametrize(
    ("decoder", "eos", "message"),
    [
        (decoders.WordPiece(), "</s>", "byte-level and SentencePiece-like tokenizers, found ['WordPiece']"),
        (decoders.ByteLevel(), None, "no end-of-turn token"),
    ],
)
def test_a_tokenizer_that_cannot_be_guided_is_one_sentence(decoder: Any, eos: str | None, message: str) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer.decoder = decoder
    with pytest.raises(ModelError) as error:
        TokenTable.of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos))
    assert message in str(error.value)


def test_tokens_that_are_no_fixed_pieces_of_text_are_found_out() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "</s>": 1}, []))
    tokenizer.decoder = decoders.ByteLevel()
    with pytest.raises(ModelError, match="expected tokens that stand for fixed pieces of text"):
        TokenTable.of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"))
