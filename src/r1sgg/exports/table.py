"""CSV with one row per triplet, for spreadsheets and pandas. Objects without relationships have no row and are lost.

Boxes are fractions of the image. A spreadsheet takes text that begins with = + - @ or a tab for a formula; such text,
and text that begins with an apostrophe, gets an apostrophe in front, as OWASP advises. `from_csv` removes it.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from r1sgg.errors import InputError, short
from r1sgg.exports.record import GraphRecord
from r1sgg.graph.records import Rows, graph_of_rows, number
from r1sgg.graph.scene import SceneGraph

_CORNERS = ("x1", "y1", "x2", "y2")
_END = ("id", "label", *_CORNERS, "score")
COLUMNS = (
    "image_id",
    *(f"subject_{name}" for name in _END),
    "predicate",
    *(f"object_{name}" for name in _END),
    "score",
)
_RISKY = ("=", "+", "-", "@", "\t", "\r", "'")


def to_csv(records: Iterable[GraphRecord | SceneGraph]) -> str:
    """Return all relationships of all images under one header."""
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
    """Read what `to_csv` wrote: a record per image with relationships, its objects in the order of their first mention.

    Raises:
        InputError: another header, or a cell that is not what it should be.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = list(reader)
    except csv.Error as error:
        raise InputError(where, expected="CSV", found=f"something else ({error})") from error
    if tuple(reader.fieldnames or ()) != COLUMNS:
        expected = f"the header {','.join(COLUMNS)}"
        raise InputError(where, expected=expected, found=short(reader.fieldnames))
    objects, relationships = defaultdict[str, dict[str, dict[str, Any]]](dict), defaultdict[str, Rows](list)
    for k, cells in enumerate(lines, 2):
        here = f"{where}: row {k}"
        if None in cells or None in cells.values():  # as DictReader notes a cell too many or too few
            raise InputError(here, expected=f"{len(COLUMNS)} cells", found="another number of them")
        image_id = _bare(cells["image_id"])
        ends = {"predicate": _bare(cells["predicate"]), "score": cells["score"]}
        for end in ("subject", "object"):
            row: dict[str, Any] = {name: _bare(cells[f"{end}_{name}"]) for name in ("id", "label", "score")}
            row["bbox"] = [number(cells[f"{end}_{name}"], f"{here}, {end}_{name}") for name in _CORNERS]
            if objects[image_id].setdefault(row["id"], row) != row:
                expected = f"the same object under one id {row['id']!r}"
                raise InputError(here, expected=expected, found="another label, box or score")
            ends[end] = row["id"]
        relationships[image_id].append(ends)
    return [
        GraphRecord(graph_of_rows([*rows.values()], relationships[name], (1, 1), where, exported=True), name)
        for name, rows in objects.items()
    ]
