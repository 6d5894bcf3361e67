"""Random vocabularies of tokens, and ways to draw from what a guide allows."""

import random
from collections.abc import Callable, Sequence

import numpy as np

from r1sgg.guiding.guide import Guide
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable

Drawer = Callable[[Sequence[int], TokenTable], int]


def random_table(rng: random.Random, texts: Sequence[bytes], chunks: int = 80) -> TokenTable:
    """Every byte of ASCII and of the texts, and random pieces of the texts, in random order with some tokens twice."""
    pieces = [bytes([b]) for b in {10, *range(32, 127), *b"".join(texts)}]
    for _ in range(chunks):
        text = rng.choice(texts)
        start = rng.randrange(len(text))
        pieces.append(text[start : start + rng.randint(2, 14)])
    pieces += rng.sample(pieces, 3)
    rng.shuffle(pieces)
    return TokenTable([b"", *pieces, None], end=0)


def allowed(guide: Guide) -> list[int]:
    """The allowed tokens by the mask, which must agree with the short list."""
    mask = guide.mask()
    assert mask is not None
    ids = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()
    if (few := guide.few()) is not None:
        assert few.tolist() == ids
    return ids


def draw_answer(table: TokenTable, spec: GuideSpec, budget: int, draw: Drawer) -> tuple[bytes, list[int]]:
    """One answer: its text and tokens."""
    guide = Guide(table, spec, budget)
    tokens: list[int] = []
    while not guide.finished:
        tokens.append(draw(allowed(guide), table))
        guide.advance(tokens[-1])
        assert len(tokens) <= budget
    assert guide.mask() is None
    return b"".join(table.pieces[token] or b"" for token in tokens[:-1]), tokens


def evenly(rng: random.Random) -> Drawer:
    return lambda ids, table: rng.choice(ids)


def shortest(ids: Sequence[int], table: TokenTable) -> int:
    return min(ids, key=lambda k: (len(table.pieces[k] or b"x" * 99), k))


def longest(ids: Sequence[int], table: TokenTable) -> int:
    return max(ids, key=lambda k: (len(table.pieces[k] or b""), k))


def never_ending(ids: Sequence[int], table: TokenTable) -> int:
    """The end of the turn only if nothing else is left; commas, "a"s and zeros before anything else."""
    wanted = {b",": 0, b"a": 1, b" ": 2, b"on": 3, b"0": 4}
    return min(ids, key=lambda k: (k == table.end, wanted.get(table.pieces[k] or b"", 9), k))


def looping() -> Drawer:
    """The same token again and again where it is allowed, otherwise the one drawn longest ago."""
    seen: dict[int, int] = {}

    def draw(ids: Sequence[int], table: TokenTable) -> int:
        token = max(ids, key=lambda k: (seen.get(k, -1), k))
        seen[token] = len(seen)
        return token

    return draw
