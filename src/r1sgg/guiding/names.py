"""Names that nobody listed: what an open vocabulary lets a model write, still bounded and still readable.

A name is 1 to 40 characters of ASCII: it begins with a letter and ends with a letter or digit; between two of them may
stand a single space, "-", "_" or "'". So `normalize_name` neither empties nor shortens it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from string import ascii_lowercase

import numpy as np

from r1sgg.graph.scene import normalize_name
from r1sgg.guiding.regions import Choice, Exit, Pick, Reach, Tokens, Value
from r1sgg.guiding.table import Ids, TokenTable

LONGEST = 40


@dataclass(frozen=True)
class Style:
    """How names are written: `letters` and `separators` as inside the brackets of a regular expression; `ends` are
    the first bytes of what may stand behind a name."""

    letters: str
    separators: str
    ends: bytes

    @cached_property
    def part(self) -> re.Pattern[bytes]:
        """As much as possible of what a name may go on with."""
        letter, separator = f"[{self.letters}]".encode(), f"[{self.separators}]".encode()
        return re.compile(rb"(?:%b?%b+)*+%b?" % (separator, letter, separator))

    def is_open(self, text: bytes) -> bool:
        """Whether a text ends with a separator, so that a letter must follow."""
        return text[-1:].decode("latin-1") in self.separators if text else False


def slack(forbidden: int) -> int:
    """So many letters suffice to turn any beginning into a name that is none of the forbidden ones."""
    letters = 0
    while 26**letters <= forbidden:
        letters += 1
    return letters


def limit(forbidden: frozenset[str]) -> int:
    """The longest name at which no beginning is a dead end, 0 where there is none.

    No forbidden name has a length in (limit - slack, limit]. What is shorter can be made longer by `slack` letters, one
    of whose 26 ** slack combinations is free; what is as long is free as it stands.
    """
    if not forbidden:
        return LONGEST
    more, lengths = slack(len(forbidden)), {len(name) for name in forbidden}
    return next((c for c in range(LONGEST, more - 1, -1) if lengths.isdisjoint(range(c - more + 1, c + 1))), 0)


class OpenName:
    """Any name but those in `forbidden` (normalised), or a keyword; its value is the bytes written. See `Region`.

    Args:
        table: the vocabulary.
        style: how names are written.
        forbidden: names that must not be written.
        keyword: a text that may stand in a name's place, with what ends it.
        openers: tokens that no name begins with: those that a forbidden name begins with as the tokenizer writes it. A
            model that begins one wants to end it, too, and forbidden to, would lengthen it to what no one says ("near
            at"). Names that begin alike can be spelled in other tokens, so no opener holds a single letter of a name.
    """

    def __init__(
        self,
        table: TokenTable,
        style: Style,
        forbidden: frozenset[str] = frozenset(),
        keyword: bytes | None = None,
        openers: frozenset[int] = frozenset(),
    ) -> None:
        self.table, self.style, self.forbidden, self._openers = table, style, forbidden, openers
        self._limit = limit(forbidden)
        self._slack = slack(len(forbidden)) if forbidden else 0
        self._keyword = keyword
        self._other = Pick(Choice(table, [] if keyword is None else [keyword]))

    def _is_whole(self, name: bytes) -> bool:
        if not name or len(name) > self._limit or self.style.is_open(name):
            return False
        return not self.forbidden or normalize_name(name.decode()) not in self.forbidden

    def consume(self, node: bytes, chunk: bytes) -> tuple[int, bytes]:
        """See `Region`."""
        n, after = self._other.consume(node, chunk)
        if after == self._keyword:
            return n, after
        m = 0
        if self._may_follow(node, chunk) and (part := self.style.part.match(chunk)):
            m = part.end()
            while m and len(node) + m + self.style.is_open(chunk[:m]) > self._limit:
                m -= 1
        return max(n, m), node + chunk[: max(n, m)]

    def _may_follow(self, node: bytes, part: bytes) -> bool:
        """Whether a name that is written up to `node` may go on with the first byte of `part`."""
        if not node:
            return part[:1].isalpha()
        return not (self.style.is_open(node) and self.style.is_open(part[:1]))

    def values(self, node: bytes) -> list[Value]:
        """See `Region`."""
        return [node] if node == self._keyword or self._is_whole(node) else []

    def closed(self, node: bytes) -> bool:
        """See `Region`."""
        return node == self._keyword

    def reach(self, node: bytes, prefix: bytes) -> Reach:
        """See `Region`."""
        return self.within(node, prefix, 1 << 20, (0, 0))

    def within(self, node: bytes, prefix: bytes, left: int, rest: Sequence[int]) -> Reach:
        """See `Region`; `rest` is for a name, and for the keyword."""
        parts = _Parts.of(self.table, self.style, prefix)
        spare = left - rest[0]
        if self.forbidden and spare < self._slack:
            spare = -1
        kind = 0 if not node else 2 if self.style.is_open(node) else 1
        names = parts.after(kind, self._limit - len(node)).within(spare)
        if self._openers and not node:
            names = Tokens(self.table, np.setdiff1d(names.ids, np.array(sorted(self._openers)), assume_unique=True))
        exits = [
            Exit(node + part, prefix + part)
            for part in parts.leaving
            if (not part or self._may_follow(node, part)) and self._is_whole(node + part)
        ]
        if not self._other.choice.below(node):
            return Reach((names,), exits)
        keywords, leaving = self._other.within(node, prefix, left, rest[-1:])
        return Reach((names, *keywords), [*exits, *(Exit(self._keyword, e.prefix) for e in leaving)])

    def finish(self, node: bytes, rest: Sequence[int]) -> tuple[bytes, Value]:
        """See `Region`."""
        ways: list[tuple[int, bytes]] = []
        if self._keyword is not None and self._keyword.startswith(node):
            more = self._keyword[len(node) :]
            ways.append((self.table.cost(more) + rest[-1], more))
        ends = ("".join(end).encode() for n in range(self._slack + 2) for end in product(ascii_lowercase, repeat=n))
        if (end := next((e for e in ends if self._is_whole(node + e)), None)) is not None:
            ways.append((len(end) + rest[0], end))
        _, end = min(ways)
        return end, node + end


class _Parts:
    """The tokens that are a prefix and a part of a name, and the parts after which some token goes on to its end."""

    def __init__(self, table: TokenTable, style: Style, prefix: bytes) -> None:
        self._table = table
        leaving = set() if prefix else {b""}
        rows: list[tuple[int, int, int, int, int]] = []
        for piece in table.range(prefix):
            rest = piece[len(prefix) :]
            m = style.part.match(rest)
            end = m.end() if m else 0
            if end > LONGEST or not rest:
                continue
            if end == len(rest):
                is_open = style.is_open(rest)
                kind = (end + is_open, is_open, rest[:1].isalpha(), not style.is_open(rest[:1]))
                rows += [(token, *kind) for token in table.ids[piece]]
            elif rest[end] in style.ends and not style.is_open(rest[:end]):
                leaving.add(rest[:end])
        columns = np.array(sorted(rows), dtype=np.int64).reshape(-1, 5)
        self._ids: Ids = columns[:, 0].copy()
        self._length: Ids = columns[:, 1].copy()
        self._open: Ids = columns[:, 2].copy()
        self._fits = (columns[:, 3] > 0, columns[:, 0] >= 0, columns[:, 4] > 0)
        self.leaving = sorted(leaving)
        self._found: dict[tuple[int, int], Tokens] = {}

    @classmethod
    def of(cls, table: TokenTable, style: Style, prefix: bytes) -> _Parts:
        parts: _Parts = table.kept("parts", (style, prefix), lambda: cls(table, style, prefix))
        return parts

    def after(self, kind: int, room: int) -> Tokens:
        """Tokens at a name's beginning (0), after a letter (1), after a separator (2), with `room` characters left."""
        if (kind, room) not in self._found:
            fits = self._fits[kind] & (self._length <= room)
            is_open = self._open[fits]
            self._found[kind, room] = Tokens(self._table, self._ids[fits], lambda: is_open)
        return self._found[kind, room]
