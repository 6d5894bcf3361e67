"""Read the items of the JSON object that `r1sgg.graph.document` found: objects and relationships.

Malformed items are dropped one by one, each with an issue. How each fault is handled is a row of
`r1sgg.graph.policies.POLICIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count
from operator import eq, itemgetter, lt
from typing import Any, NamedTuple

from r1sgg.graph.parsed import Frame, GraphColumns, Parsed
from r1sgg.graph.policies import FAILURES, Issue, kind_of, note
from r1sgg.graph.references import LONGEST_NAME, Ends, Reference, is_end, name_of, relations_of, triplet_of
from r1sgg.graph.scene import NUMBER_SUFFIX, ODD_NUMBER, label_of_id, normalize_name


def parse_document(document: dict[str, Any], frame: Frame, issues: Sequence[Issue] = ()) -> Parsed:
    """Read a document; malformed items become issues, which follow those that are passed in."""
    clean = _clean_columns(document, frame)
    if clean is not None:
        return Parsed(clean, issues, range(len(clean.ids)), range(len(clean.predicates)))
    notes = list(issues)
    parsed = _read_items(document, frame, notes)
    if not len(parsed.ids) and not any(i.kind in FAILURES for i in notes):
        notes.append(Issue("empty", "no valid object"))
    rows = (parsed.object_rows, parsed.relationship_rows)
    entries = document.get("objects")
    listed = len(entries) if isinstance(entries, list) else 0
    return Parsed(parsed.columns(frame), notes, *rows, inverted=parsed.inverted, listed=listed)


# ---------------------------------------------------------------- items without a fault

_CACHE = 1 << 16
_NUMBERS = frozenset((int, float))
_TWO, _FOUR = frozenset((2,)), frozenset((4,))


class _Names(dict[str, str]):
    """Caches a function of names; "" for a name that `_read_items` must handle (long, spaces around it, an odd id)."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self.function = function

    def __missing__(self, name: str) -> str:
        if len(self) >= _CACHE:
            self.clear()
        plain = len(name) <= LONGEST_NAME and name == name.strip() and not ODD_NUMBER.search(name)
        self[name] = value = self.function(name) if plain else ""
        return value


_ID, _BBOX, _TRIPLET = itemgetter("id"), itemgetter("bbox"), itemgetter("subject", "predicate", "object")
_LABELS, _PREDICATES = _Names(label_of_id), _Names(normalize_name)


def _clean_columns(document: dict[str, Any], frame: Frame) -> GraphColumns | None:
    """Read a document without any fault, column by column; None if anything needs `_read_items`.

    Most completions of a trained model have no fault, and checking whole columns is six times faster. No policy is
    decided here: `_read_items` gives the same result for every document that passes (tested).
    """
    try:
        rows, relations = document["objects"], document["relationships"]
        if type(rows) is not list or type(relations) is not list:
            return None
        ids = list(map(_ID, rows))
        corners = list(map(_BBOX, rows))
        flat = list(chain.from_iterable(corners))
        labels = list(map(_LABELS.__getitem__, ids))
        index = dict(zip(ids, count(), strict=False))
        ends, names, others = zip(*map(_TRIPLET, relations), strict=True) if relations else ((), (), ())
        subjects, objects = list(map(index.__getitem__, ends)), list(map(index.__getitem__, others))
        predicates = list(map(_PREDICATES.__getitem__, names))
    except (KeyError, TypeError, AttributeError):
        return None  # an item of another shape, or a reference to nothing
    if not (len(index) == len(ids) > 0 and all(labels) and all(predicates) and _TWO.issuperset(map(len, rows))):
        return None  # also if an object has another key: it may name the class
    if not (_FOUR.issuperset(map(len, corners)) and _NUMBERS.issuperset(map(type, flat))):
        return None
    x2, y2 = flat[2::4], flat[3::4]
    inside = min(flat) >= 0 and max(x2) <= frame[0] and max(y2) <= frame[1]
    if not (inside and all(map(lt, flat[::4], x2)) and all(map(lt, flat[1::4], y2))):
        return None  # NaN fails one of the comparisons
    triplets = set(zip(subjects, predicates, objects, strict=True))
    if len(triplets) < len(subjects) or any(map(eq, subjects, objects)):
        return None  # a repeated triplet or a self-loop is an issue
    return GraphColumns(ids, labels, flat, subjects, objects, predicates, frame)


