"""What a part of an answer is (`Region`), and the commonest one: one text out of a list (`Choice`, `Pick`).

A region reads bytes from a node (what has been written of it so far) and knows which tokens may come next. A token may
run over a region's end; `Reach.exits` says where, and whoever knows what follows goes on from there. Nodes are bytes
and regions never change, so what they find out is kept, and a region that many answers share works once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np

from r1sgg.guiding.table import IMPOSSIBLE, Bits, Ids, TokenTable

Value = Any
"""What a region stands for once it is complete: an index, a number, a name."""


class Exit(NamedTuple):
    """A region can end here: its value, and what the token in question holds up to this end."""

    value: Value
    prefix: bytes


class Tokens:
    """A set of tokens, as a list and as bits, with the fewest tokens that complete a region after each.

    Args:
        table: the vocabulary.
        ids: the tokens, sorted.
        costs: gives the tokens needed after each of `ids` until the region is complete; none where None.
    """

    __slots__ = ("_bits", "_costs", "_known", "_parts", "_table", "ids")

    def __init__(self, table: TokenTable, ids: Iterable[int] | Ids, costs: Callable[[], Ids] | None = None) -> None:
        self._table = table
        self.ids: Ids = ids if isinstance(ids, np.ndarray) else np.array(sorted(ids), dtype=np.int64)
        self._costs = costs
        self._known: Ids | None = None
        self._bits: Bits | None = None
        self._parts: dict[int, Tokens] = {}

    @property
    def bits(self) -> Bits:
        """The tokens as bits; not to be written to."""
        if self._bits is None:
            self._bits = self._table.pack(self.ids)
        return self._bits

    def within(self, limit: int) -> Tokens:
        """Those after which `limit` more complete the region."""
        if self._known is None:
            self._known = np.zeros(len(self.ids), dtype=np.int64) if self._costs is None else self._costs()
        if limit >= self._known.max(initial=0):
            return self
        limit = max(limit, -1)
        if limit not in self._parts:
            self._parts[limit] = Tokens(self._table, self.ids[self._known <= limit])
        return self._parts[limit]


class Reach(NamedTuple):
    """Where tokens lead from a node: those that stay inside the region, and where longer ones (or none) leave it."""

    sets: tuple[Tokens, ...]
    exits: Sequence[Exit]


class Region(Protocol):
    """What a guide needs of a part of an answer."""

    def consume(self, node: bytes, chunk: bytes) -> tuple[int, bytes]:
        """How many bytes of `chunk` belong to the region, and the node behind them."""
        ...

    def values(self, node: bytes) -> list[Value]:
        """What the region may stand for if it ends here."""
        ...

    def closed(self, node: bytes) -> bool:
        """Whether the region ends here in one way and cannot go on."""
        ...

    def reach(self, node: bytes, prefix: bytes) -> Reach:
        """The tokens that begin with `prefix` (bytes of earlier regions) and go on from `node`."""
        ...

    def within(self, node: bytes, prefix: bytes, left: int, rest: Sequence[int]) -> Reach:
        """The same, only tokens after which `left` more can complete the region and what follows it.

        `rest` holds the tokens that what follows takes: one number, or one for each kind of value. It does not bind
        the exits: whoever follows them checks what comes after.
        """
        ...

    def finish(self, node: bytes, rest: Sequence[int]) -> tuple[bytes, Value]:
        """Bytes that complete the region such that it and what follows take few tokens, and its value."""
        ...


def bits_of(number: int) -> list[int]:
    """Positions of the ones of a number: 0b101 -> [0, 2]."""
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found


class Choice:
    """Texts of which one is written.

    Args:
        table: the vocabulary.
        texts: what may be written, no two the same.
        usual: for each text, the tokens that the tokenizer itself would use at some offsets (`TokenTable.usual`).
            Where they are known for all texts that are possible, only those tokens are allowed.
        ends: for each text, the first bytes of what may follow it; none where that is not known, and all is tried.
        own: for each text, all of the tokens that the tokenizer itself writes it in (`TokenTable.own`), which are then
            the only ones allowed; none where they are not known.
    """

    def __init__(
        self,
        table: TokenTable,
        texts: Sequence[bytes],
        usual: Sequence[dict[int, int]] = (),
        ends: Sequence[bytes] = (),
        own: Sequence[Sequence[int]] = (),
    ) -> None:
        self.table = table
        self.texts = tuple(texts)
        self.usual = list(usual) or [{}] * len(self.texts)
        self.settled = 0
        for k, tokens in enumerate(own):
            if b"".join(table.pieces[token] or b"" for token in tokens) == self.texts[k]:
                self.settled |= 1 << k
                self.usual[k] = self._offsets(tokens)
        self._ends = [tuple(end[n : n + 1] for n in range(len(end))) for end in ends] or [()] * len(self.texts)
        self.every = (1 << len(self.texts)) - 1
        self.found: dict[tuple[bytes, bytes, int], Reach] = {}
        self._below: dict[bytes, int] = {b"": self.every}
        self._steps: dict[tuple[bytes, bytes], tuple[list[tuple[bytes, int]], list[Exit]]] = {}

    def _offsets(self, tokens: Sequence[int]) -> dict[int, int]:
        """Tokens that follow each other, by their offsets."""
        ends = accumulate(len(self.table.pieces[token] or b"") for token in tokens)
        return dict(zip((0, *ends), tokens, strict=False))

    def below(self, node: bytes) -> int:
        """Which texts begin with `node`, as bits."""
        if (known := self._below.get(node)) is None:
            known = sum(1 << k for k, text in enumerate(self.texts) if text.startswith(node))
            if known:
                self._below[node] = known
        return known

    def steps(self, node: bytes, prefix: bytes) -> tuple[list[tuple[bytes, int]], list[Exit]]:
        """Tokens (as bytes) from a node, with the texts that each leaves possible; and exits by text."""
        if (known := self._steps.get((node, prefix))) is not None:
            return known
        ids, table = self.table.ids, self.table
        steps: dict[bytes, int] = {}
        exits = []
        for k in bits_of(self.below(node)):
            whole = prefix + self.texts[k][len(node) :]
            costs = table.costs(self.texts[k])
            behind = len(node) - len(prefix)
            for n in range(len(prefix) + 1, min(len(whole), table.longest(whole)) + 1):
                if whole[:n] in ids and costs[n + behind] < IMPOSSIBLE:
                    steps[whole[:n]] = steps.get(whole[:n], 0) | 1 << k
            ends = self._ends[k]
            if not whole or (any(table.begins(whole + end) for end in ends) if ends else table.extends(whole)):
                exits.append(Exit(k, whole))
        self._steps[node, prefix] = known = (list(steps.items()), exits)
        return known


class Pick:
    """One of those texts of a choice whose bit is set in `allowed`; its value is the text's index. See `Region`."""

    def __init__(self, choice: Choice, allowed: int | None = None) -> None:
        self.choice = choice
        self.allowed = choice.every if allowed is None else allowed

    def consume(self, node: bytes, chunk: bytes) -> tuple[int, bytes]:
        """See `Region`."""
        below, allowed = self.choice.below, self.allowed
        for n in range(len(chunk), 0, -1):
            if below(node + chunk[:n]) & allowed:
                return n, node + chunk[:n]
        return 0, node

    def values(self, node: bytes) -> list[Value]:
        """See `Region`."""
        return [k for k in bits_of(self.choice.below(node) & self.allowed) if self.choice.texts[k] == node]

    def closed(self, node: bytes) -> bool:
        """See `Region`."""
        below = self.choice.below(node) & self.allowed
        return below & (below - 1) == 0 and self.choice.texts[below.bit_length() - 1] == node

    def reach(self, node: bytes, prefix: bytes) -> Reach:
        """See `Region`."""
        choice, allowed = self.choice, self.allowed
        if (known := choice.found.get((node, prefix, allowed))) is not None:
            return known
        usual, loose = self._usual(node, prefix)
        steps, exits = choice.steps(node, prefix) if loose else ([], [])
        ids = choice.table.ids
        tokens = {token for piece, texts in steps if texts & loose for token in ids[piece]} | usual.keys()
        if loose != choice.every:
            exits = [e for e in exits if loose >> e.value & 1]
        settled = choice.below(node) & allowed & choice.settled & ~loose
        ended = [Exit(k, b"") for k in bits_of(settled) if choice.texts[k] == node]
        reach = Reach((Tokens(choice.table, tokens),), [*ended, *exits])
        if allowed == choice.every or len(choice.texts) <= 3:  # else there is no end to the sets that come by
            choice.found[node, prefix, allowed] = reach
        return reach

    def _usual(self, node: bytes, prefix: bytes) -> tuple[dict[int, int], int]:
        """The tokenizer's own next tokens with the texts that go on so; and the texts that may go on in any tokens."""
        choice = self.choice
        possible = choice.below(node) & self.allowed
        if prefix:
            return {}, possible
        settled = possible & choice.settled
        loose = 0
        if any(choice.usual[k].get(len(node)) is None for k in bits_of(possible & ~settled)):
            loose = possible & ~settled
        usual: dict[int, int] = {}
        for k in bits_of(possible & ~loose):
            if (token := choice.usual[k].get(len(node))) is not None:
                usual[token] = usual.get(token, 0) | 1 << k
        ends = any(choice.texts[k] == node for k in bits_of(settled))
        # nothing is left where a token of an earlier region ran into the middle of one of the tokenizer's own tokens
        return usual, loose if usual or loose or ends else possible

    def within(self, node: bytes, prefix: bytes, left: int, rest: Sequence[int]) -> Reach:
        """See `Region`; `rest` is for each text, or for all."""
        choice, table = self.choice, self.choice.table
        usual, loose = self._usual(node, prefix)
        ways = [(token, len(table.pieces[token] or b""), texts) for token, texts in usual.items()]
        for piece, texts in choice.steps(node, prefix)[0] if loose else ():
            if texts & loose:
                ways += [(token, len(piece) - len(prefix), texts & loose) for token in table.ids[piece]]
        kept = {token for token, length, texts in ways if self._cost(texts, len(node) + length, rest) <= left}
        return Reach((Tokens(choice.table, kept),), self.reach(node, prefix).exits)

    def _cost(self, texts: int, done: int, rest: Sequence[int]) -> int:
        """Tokens after the first `done` bytes of one of the texts, whichever takes fewest."""
        costs, choice = self.choice.table.costs, self.choice
        if len(rest) == 1:
            return min(costs(choice.texts[k])[done] for k in bits_of(texts)) + rest[0]
        return min(costs(choice.texts[k])[done] + rest[k] for k in bits_of(texts))

    def finish(self, node: bytes, rest: Sequence[int]) -> tuple[bytes, Value]:
        """See `Region`."""
        texts = bits_of(self.choice.below(node) & self.allowed)
        best = min(texts, key=lambda k: self._cost(1 << k, len(node), rest))
        return self.choice.texts[best][len(node) :], best
