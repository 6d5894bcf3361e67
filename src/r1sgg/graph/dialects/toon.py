"""SceneGraphVLM's TOON: two tables with a heading that says how many rows follow; ends are the numbers of objects.

    obj[3]{id,name,x1,y1,x2,y2}:
      1,man,100,80,420,900
      2,horse,90,300,800,990
      3,tree,700,10,990,600
    rel[2]{subj,pred,obj}:
      1,riding,2
      2,near,3

An answer that ends with fewer rows than its last heading says, or without relationships, was cut: it is truncated,
unless </answer> closes it. A name may be quoted.
"""

from __future__ import annotations

import re

from r1sgg.graph.dialects.building import Draft
from r1sgg.graph.dialects.dialect import Dialect, Document
from r1sgg.graph.policies import Issue
from r1sgg.graph.tags import answer_of

_HEADING = re.compile(
    r"^[ \t]*(obj|rel)(?:ects?|ations?|ationships?)?\[(\d{1,6})\]\{([\w, ]*)\}:[ \t\r]*$", re.MULTILINE
)
_FIELD = re.compile(r'(?:^|,)\s*(?:"((?:[^"\\]++|\\.)*+)"|([^,]*+))')
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def _looks(text: str) -> bool:
    return _HEADING.search(text) is not None


def _read(text: str, issues: list[Issue]) -> Document | None:
    body = answer_of(text, issues)
    headings = list(_HEADING.finditer(body))
    starts = [k for k, m in enumerate(headings) if m[1] == "obj"]
    if not starts:
        issues.append(Issue("no_json", "no table obj[N]{...}"))
        return None
    if len(starts) > 1:
        issues.append(Issue("several_graphs", f"{len(starts)} tables of objects: the last counts"))
    tables = headings[starts[-1] :]
    draft, relations = Draft(), False
    for heading, after in zip(tables, [*tables[1:], None], strict=True):
        rows = _rows(body[heading.end() : len(body) if after is None else after.start()])
        declared, table = int(heading[2]), heading[1]
        cut = after is None and "</answer>" not in text  # a whole answer may count wrongly
        if cut and (len(rows) < declared or (rows and (len(rows[-1]) != _FIELDS[table] or not all(rows[-1])))):
            issues.append(Issue("truncated", f"{table}[{declared}] has {len(rows)} rows"))
            return None
        if len(rows) != declared:
            issues.append(Issue("wrong_count", f"{table}[{declared}] has {len(rows)} rows"))
        relations = relations or table == "rel"
        for row in rows:
            _add(draft, table, row)
    if not relations and "</answer>" not in text:
        issues.append(Issue("truncated", "no table rel[N]{...}"))
        return None
    return draft.document(relations=relations)


_FIELDS = {"obj": 6, "rel": 3}


def _add(draft: Draft, table: str, row: list[str]) -> None:
    if table == "obj" and len(row) == _FIELDS[table]:
        draft.add_object(row[1], [_number(field) for field in row[2:]], row[0])
    elif table == "obj":
        draft.add_broken_object(",".join(row))
    elif len(row) == _FIELDS[table]:
        draft.add_relationship(*row)
    else:
        draft.add_broken_relationship(",".join(row))


def _rows(body: str) -> list[list[str]]:
    """Return the lines of a table, up to the first line that is none."""
    rows: list[list[str]] = []
    for line in body.strip("\r\n").split("\n"):
        fields = [quoted or plain.strip() for quoted, plain in _FIELD.findall(line.strip())]
        if len(fields) < 2:
            break
        rows.append(fields)
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