# ---------------------------------------------------------------- item by item

_FARTHEST = 1e6  # frames; a coordinate beyond it is noise, and areas would overflow
_MOST_INVERTED = 100  # that are kept for the evidence on frames
_KEPT_BOXES = ("empty_box", "box_out_of_frame")


class _Items(NamedTuple):
    """The valid items of a document, and the numbers of their rows."""

    ids: list[str]
    labels: list[str]
    boxes: list[float]
    object_rows: list[int]
    relations: tuple[list[int], list[int], list[str]]
    relationship_rows: list[int]
    inverted: list[tuple[str, list[float]]]

    def columns(self, frame: Frame) -> GraphColumns:
        return GraphColumns(self.ids, self.labels, self.boxes, *self.relations, frame)


def _read_items(document: dict[str, Any], frame: Frame, issues: list[Issue]) -> _Items:
    """Read a document item by item; malformed items are dropped and noted in `issues`."""
    rows = document.get("objects")
    if not isinstance(rows, list):
        issues.append(Issue("wrong_schema", f'"objects" is {kind_of(rows)}, expected a list'))
        return _Items([], [], [], [], ([], [], []), [], [])
    kept: list[int] = []
    ids: list[str] = []
    labels: list[str] = []
    flat: list[float] = []
    index: dict[Reference, int] = {}
    again: dict[tuple[Any, ...], int] = {}  # (id, box) of later objects with the id of an earlier one
    inverted: list[tuple[str, list[float]]] = []
    unnamed: list[int] = []  # places of objects that get an id of their class
    width, height = frame
    for k, row in enumerate(rows):
        if type(row) is not dict:
            note(issues, "bad_object", f"objects[{k}] is {kind_of(row)}")
            continue
        box, name = row.get("bbox"), row.get("id")
        reference: Reference | None = None
        if len(row) == 2 and type(name) is str and (label := _LABELS[name]):
            reference, renamed = name, False
        elif named := name_of(row, k, issues):
            reference, label, renamed = named
        else:
            note(issues, "bad_id", f"objects[{k}].id is {kind_of(name)}")
            continue
        if type(box) is not list or len(box) != 4:
            note(issues, "bad_box", f"objects[{k}].bbox is {kind_of(box)}")
            continue
        x1, y1, x2, y2 = box
        if not (type(x1) in _NUMBERS and type(y1) in _NUMBERS and type(x2) in _NUMBERS and type(y2) in _NUMBERS):
            note(issues, "bad_box", f"objects[{k}].bbox holds something that is not a number")
            continue
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height) and (fault := _box_fault(box, frame)):
            note(issues, fault, f"objects[{k}].bbox")
            if fault == "inverted_box" and len(inverted) < _MOST_INVERTED:
                inverted.append((label, box))
            if fault not in _KEPT_BOXES:
                continue
        if reference is None:
            unnamed.append(len(ids))
        elif reference in index:
            note(issues, "duplicate_id", f"objects[{k}].id {str(reference)[:40]!r}")
            first = 4 * index[reference]
            if box == flat[first : first + 4] or (reference, *box) in again:
                continue
            again[(reference, *box)] = len(ids)
        else:
            index[reference] = len(ids)
            if renamed:
                unnamed.append(len(ids))
        kept.append(k)
        ids.append(f"{label}.1" if renamed else str(reference))
        labels.append(label)
        flat += box
    if again or unnamed:
        _rename(ids, sorted({*unnamed, *again.values()}), index)
    ends = Ends(index, labels, ids)
    subjects, objects, predicates, relationship_rows = read_relations(relations_of(document, issues), ends, issues)
    return _Items(ids, labels, flat, kept, (subjects, objects, predicates), relationship_rows, inverted)


