"""The text between <think> and </think>: anything but the closing tag."""

from __future__ import annotations

from collections.abc import Sequence

from r1sgg.guiding.layout import END_THINK
from r1sgg.guiding.regions import Exit, Reach, Tokens, Value
from r1sgg.guiding.table import TokenTable


class Thoughts:
    """Any text up to the first </think>, which counts in whatever case, but may only be written in lower case.

    Its value is None; its node, what of the text's end could begin the tag. See `Region`.
    """

    TAG = END_THINK.encode()

    def __init__(self, table: TokenTable) -> None:
        self.table = table
        self.cost = table.worst(self.TAG)
        """Most tokens that the closing tag takes, wherever it is begun."""
        self._found: dict[tuple[bytes, bytes], Reach] = {}

    @classmethod
    def of(cls, table: TokenTable) -> Thoughts:
        """The region, kept for later answers."""
        region: Thoughts = table.kept("thoughts", None, lambda: cls(table))
        return region

    def consume(self, node: bytes, chunk: bytes) -> tuple[int, bytes]:
        """See `Region`."""
        if node == self.TAG:
            return 0, node
        text = node + chunk
        if (at := text.lower().find(self.TAG)) >= 0:
            end = at + len(self.TAG)
            if text[at:end] == self.TAG:
                return end - len(node), self.TAG
            return end - 1 - len(node), text[at : end - 1]
        for n in range(min(len(self.TAG) - 1, len(text)), 0, -1):
            if self.TAG.startswith(text[-n:].lower()):
                return len(chunk), text[-n:]
        return len(chunk), b""

    def values(self, node: bytes) -> list[Value]:
        """See `Region`."""
        return [None] if node == self.TAG else []

    def closed(self, node: bytes) -> bool:
        """See `Region`."""
        return node == self.TAG

    def reach(self, node: bytes, prefix: bytes) -> Reach:
        """See `Region`."""
        if (known := self._found.get((node, prefix))) is not None:
            return known
        table = self.table
        ids: list[int] = []
        exits: dict[bytes, None] = {}
        for piece in table.range(prefix):
            rest = piece[len(prefix) :]
            if not rest:
                continue
            n, after = self.consume(node, rest) if b">" in rest else (len(rest), b"")
            if n == len(rest):
                ids += table.ids[piece]
            elif after == self.TAG:
                exits[prefix + rest[:n]] = None
        reach = Reach((Tokens(table, ids),), [Exit(None, p) for p in exits])
        self._found[node, prefix] = reach
        return reach

    def within(self, node: bytes, prefix: bytes, left: int, rest: Sequence[int]) -> Reach:
        """See `Region`."""
        (tokens,), exits = self.reach(node, prefix)
        return Reach((tokens.within(left - rest[0] - self.cost),), exits)

    def finish(self, node: bytes, rest: Sequence[int]) -> tuple[bytes, Value]:
        """See `Region`."""
        costs = self.table.costs(self.TAG)
        begun = len(node) if self.TAG.startswith(node) else 0
        return self.TAG[begun if costs[begun] <= costs[0] else 0 :], None
