"""Confidences of an answer's objects and relationships, from the probabilities of the tokens that say them.

    object        sqrt(P(class) * P(box)), P(box) the geometric mean of its four coordinates' probabilities
    relationship  P(predicate) * P(object), of the words that name them, x the scores of both its objects

Each P is that of the tokens which write a name or number, given all before them. Where the engine says how probable a
token was among those that a guide allowed (`Piece.allowed`), that is taken: what could not have been said does not
count against what was. So a relationship's score is that of its triplet. What else was tried, and how these were
chosen: docs/metrics.md.

Scores are rounded to `DIGITS` digits. Which images share a batch changes a probability by about 1e-6 (sums in another
order), and must not change the order of two relationships.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from r1sgg.graph.places import ObjectPlace, RelationshipPlace, Span, places_of
from r1sgg.graph.scene import Boxes, SceneGraph
from r1sgg.graph.text import Parsed
from r1sgg.inference.engine import Completion, Piece


def scored(parsed: Parsed, completion: Completion) -> SceneGraph:
    """The graph with `object_scores` and `relationship_scores` in [0, 1].

    Args:
        parsed: what `parse` read from the completion's text.
        completion: with pieces; without them, or where they are not the text, the graph comes back as it is.
    """
    if completion.pieces is None or not len(parsed.graph):
        return parsed.graph
    tokens = Tokens(completion.pieces)
    if tokens.text != completion.text:
        return parsed.graph
    places = places_of(completion.text)
    objects = [_object(tokens, places.objects[row]) for row in parsed.object_rows if row in places.objects]
    relationships = [
        _relationship(tokens, places.relationships[row])
        for row in parsed.relationship_rows
        if row in places.relationships
    ]
    graph = parsed.graph
    object_scores, own = _column(objects, len(graph)), _column(relationships, len(graph.pairs))
    if object_scores is not None and own is not None:
        own = own * object_scores[np.array(graph.pairs)].prod(1)
    return replace(graph, object_scores=_rounded(object_scores), relationship_scores=_rounded(own))


DIGITS = 3


def _rounded(scores: Boxes | None) -> Boxes | None:
    return None if scores is None else np.round(scores, DIGITS)


def _object(tokens: Tokens, place: ObjectPlace) -> float:
    box = sum(tokens.logprob(side) for side in place.box) / len(place.box)
    return math.exp((tokens.logprob(place.label) + box) / 2)


def _relationship(tokens: Tokens, place: RelationshipPlace) -> float:
    return math.exp(tokens.logprob(place.predicate) + tokens.logprob(place.object))


_LEAST = -700.0  # some servers give -inf or -9999; a sum of these must stay a number


class Tokens:
    """The pieces of a completion by the characters that they write."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.text = "".join(piece.text for piece in pieces)
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._sums = [0.0]
        end = 0
        before = 0.0  # of tokens that hold a part of a character only: they belong to the token that completes it
        for piece in pieces:
            before += max(_LEAST, piece.logprob if piece.allowed is None else piece.allowed)
            if piece.text:
                self._starts.append(end)
                end += len(piece.text)
                self._ends.append(end)
                self._sums.append(self._sums[-1] + before)
                before = 0.0

    def logprob(self, span: Span) -> float:
        """Natural-log probability of the tokens that write any character of the span, given all before them."""
        first, last = bisect_right(self._ends, span[0]), bisect_left(self._starts, span[1])
        return min(0.0, self._sums[last] - self._sums[first]) if first < last else 0.0


def _column(scores: Sequence[float], count: int) -> Boxes | None:
    return np.array(scores, dtype=np.float64) if count and len(scores) == count else None
