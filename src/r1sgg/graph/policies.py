"""How each fault of a completion is handled, as one table; docs/answers.md repeats it, and the tests check every row.

The table holds descriptions only; `r1sgg.graph.document` and `r1sgg.graph.items` implement them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

FAILURES = ("no_json", "invalid_json", "truncated", "wrong_schema", "other_dialect", "prompt_echo", "empty")
"""Kinds of issues that make a completion a failure. Evaluation adds "nothing_in_vocabulary"."""

POLICIES: dict[str, str] = {
    # the document
    "no_json": "failure: the completion has neither JSON nor a line `objects` that begins a compact graph",
    "invalid_json": "failure: the JSON is broken (quotes, commas, comments) or nested over 200 levels deep",
    "truncated": "failure: the JSON is valid but ends too early, or a compact graph has no line `end`",
    "wrong_schema": 'failure: the JSON is not an object with a list under "objects"',
    "other_dialect": "failure: the completion is written in another dialect than the one that was asked for",
    "prompt_echo": "failure: the only graph is the worked example of a prompt that stands in the completion",
    "empty": "failure: there is no valid object",
    "unclosed_tag": "an <answer> or <think> without its closing tag: the text after it is read",
    "surrounding_text": "text around the JSON or the compact lines: ignored; JSON takes precedence over compact lines",
    "several_answers": "several <answer> blocks outside <think>: the last one counts",
    "no_relationships": '"relationships" is missing or not a list, or a compact graph has no such line: the graph has '
    "objects only",
    "several_graphs": "several graphs: the last one counts",
    "prompt_text": "the completion holds the prompt: its worked example is skipped",
    "split_graph": "objects and relationships in two JSON objects, in either order: read as one graph",
    "closed_early": 'the JSON object ends before its "relationships", which follow it: they are read',
    "duplicate_key": "a key that stands twice in one JSON object: the last value counts, the others are lost",
    "other_key": '"relations", "triplets" or "edges" in place of "relationships" (also as lists by kind), or another '
    "key for subject, predicate or object: read",
    "wrong_count": "a table of rows whose heading gives another number: the rows count",
    "much_broken": "over 256 broken JSON objects: between them and the beginning of the last graph nothing is read",
    "many_issues": "more than 1,000 issues: the others are handled the same way but not listed",
    # objects
    "bad_object": "an entry of objects that is not a JSON object, or a line of fewer than five words: dropped",
    "bad_id": "an id that is not a string, names no class (digits and punctuation only) or is longer than 256 "
    "characters: the object is dropped",
    "bad_box": "a box that is not four finite numbers (strings and booleans are not numbers), or lies over a million "
    "frames away: the object is dropped",
    "inverted_box": "x1 > x2 or y1 > y2: the object is dropped",
    "empty_box": "a box without area (x1 = x2 or y1 = y2): the object is kept, its box overlaps nothing",
    "box_out_of_frame": "a box that extends outside the frame by more than one unit (a hundredth of the side in frames "
    "smaller than 100): kept as written, not clipped",
    "duplicate_id": "a later object with the id of an earlier one: dropped if the box is the same too, otherwise "
    "kept under a new id; relationships refer to the first",
    "class_key": 'the class is in "label" or "class", or (where the id names none: a number, "object_1", "o3") in '
    '"name", "category", "class_name", "category_name", "type" or "object": that class counts, and the object gets an '
    'id of it; elsewhere "name" and "category" are ignored; an id like "object_1" beside other keys is kept as a class',
    "odd_id": 'an id whose number follows without a separator or after "#" or ":" ("man1"): read as class and number',
    # relationships
    "bad_relationship": "an entry of relationships that is not a JSON object, or lacks a subject, predicate or object "
    "that is a string; or a line of fewer than three words: dropped",
    "bad_predicate": "a predicate of punctuation only, or longer than 256 characters: dropped",
    "dangling": "a relationship that names an undeclared (or dropped) id: dropped",
    "end_by_class": "a relationship that names an object by its class, which no other object has: linked",
    "end_by_index": "a relationship that names objects by whole numbers that are no ids: places in the list, from 0 "
    "(from 1 if none is 0 and one is the number of objects)",
    "self_loop": "a relationship of an object with itself: kept, counted",
    "repeated_triplet": "a relationship that repeats an earlier one: kept, counted",
}
"""How each kind of issue is handled."""


class Issue(NamedTuple):
    """One fault of a completion: `kind` is a key of `POLICIES`, `detail` says where it is and what was found."""

    kind: str
    detail: str


_MOST_ISSUES = 1000


def note(issues: list[Issue], kind: str, detail: str) -> None:
    """Add an issue, up to a limit, so that thousands of malformed items do not fill the memory."""
    if len(issues) < _MOST_ISSUES:
        issues.append(Issue(kind, detail))
    elif issues[-1].kind != "many_issues":
        issues.append(Issue("many_issues", f"more than {_MOST_ISSUES}"))


_KINDS = {dict: "an object", str: "a string", bool: "a boolean", float: "a number", int: "a number"}


def kind_of(value: Any) -> str:
    """Describe a JSON value for an issue."""
    if value is None:
        return "missing or null"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return _KINDS.get(type(value), type(value).__name__)
