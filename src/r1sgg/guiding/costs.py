"""What finishing an answer costs: upper bounds, in tokens, of the shortest way to its end.

A bound adds up the parts that are still to come, each spelled with as few tokens as possible by itself. The way that
`r1sgg.guiding.guide` takes in need spells them together, which takes as many tokens or fewer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from r1sgg.guiding.draft import Draft, Stage
from r1sgg.guiding.layout import ANSWER, END_THINK, THINK, Layout
from r1sgg.guiding.names import LONGEST, slack
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import TokenTable
from r1sgg.guiding.words import Words


class Bounds(Protocol):
    """Upper bounds of what finishing an answer costs, in tokens."""

    def rest(self, draft: Draft) -> Sequence[int]:
        """Tokens that follow the region a draft is in: one number, or one for each of its values."""
        ...

    def most(self, draft: Draft) -> int:
        """No token that goes on from this draft leaves more to write than this."""
        ...


class Costs:
    """The bounds for the answers of one specification; the end of the turn counts as a token."""

    def __init__(self, table: TokenTable, spec: GuideSpec, layout: Layout, objects: Words, predicates: Words) -> None:
        def cost(text: str | None) -> int:
            return table.cost((text or "").encode())

        self._names = len(objects)
        self._json = layout.no_more is None
        self._end = cost(layout.no_pair) + 1
        self._box_end = cost(layout.no_more) + self._end
        self._box_close = cost(layout.box_ends[-1]) + self._box_end
        self._pair_close = cost(layout.pair_ends[-1]) + self._end
        comma, wide, high = cost(layout.comma), len(str(int(spec.frame[0]))), len(str(int(spec.frame[1])))
        rest = {Stage.Y2: self._box_close, Stage.AFTER_X2: high + self._box_close}
        rest[Stage.X2] = comma + rest[Stage.AFTER_X2]
        rest[Stage.AFTER_Y1] = wide + rest[Stage.X2]
        rest[Stage.Y1] = comma + rest[Stage.AFTER_Y1]
        rest[Stage.AFTER_X1] = 1 + rest[Stage.Y1]  # y1 = 0
        rest[Stage.X1] = comma + rest[Stage.AFTER_X1]
        rest[Stage.AFTER_NAME] = 1 + rest[Stage.X1]  # x1 = 0
        number = 1 + len(str(spec.max_objects))  # with the "." before it or the quote behind it
        rest[Stage.NAME] = number + cost(layout.after_id) + rest[Stage.AFTER_NAME]
        rest[Stage.START] = objects.cheapest + rest[Stage.NAME]
        opening = (ANSWER if spec.think else "") + layout.start
        rest[Stage.THOUGHTS] = cost(opening) + rest[Stage.START]
        rest[Stage.THINK] = cost(END_THINK) + rest[Stage.THOUGHTS]
        self._rest = {stage: (tokens,) for stage, tokens in rest.items()}
        self._given = len(spec.given)
        # a given object costs no more than this from behind the box before it; what is left of the one being written is
        # in `rest`, but for two numbers that are not 0
        self._each = cost(layout.box_ends[0]) + objects.dearest + number + cost(layout.after_id) + 3 * comma
        self._each += 2 * (wide + high)
        self._sides = wide + high if spec.given else 0

        self._said = [1, 1 + slack(spec.max_relationships)]  # of a predicate: at first, and if some are ruled out
        if spec.predicates:
            self._said = [predicates.cheapest, predicates.dearest]
        self._before_object = cost(layout.before_object)
        self._before_predicate = cost(layout.before_predicate)

        def worst(text: str) -> int:
            return table.worst(text.encode())

        self._most_pair = max(
            worst(layout.before_predicate), worst(layout.before_object), predicates.dearest, *self._said
        )
        self._most_pair = max(self._most_pair, *map(worst, layout.pair_ends), worst(layout.no_pair or ""))
        ends = layout.box_ends
        bodies = [
            max(objects.dearest, worst(layout.no_more or "")) + rest[Stage.NAME],
            number + worst(layout.after_id) + rest[Stage.AFTER_NAME],
            max(wide, high, worst(layout.comma)) + rest[Stage.X1],
            worst(ends[0]) + (rest[Stage.START] if self._json else self._box_end),
            worst(ends[-1]) + self._box_end,
        ]
        self._most_body = max(bodies)
        self._most_start = max(
            worst(THINK) + rest[Stage.THINK],
            worst(END_THINK) + rest[Stage.THOUGHTS],
            worst(opening) + rest[Stage.START],
        )
        self._relate = worst(ends[1]) if self._json else 0
        box = re.compile(re.escape(layout.comma).join([r"\d+"] * 4).encode())
        leaps = table.kept("leaps", layout.comma, lambda: (any(map(box.search, table.ordered)),))[0]
        self._longest = LONGEST + number if leaps else 0  # of an id that a token writes together with its whole box

    def rest(self, draft: Draft) -> Sequence[int]:
        """Tokens that follow the region a draft is in: one number, or one for each of its values."""
        rest = self._free(draft)
        if not self._given or draft.stage > Stage.AFTER_BOX:
            return rest
        later = self._given - len(draft.ids) - (draft.stage <= Stage.AFTER_NAME)
        more = max(0, later) * self._each + self._sides
        return tuple(tokens + more for tokens in rest)

    def _free(self, draft: Draft) -> Sequence[int]:
        """The same where no objects are given."""
        stage = draft.stage
        if stage is Stage.NAME and not self._json:
            named = self._rest[stage]
            return (*named * (self._names or 1), self._end)
        if (known := self._rest.get(stage)) is not None:
            return known
        pair_close, said = self._pair_close, self._said[bool(draft.full)]
        if stage is Stage.OBJECT:
            return (pair_close,)
        if stage is Stage.AFTER_PREDICATE:
            return (draft.longest + pair_close,)
        behind_predicate = self._before_object + draft.longest + pair_close
        if stage is Stage.PREDICATE:
            return (behind_predicate,)
        if stage is Stage.AFTER_SUBJECT:
            return (said + behind_predicate,)
        behind_subject = self._before_predicate + said + behind_predicate
        if stage is Stage.SUBJECT:
            return (behind_subject,) if self._json else (*(behind_subject,) * len(draft.ids), 1)
        if stage is Stage.AFTER_BOX:
            another = self._rest[Stage.START][0]
            return (another, draft.longest + behind_subject, 1) if self._json else (self._box_end,)
        if stage is Stage.AFTER_PAIR:
            return (draft.longest + behind_subject, 1) if self._json else (self._end,)
        return (1,)

    def most(self, draft: Draft) -> int:
        """No token that goes on from this draft leaves more to write than this."""
        longest = draft.longest if draft.stage > Stage.AFTER_NAME else max(draft.longest, self._longest)
        behind_subject = self._before_predicate + self._said[1] + self._before_object + longest + self._pair_close
        pairs = max(self._most_pair, longest) + longest + behind_subject
        if draft.stage >= Stage.SUBJECT:
            return pairs
        most = max(pairs, self._relate + longest + behind_subject, self._most_body)
        most += self._given * self._each + self._sides
        return most if draft.stage >= Stage.NAME else max(most, self._most_start)
