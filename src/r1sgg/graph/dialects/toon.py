"""SceneGraphVLM's TOON: two tables with a heading that says how many rows follow; ends are the numbers of objects.

    obj[3]{id,name,x1,y1,x2,y2}:
      1,man,100,80,420,900
      2,horse,90,300,800,990
      3,tree,700,10,990,600
    rel[2]{subj,pred,obj}:
      1,riding,2
      2,near,3

A table with fewer rows than its heading says was cut: the answer is truncated. A name may be quoted.
"""

from __future__ import annotations

import csv
import re

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.policies import Issue

_HEADING = re.compile(
    r"^[ \t]*(obj|rel)(?:ects?|ations?|ationships?)?\[(\d{1,6})\]\{([\w, ]*)\}:[ \t\r]*$", re.MULTILINE
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def _looks(text: str) -> bool:
    return _HEADING.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    headings = list(_HEADING.finditer(text))
    starts = [k for k, m in enumerate(headings) if m[1] == "obj"]
    if not starts:
        issues.append(Issue("no_json", "no table obj[N]{...}"))
        return None
    if len(starts) > 1:
        issues.append(Issue("several_graphs", f"{len(starts)} tables of objects: the last counts"))
    draft, relations = Draft(), False
    for k in range(starts[-1], len(headings)):
        heading = headings[k]
        end = headings[k + 1].start() if k + 1 < len(headings) else len(text)
        rows = _rows(text[heading.end() : end], int(heading[2]))
        if len(rows) < int(heading[2]):
            issues.append(Issue("truncated", f"{heading[1]}[{heading[2]}] has {len(rows)} rows"))
            return None
        if heading[1] == "rel":
            relations = True
        for row in rows:
            _add(draft, heading[1], row)
    return draft.document(relations=relations)


def _add(draft: Draft, table: str, row: list[str]) -> None:
    if table == "obj" and len(row) == 6:
        draft.add_object(row[1], [_number(field) for field in row[2:]], row[0])
    elif table == "obj":
        draft.add_broken_object(",".join(row))
    elif len(row) == 3:
        draft.add_relationship(*row)
    else:
        draft.add_broken_relationship(",".join(row))


def _rows(body: str, count: int) -> list[list[str]]:
    """Return the lines of a table, at most `count`, up to the first line that is none."""
    rows: list[list[str]] = []
    for line in body.strip("\r\n").split("\n"):
        if len(rows) == count or not line.strip():
            break
        fields = next(csv.reader([line.strip()], skipinitialspace=True), [])
        if len(fields) < 2:
            break
        rows.append([field.strip() for field in fields])
    return rows


def _number(field: str) -> float | str:
    return float(field) if _NUMBER.fullmatch(field) else field


DIALECT = Dialect(
    name="toon",
    about="SceneGraphVLM: two tables (TOON)",
    example="""<answer>
obj[3]{id,name,x1,y1,x2,y2}:
  1,man,100,80,420,900
  2,horse,90,300,800,990
  3,tree,700,10,990,600
rel[2]{subj,pred,obj}:
  1,riding,2
  2,near,3
</answer>""",
    marks=("]{",),
    looks=_looks,
    read=_read,
)
