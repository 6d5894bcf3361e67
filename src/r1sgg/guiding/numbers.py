"""Whole numbers between bounds, digit by digit or many digits to a token, where possible as the tokenizer has them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from r1sgg.guiding.regions import Exit, Reach, Tokens, Value
from r1sgg.guiding.table import Ids, TokenTable

_MANY = 64  # tokens; from there on arrays are faster than a loop
_AT_ONCE = 256  # numbers that are encoded together: tokenizers warn of long texts
_SOME = 40  # numbers that are compared in all contexts


class OwnNumbers:
    """How the tokenizer itself writes numbers between the parts of an answer.

    Args:
        table: the vocabulary.
        most: the highest number.
        comma: what stands between numbers.
        contexts: what else may stand before and behind one.

    Attributes:
        nexts: by the digits so far, the numbers that have a token's end there, in order, and the token that each goes
            on with, -1 where it ends. Empty where numbers' tokens depend on the neighbours.
    """

    def __init__(self, table: TokenTable, most: int, comma: str, contexts: Sequence[tuple[str, str]]) -> None:
        self.nexts: dict[bytes, tuple[Ids, Ids]] = {}
        texts = [str(number) for number in range(most + 1)]
        written: list[tuple[int, ...]] = []
        for start in range(0, len(texts), _AT_ONCE):
            written += table.own([(comma, comma)], texts[start : start + _AT_ONCE])
        some = range(0, len(texts), -(-len(texts) // _SOME))
        alike = table.own(contexts, [texts[k] for k in some]) == [written[k] for k in some]
        rows: dict[bytes, list[tuple[int, int]]] = {}
        for number, tokens in enumerate(written if alike and all(written) else ()):
            digits = b""
            for token in (*tokens, -1):
                rows.setdefault(digits, []).append((number, token))
                digits += (table.pieces[token] or b"") if token >= 0 else b""
        for digits, pairs in rows.items():
            both = np.array(pairs, dtype=np.int64)
            self.nexts[digits] = both[:, 0].copy(), both[:, 1].copy()

    @classmethod
    def of(cls, table: TokenTable, most: int, comma: str, contexts: Sequence[tuple[str, str]]) -> OwnNumbers:
        """Those of numbers up to at least `most`, kept for later answers."""
        most = (1 << most.bit_length()) - 1  # images have frames of many sizes
        own: OwnNumbers = table.kept("numbers", (most, comma, *contexts), lambda: cls(table, most, comma, contexts))
        return own


class Integers:
    """A whole number from `low` to `high`, without leading zeros; its value is itself. See `Region`."""

    def __init__(self, table: TokenTable, low: int, high: int, own: OwnNumbers | None = None) -> None:
        self.table, self.low, self.high = table, low, high
        self._nexts = own.nexts if own else {}
        self._found: dict[tuple[bytes, bytes], Reach] = {}

    @classmethod
    def of(cls, table: TokenTable, low: int, high: int, own: OwnNumbers | None = None) -> Integers:
        """The region of these bounds, kept for later answers."""
        key = (low, high, id(own))  # kept by the table too, as long as the region
        region: Integers = table.kept("integers", key, lambda: cls(table, low, high, own))
        return region

    def _missing(self, digits: bytes) -> int | None:
        """The fewest digits that make the number complete; None where nothing does."""
        if not digits:
            return len(str(self.low))
        value, scale = int(digits), 1
        if digits[0] == ord("0"):
            return 0 if self.low == 0 and len(digits) == 1 else None
        more = 0
        while value * scale <= self.high:
            if value * scale + scale > self.low:
                return more
            scale *= 10
            more += 1
        return None

    def consume(self, node: bytes, chunk: bytes) -> tuple[int, bytes]:
        """See `Region`."""
        n = 0
        while n < len(chunk) and 48 <= chunk[n] <= 57 and self._missing(node + chunk[: n + 1]) is not None:
            n += 1
        return n, node + chunk[:n]

    def values(self, node: bytes) -> list[Value]:
        """See `Region`."""
        return [int(node)] if node and self._missing(node) == 0 else []

    def closed(self, node: bytes) -> bool:
        """See `Region`."""
        return bool(self.values(node)) and (node == b"0" or int(node) * 10 > self.high)

    def reach(self, node: bytes, prefix: bytes) -> Reach:
        """See `Region`."""
        if (known := self._found.get((node, prefix))) is not None:
            return known
        if not prefix and (own := self._own(node)) is not None:
            self._found[node, prefix] = own
            return own
        digits = _Digits.of(self.table, prefix)
        exits = [Exit(value, prefix + d) for d in digits.leaving for value in self.values(node + d)]
        reach = Reach((self._inside(node, digits),), exits)
        self._found[node, prefix] = reach
        return reach

    def _own(self, node: bytes) -> Reach | None:
        """The tokenizer's own tokens from here; None where they aren't known, or none of them ends here."""
        if (row := self._nexts.get(node)) is None:
            return None
        numbers, tokens = row
        begin, end = np.searchsorted(numbers, (self.low, self.high + 1))
        ids = np.unique(tokens[begin:end])
        if not len(ids):
            return None
        ends = int(ids[0] < 0)

        def missing() -> Ids:
            pieces = [self.table.pieces[token] or b"" for token in ids[ends:].tolist()]
            return np.array([self._missing(node + piece) for piece in pieces], dtype=np.int64)

        exits = [Exit(value, b"") for value in self.values(node)] if ends else []
        return Reach((Tokens(self.table, ids[ends:], missing),), exits)

    def _inside(self, node: bytes, digits: _Digits) -> Tokens:
        """Tokens that go on from a node; how many digits are missing after each is found when it is asked for."""
        if len(digits.rows) < _MANY or node:
            longest = len(str(self.high // int(node))) - 1 if int(node or b"0") else len(str(self.high))
            missing = [(token, self._missing(node + text)) for text, token in digits.up_to(longest)]
            pairs = [(token, more) for token, more in missing if more is not None]
            both = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
            return Tokens(self.table, both[:, 0], lambda: both[:, 1])
        fits = digits.highest(self.high) >= self.low
        texts = digits.rows
        places = np.flatnonzero(fits)
        return Tokens(
            self.table,
            digits.ids[fits],
            lambda: np.array([self._missing(texts[k]) or 0 for k in places.tolist()], dtype=np.int64),
        )

    def within(self, node: bytes, prefix: bytes, left: int, rest: Sequence[int]) -> Reach:
        """See `Region`."""
        (tokens,), exits = self.reach(node, prefix)
        return Reach((tokens.within(left - rest[0]),), exits)

    def finish(self, node: bytes, rest: Sequence[int]) -> tuple[bytes, Value]:
        """See `Region`."""
        missing = self._missing(node)
        if missing is None:
            raise ValueError(f"no whole number from {self.low} to {self.high} begins with {node!r}")
        value = max(self.low, int(node or b"0") * 10**missing)
        return str(value).encode()[len(node) :], value


class _Digits:
    """Tokens that are a prefix and digits; and the digits (perhaps none) after which some token goes on otherwise."""

    def __init__(self, table: TokenTable, prefix: bytes) -> None:
        rows: list[tuple[int, bytes]] = []
        leaving = set() if prefix else {b""}
        for piece in table.range(prefix):
            rest = piece[len(prefix) :]
            digits = rest[: len(rest) - len(rest.lstrip(b"0123456789"))]
            if len(digits) < len(rest):
                leaving.add(digits)
            elif digits:
                rows += [(token, digits) for token in table.ids[piece]]
        self.leaving = sorted(leaving)
        self.rows = [text for _, text in sorted(rows)]
        self.ids = np.array([token for token, _ in sorted(rows)], dtype=np.int64)
        self._by_length = sorted(((text, token) for token, text in rows), key=lambda row: len(row[0]))
        self._ends = [bisect_right(self._by_length, n, key=lambda row: len(row[0])) for n in range(20)]
        self._highest: dict[int, Ids] = {}

    def up_to(self, length: int) -> list[tuple[bytes, int]]:
        """The digits and tokens of at most so many digits."""
        return self._by_length[: self._ends[min(length, 19)]]

    def highest(self, most: int) -> Ids:
        """For each of `ids`, the highest number up to `most` that begins with it, or -1."""
        if most not in self._highest:
            self._highest[most] = np.array([_highest(text, most) for text in self.rows], dtype=np.int64)
        return self._highest[most]

    @classmethod
    def of(cls, table: TokenTable, prefix: bytes) -> _Digits:
        digits: _Digits = table.kept("digits", prefix, lambda: cls(table, prefix))
        return digits


def _highest(digits: bytes, most: int) -> int:
    """The highest number up to `most` whose digits begin like that, -1 if there is none."""
    if digits[:1] == b"0":
        return 0 if len(digits) == 1 else -1
    best, low, high = -1, int(digits), int(digits)
    while low <= most:
        best = min(high, most)
        low, high = low * 10, high * 10 + 9
    return best
