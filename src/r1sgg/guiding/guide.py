"""The guide of one answer: which tokens may come next, so that the answer is always a complete, readable graph.

    table = TokenTable.of(tokenizer)                      # once for a tokenizer
    guide = Guide(table, GuideSpec(frame=(1000, 1000)), max_tokens=1024)
    while not guide.finished:
        guide.advance(draw_one_of(guide.mask()))
        guide.follow()                                    # tokens that need no drawing

It knows no model, no batch and no logits (`r1sgg.guiding.processor`, `r1sgg.guiding.vllm`). Nothing that was written is
looked at again: a step costs what the next token's possibilities cost, most of which are kept from earlier answers.
"""

from __future__ import annotations

import numpy as np

from r1sgg.errors import ConfigError
from r1sgg.guiding.draft import Draft, Stage
from r1sgg.guiding.listing import Listing
from r1sgg.guiding.regions import Region, Tokens
from r1sgg.guiding.script import Script
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import Bits, Ids, TokenTable
from r1sgg.guiding.thoughts import Thoughts

__all__ = ["Guide", "TokenTable"]

FEW = 2048
"""Sets of more tokens than this are better handled as bits than as a list."""


class Guide:
    """What one answer may go on with.

    Every token that the guide allows leaves an answer that can be finished, and finished within `max_tokens`, the end
    of the turn included; every answer that `spec` describes and that fits can be written. Fixed parts are written in
    the tokenizer's own tokens; names, numbers and thoughts in any tokens that spell them, but for predicates of an open
    vocabulary that begin like one that is used up (`r1sgg.guiding.names.OpenName`, openers).

    Args:
        table: the vocabulary.
        spec: what the answer must be.
        max_tokens: most tokens of the answer, the end of the turn included.

    Raises:
        ConfigError: no answer is so short, or the tokenizer can't write what `spec` asks for.
    """

    def __init__(self, table: TokenTable, spec: GuideSpec, max_tokens: int) -> None:
        self._table = table
        self._script = (Listing if spec.listing else Script).of(table, spec)
        self._left = max_tokens
        self._draft: Draft = self._script.begin()
        self._region: Region | None = self._script.region(self._draft)
        self._node = b""
        self._thoughts = spec.think
        self._sets: tuple[Tokens, ...] | None = None
        self._plan: list[int] = self._script.shortest
        if len(self._plan) > max_tokens:
            raise ConfigError(
                f"guide: the shortest answer takes {len(self._plan)} tokens, found a budget of {max_tokens}; "
                "raise the longest answer (max_new_tokens)"
            )

    @property
    def finished(self) -> bool:
        """Whether the turn has ended."""
        return self._left < 0

    def mask(self) -> Bits | None:
        """The allowed tokens as bits (not to be written to); None once the answer is finished."""
        sets = self._allowed()
        if len(sets) < 2:
            return sets[0].bits if sets else None
        largest = max(sets, key=lambda tokens: len(tokens.ids))
        bits = largest.bits.copy()
        flags = bits.view(np.uint8)
        for tokens in sets:
            if tokens is largest:
                continue
            if len(tokens.ids) > 64:
                bits |= tokens.bits
            else:
                for token in tokens.ids.tolist():
                    flags[token >> 3] |= 1 << (token & 7)
        return bits

    def few(self) -> Ids | None:
        """The allowed tokens as a sorted list, where they are at most `FEW`; else None. Empty once finished."""
        sets = self._allowed()
        if len(sets) == 1 and len(sets[0].ids) <= FEW:
            return sets[0].ids
        if sum(len(tokens.ids) for tokens in sets) > FEW:
            return None
        ids = max((tokens.ids for tokens in sets), key=len, default=np.empty(0, dtype=np.int64))
        for tokens in sets:
            if tokens.ids is not ids:
                places = np.searchsorted(ids, tokens.ids)
                new = ids.take(places, mode="clip") != tokens.ids
                ids = np.insert(ids, places[new], tokens.ids[new])
        return ids

    def follow(self) -> list[int]:
        """Take the tokens that have no alternative, one after another, and return them."""
        tokens: list[int] = []
        while (few := self.few()) is not None and len(few) == 1:
            tokens.append(int(few[0]))
            self.advance(tokens[-1])
        return tokens

    def advance(self, token: int) -> None:
        """Take the token that was drawn.

        Raises:
            ValueError: the token is none that the answer can go on with.
        """
        piece = None if token == self._table.end else self._table.pieces[token]
        if self.finished or not (self._may_end() if token == self._table.end else piece and self._read(piece)):
            raise ValueError(f"token {token} ({piece!r}) can't stand here; only allowed tokens may be drawn")
        self._plan = self._plan[1:] if self._plan and self._plan[0] == token else []
        self._left = -1 if token == self._table.end else self._left - 1
        self._sets = None

    # ------------------------------------------------------------ reading

    def _read(self, piece: bytes) -> bool:
        """Move behind the bytes of a token; False, with nothing moved, where they can't follow."""
        draft, region, node = self._draft, self._region, self._node
        position = 0
        thought = draft.stage is Stage.THOUGHTS
        while region is not None:
            n, node = region.consume(node, piece[position:])
            position += n
            if position == len(piece) and not region.closed(node):
                break
            for value in region.values(node):
                behind = self._script.after(draft, value)
                following = self._script.region(behind)
                if position == len(piece) or (following and following.consume(b"", piece[position:])[0]):
                    draft, region, node = behind, following, b""
                    break
            else:
                return False
            if position == len(piece):
                break
        if position < len(piece):
            return False
        self._draft, self._region, self._node = draft, region, node
        self._thoughts -= thought
        return True

    def _may_end(self) -> bool:
        if self._region is None:
            return True
        behind = [self._script.after(self._draft, value) for value in self._region.values(self._node)]
        return any(draft.stage is Stage.DONE for draft in behind)

    # ------------------------------------------------------------ looking ahead

    def _allowed(self) -> tuple[Tokens, ...]:
        """The sets whose union is allowed; none once the answer is finished."""
        if self._sets is None:
            sets: list[Tokens] = []
            if not self.finished:
                left = self._left - 1
                spare = left if left < self._script.costs.most(self._draft) else None
                self._collect(self._draft, self._region, self._node, b"", spare, sets)
            self._sets = tuple(sets)
            if not sets and not self.finished:
                self._plan = self._plan or self._script.way_out(self._draft, self._region, self._node)
                self._sets = (Tokens(self._table, self._plan[:1]),)
        return self._sets

    def _collect(
        self, draft: Draft, region: Region | None, node: bytes, prefix: bytes, spare: int | None, sets: list[Tokens]
    ) -> None:
        """Gather the tokens that begin with `prefix` and go on from a node, into the regions behind where they reach.

        `spare` is how many tokens may be left to write behind the next one; None where it can't be too many.
        """
        if region is None:
            if not prefix:
                sets.append(self._end())
            return
        if draft.stage is Stage.THOUGHTS:
            rest = self._script.costs.rest(draft)
            thinking = self._thoughts - 1 + Thoughts.of(self._table).cost + rest[0]
            reach = region.within(node, prefix, thinking if spare is None else min(spare, thinking), rest)
        elif spare is None:
            reach = region.reach(node, prefix)
        else:
            reach = region.within(node, prefix, spare, self._script.costs.rest(draft))
        sets += [tokens for tokens in reach.sets if len(tokens.ids)]
        for value, held in reach.exits:
            behind = self._script.after(draft, value)
            self._collect(behind, self._script.region(behind), b"", held, spare, sets)

    def _end(self) -> Tokens:
        tokens: Tokens = self._table.kept("end", None, lambda: Tokens(self._table, [self._table.end]))
        return tokens
