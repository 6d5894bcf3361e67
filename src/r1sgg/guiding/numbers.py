"""Whole numbers between bounds, digit by digit or many digits to a token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r1sgg.guiding.regions import Exit, Reach, Tokens, Value
from r1sgg.guiding.table import Ids, TokenTable

_MANY = 64  # tokens; from there on arrays are faster than a loop


class Integers:
    """A whole number from `low` to `high`, without leading zeros; its value is itself. See `Region`."""

    def __init__(self, table: TokenTable, low: int, high: int) -> None:
        self.table, self.low, self.high = table, low, high
        self._found: dict[tuple[bytes, bytes], Reach] = {}

    @classmethod
    def of(cls, table: TokenTable, low: int, high: int) -> Integers:
        """The region of these bounds, kept for later answers."""
        region: Integers = table.kept("integers", (low, high), lambda: cls(table, low, high))
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
        digits = _Digits.of(self.table, prefix)
        exits = [Exit(value, prefix + d) for d in digits.leaving for value in self.values(node + d)]
        reach = Reach((Tokens(self.table, *self._inside(node, digits)),), exits)
        self._found[node, prefix] = reach
        return reach

    def _inside(self, node: bytes, digits: _Digits) -> tuple[Ids, Ids]:
        """Tokens that go on from a node, and the digits that are missing after each."""
        if len(digits.texts) < _MANY:
            missing = [self._missing(node + text) for text in digits.texts]
            pairs = [(t, m) for m, tokens in zip(missing, digits.tokens, strict=True) if m is not None for t in tokens]
            both = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
            return both[:, 0], both[:, 1]
        fine = digits.lengths <= len(str(self.high)) - len(node)
        ids, lengths, values = digits.ids[fine], digits.lengths[fine], digits.values[fine]
        if node == b"0":
            return ids[:0], ids[:0]
        if not node:
            zero = digits.zeros[fine]
            fine = ~zero | ((lengths == 1) & (self.low == 0))
            ids, lengths, values = ids[fine], lengths[fine], values[fine]
        values = values + int(node or b"0") * 10**lengths
        costs = np.full(len(ids), -1)
        for more in range(len(str(self.high)) - 1, -1, -1):
            scaled = values * 10**more
            fits = (scaled <= self.high) & (scaled + 10**more > self.low) & ((values > 0) | (more == 0))
            costs[fits] = more
        return ids[costs >= 0], costs[costs >= 0]

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
        self.texts: list[bytes] = []
        self.tokens: list[tuple[int, ...]] = []
        leaving = set() if prefix else {b""}
        for piece in table.range(prefix):
            rest = piece[len(prefix) :]
            digits = rest[: len(rest) - len(rest.lstrip(b"0123456789"))]
            if len(digits) < len(rest):
                leaving.add(digits)
            elif digits and len(digits) < 18:
                self.texts.append(digits)
                self.tokens.append(table.ids[piece])
        self.leaving = sorted(leaving)
        rows = sorted((t, text) for text, tokens in zip(self.texts, self.tokens, strict=True) for t in tokens)
        self.ids = np.array([token for token, _ in rows], dtype=np.int64)
        self.values = np.array([int(text) for _, text in rows], dtype=np.int64)
        self.lengths = np.array([len(text) for _, text in rows], dtype=np.int64)
        self.zeros = np.array([text[:1] == b"0" for _, text in rows], dtype=np.bool_)

    @classmethod
    def of(cls, table: TokenTable, prefix: bytes) -> _Digits:
        digits: _Digits = table.kept("digits", prefix, lambda: cls(table, prefix))
        return digits
