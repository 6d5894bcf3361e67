"""Completions that repeat themselves without end, found while they are written.

A completion loops where
- a row (a relationship, or an object apart from its number) is written for the `ROWS`th time, or
- its last `TOKENS` tokens or more repeat a block of at most `BLOCK` tokens at least `BLOCKS` times.

Completions that repeat a row and still come to an end are not cut: `tiny`, which learnt by reinforcement to repeat
relationships in four of ten completions, repeats one at most 6 times (docs/speed.md). Only free completions are
watched; guided ones cannot repeat a relationship.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

ROWS = 12
TOKENS = 64
BLOCK = 32
BLOCKS = 4
EVERY = 16
"""A completion is looked at after so many tokens more."""

_OBJECT_LINE = re.compile(r'"?([^\s"]+?)\d*"?((?: \d+){4})')  # of compact answers
_PAIR_LINE = re.compile(r"\S+ \S+ \S+")
_NUMBER = re.compile(r'\.\d+(?=")')


class LoopWatch:
    """Watches one completion.

    Args:
        decode: tokens -> text.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._seen = 0
        self._text = ""
        self._braces = False
        self._rows: Counter[str] = Counter()

    def due(self, count: int) -> bool:
        """Whether a completion of so many tokens would be looked at."""
        return count - self._seen >= EVERY

    def loops(self, ids: list[int]) -> bool:
        """Whether the completion repeats itself; asked after every token, it looks at some of them."""
        if not self.due(len(ids)):
            return False
        new, self._seen = ids[self._seen :], len(ids)
        return self._repeats_a_row(self._decode(new)) or self._repeats_a_block(ids)

    def _repeats_a_row(self, text: str) -> bool:
        self._braces = self._braces or "{" in text
        *rows, self._text = (self._text + text).split("}" if self._braces else "\n")
        for row in rows:
            if name := _name(row) if self._braces else _line(row):
                self._rows[name] += 1
                if self._rows[name] >= ROWS:
                    return True
        return False

    @staticmethod
    def _repeats_a_block(ids: list[int]) -> bool:
        for size in range(1, BLOCK + 1):
            span = max(TOKENS, BLOCKS * size)
            if len(ids) >= span + size and ids[-span:] == ids[-span - size : -size]:
                return True
        return False


def _name(row: str) -> str:
    """A JSON object up to its closing brace, an object's id without its number; empty where it is none."""
    _, brace, inside = row.rpartition("{")
    return (_NUMBER.sub("", inside) if "box" in inside else inside) if brace else ""


def _line(row: str) -> str:
    """A line of a compact answer, an object's without its number; empty where it is none."""
    row = row.strip()
    if found := _OBJECT_LINE.fullmatch(row):
        return "".join(found.groups())
    return row if _PAIR_LINE.fullmatch(row) else ""
