"""What is done about each fault of an answer, as one table; documented in docs/answers.md, walked through by the tests.

It holds words only: `r1sgg.graph.document` and `r1sgg.graph.text` carry the decisions out.
"""

from __future__ import annotations

from typing import NamedTuple

FAILURES = ("no_json", "invalid_json", "truncated", "wrong_schema", "empty")
"""Issue kinds after which no graph is left. Evaluation adds "nothing_in_vocabulary"."""

POLICIES: dict[str, str] = {
    # the document
    "no_json": "failure: the answer holds neither JSON nor a line `objects` that begins a compact answer",
    "invalid_json": "failure: the JSON is broken (quotes, commas, comments) or nested over 200 deep; with "
    "`repair=True` the items that are whole are kept",
    "truncated": "failure: the JSON is right so far but ends too early, or a compact answer has no line `end`; with "
    "`repair=True` the items that are whole are kept",
    "wrong_schema": 'failure: the JSON is not an object with a list under "objects"',
    "empty": "failure: no valid object is left",
    "unclosed_tag": "an <answer> or <think> that is never closed: the text after it is read all the same",
    "surrounding_text": "text around the JSON or the compact lines is ignored; of several JSON objects the first that "
    "looks like a graph counts, and JSON before compact lines",
    "several_answers": "of several <answer> blocks outside <think> the last counts",
    "no_relationships": '"relationships" is missing or not a list, or has no line in a compact answer: the graph has '
    "objects only",
    "many_issues": "more than 1,000 issues: the rest is treated the same way but not listed",
    # objects
    "bad_object": "an entry of objects that is not a JSON object, or a line of less than five words: dropped",
    "bad_id": "an id that is not a string, names no class (digits and punctuation only) or is longer than 256 "
    "characters: the object is dropped",
    "bad_box": "a box that is not four finite numbers (strings and booleans are not numbers), or lies a million frames "
    "away: the object is dropped",
    "inverted_box": "x1 > x2 or y1 > y2: the object is dropped",
    "empty_box": "no area (x1 = x2 or y1 = y2): the object is kept, its box overlaps nothing",
    "box_out_of_frame": "a box that reaches outside the frame by more than a unit (a hundredth of the side in frames "
    "smaller than 100): kept as written, not clipped",
    "duplicate_id": "a later object with the id of an earlier one: dropped where the box is the same too, otherwise "
    "kept under a fresh id; relationships refer to the first",
    # relationships
    "bad_relationship": "an entry of relationships that is not a JSON object, or lacks a subject, predicate or object "
    "that is a string; or a line of less than three words: dropped",
    "bad_predicate": "a predicate that is punctuation only, or longer than 256 characters: dropped",
    "dangling": "a relationship that names an undeclared (or dropped) id: dropped",
    "self_loop": "a relationship of an object with itself: kept, counted",
    "repeated_triplet": "a relationship that stands there twice: kept, counted",
}
"""What is done about each named issue."""


class Issue(NamedTuple):
    """One thing wrong with an answer: `kind` is a key of `POLICIES`, `detail` says where and what."""

    kind: str
    detail: str