def _rename(ids: list[str], positions: Sequence[int], declared: Iterable[Reference]) -> None:
    """Give the ids at `positions` the lowest free numbers of their class, in linear time."""
    renamed = set(positions)
    taken = {name for name in declared if isinstance(name, str)}
    taken |= {name for k, name in enumerate(ids) if k not in renamed}
    numbers: dict[str, int] = {}
    for position in positions:
        stem = NUMBER_SUFFIX.sub("", ids[position])
        number = numbers.get(stem, 1)
        while (name := f"{stem}.{number}") in taken:
            number += 1
        numbers[stem] = number + 1
        taken.add(name)
        ids[position] = name


def read_relations(rows: Any, ends: Ends, issues: list[Issue]) -> tuple[list[int], list[int], list[str], list[int]]:
    """Read the relationships between declared objects: subjects, objects, predicates and row numbers."""
    kept: list[int] = []
    subjects: list[int] = []
    objects: list[int] = []
    predicates: list[str] = []
    if type(rows) is not list:
        note(issues, "no_relationships", f'"relationships" is {kind_of(rows)}')
        return subjects, objects, predicates, kept
    seen: set[tuple[int, str, int]] = set()
    index = ends.index
    ends.count_from(rows)
    for k, row in enumerate(rows):
        if type(row) is not dict:
            note(issues, "bad_relationship", f"relationships[{k}] is {kind_of(row)}")
            continue
        subject, predicate, target = row.get("subject"), row.get("predicate"), row.get("object")
        if subject is None or predicate is None or target is None:
            subject, predicate, target = triplet_of(row, k, issues)
        if type(predicate) is not str or not (is_end(subject) and is_end(target)):
            note(issues, "bad_relationship", f"relationships[{k}] lacks a subject, predicate or object")
            continue
        if len(predicate) > LONGEST_NAME or not (predicate := normalize_name(predicate)):
            note(issues, "bad_predicate", f"relationships[{k}].predicate")
            continue
        s, o = index.get(subject), index.get(target)
        if s is None or o is None:
            first, second = ends.find(subject), ends.find(target)
            if first is None or second is None:
                wrong = subject if first is None else target
                note(issues, "dangling", f"relationships[{k}] names {str(wrong)[:40]!r}{ends.why(wrong)}")
                continue
            for kind in dict.fromkeys((first.how, second.how)):
                if kind:
                    odd = subject if first.how == kind else target
                    note(issues, kind, f"relationships[{k}] names {str(odd)[:40]!r}")
            s, o = first.place, second.place
        if s == o:
            note(issues, "self_loop", f"relationships[{k}]")
        triplet = (s, predicate, o)
        if triplet in seen:
            note(issues, "repeated_triplet", f"relationships[{k}]")
        seen.add(triplet)
        kept.append(k)
        subjects.append(s)
        objects.append(o)
        predicates.append(predicate)
    return subjects, objects, predicates, kept


def _box_fault(box: Sequence[float], frame: Frame) -> str | None:
    """Return the issue of a box that is not inside the frame with x1 < x2 and y1 < y2; None if it is just rounding."""
    x1, y1, x2, y2 = box
    if not all(abs(v) <= _FARTHEST * frame[k % 2] for k, v in enumerate(box)):  # also true for NaN
        return "bad_box"
    if x1 > x2 or y1 > y2:
        return "inverted_box"
    if x1 == x2 or y1 == y2:
        return "empty_box"
    unit_x, unit_y = min(1.0, frame[0] / 100), min(1.0, frame[1] / 100)  # tolerance for rounding
    inside = -unit_x <= x1 and x2 <= frame[0] + unit_x and -unit_y <= y1 and y2 <= frame[1] + unit_y
    return None if inside else "box_out_of_frame"
