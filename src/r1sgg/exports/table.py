"""CSV, a row a triplet: for spreadsheets and pandas. Objects without relationships have no row, and are lost.

Boxes are fractions of the image. A text that a spreadsheet would take for a formula (it begins with = + - @ or a tab),
or that begins with an apostrophe, gets an apostrophe in front, as OWASP advises; `from_csv` takes it away.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from r1sgg.errors import InputError
from r1sgg.exports.record import GraphRecord, assemble, number, score
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject

_END = ("id", "label", "x1", "y1", "x2", "y2", "score")
COLUMNS = (
    "image_id",
    *(f"subject_{name}" for name in _END),
    "predicate",
    *(f"object_{name}" for name in _END),
    "score",
)
_RISKY = ("=", "+", "-", "@", "\t", "\r", "'")


def to_csv(records: Iterable[GraphRecord | SceneGraph]) -> str:
    """All relationships of all images, under one header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(COLUMNS)
    for record in map(GraphRecord.of, records):
        objects = record.graph.objects
        for r in record.graph.relationships:
            row: list[str] = [_guarded(record.image_id)]
            for k, middle in ((r.subject, [_guarded(r.predicate)]), (r.object, [])):
                o = objects[k]
                row += [_guarded(o.id), _guarded(o.label), *map(repr, o.box), _number(o.score), *middle]
            writer.writerow([*row, _number(r.score)])
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _guarded(text: str) -> str:
    return "'" + text if text.startswith(_RISKY) else text


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") else text


def from_csv(text: str, where: str = "CSV") -> list[GraphRecord]:
    """Read what `to_csv` wrote: a record an image that has relationships, objects in the order of their first mention.

    Raises:
        InputError: another header, or a cell that is not what it should be.
    """
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(where, expected="CSV", found=f"something else ({error})") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise InputError(where, expected=f"the header {','.join(COLUMNS)}"[:120], found=repr(lines[:1])[:80])
    images: dict[str, tuple[dict[str, int], list[SceneObject], list[Relationship]]] = {}
    for k, cells in enumerate(lines[1:], 2):
        here = f"{where}: row {k}"
        if len(cells) != len(COLUMNS):
            raise InputError(here, expected=f"{len(COLUMNS)} cells", found=str(len(cells)))
        index, objects, relationships = images.setdefault(_bare(cells[0]), ({}, [], []))
        ends = []
        for start in (1, 9):
            name = _bare(cells[start])
            x1, y1, x2, y2 = (number(v, here) for v in cells[start + 2 : start + 6])
            rank = score(cells[start + 6], here)
            found = SceneObject(name, _bare(cells[start + 1]), (x1, y1, x2, y2), rank)
            if name not in index:
                index[name] = len(objects)
                objects.append(found)
            elif objects[index[name]] != found:
                raise InputError(here, expected=f"the same object under one id {name!r}", found="another box or label")
            ends.append(index[name])
        relationships.append(Relationship(ends[0], _bare(cells[8]), ends[1], score(cells[16], here)))
    return [GraphRecord(assemble(o, r, where), name) for name, (_, o, r) in images.items()]
