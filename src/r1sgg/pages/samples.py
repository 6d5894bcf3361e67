"""What a run logged beside its numbers: completions with what they were scored against, step by step, and warnings.

`r1sgg.training.samples` writes completions.jsonl; lines of version 0.1 and of other tools, which have fewer fields, are
shown with what they have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from r1sgg.data.base import example_of_record
from r1sgg.data.jsonl import frame_of, read_jsonl
from r1sgg.drawing.shapes import data_uri
from r1sgg.errors import InputError, short
from r1sgg.graph.text import parse
from r1sgg.judging.outcomes import compare
from r1sgg.pages.evidence import MAX_OBJECTS, graph_detail

FILE = "completions.jsonl"
MAX_STEPS = 100
"""Of more steps, so many are shown at even distances, the first and the last among them."""
EXTREMES = 12
"""So many of the lowest and of the highest totals of all steps are shown, and of the groups with the largest spread."""
MAX_TEXT = 3000
"""Characters of a completion that are shown."""
_PICTURE = re.compile(r"samples/[0-9a-f]{12}\.webp")


def read_samples(folders: Sequence[Path], names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the samples (`completions.jsonl`) of run folders.

    Args:
        folders: run folders; one without samples, or a metrics file, gives none.
        names: what the runs are called.

    Returns:
        For each run with samples: `name`; `terms`, the names of its reward terms; `of`, how many steps were logged;
        `steps`, those that are shown; `rows`, their samples and those with the lowest and highest totals and in the
        groups with the largest spread, in the order of the file; `pictures`, data URIs by name. A row has `step`,
        `image`, `text`, `cut` (characters that were left out), `terms` and `weights` (a value for each term, or None),
        `total`, `advantage`, `group`, and, where the line has the truth, `picture` and `graphs` (`_graphs`).

    Raises:
        InputError: a line is broken or has no step, completion or terms.
    """
    found = []
    for folder, name in zip(folders, names, strict=True):
        path = folder / FILE
        if not path.exists():
            continue
        rows = [_row(row, f"{path}:{number}") for number, row in read_jsonl(path)]
        terms = dict.fromkeys(term for row in rows for term in row["terms"])  # a set that keeps the order
        logged = sorted({row["step"] for row in rows})
        steps = thinned(logged)
        kept = [rows[k] for k in sorted({*_extremes(rows), *(k for k, row in enumerate(rows) if row["step"] in steps)})]
        for row in kept:
            if (record := row.pop("record")) is not None:
                row |= _graphs(row, *record)
        pictures = {row["picture"] for row in kept if row.get("picture")}
        found.append(
            {
                "name": name,
                "terms": list(terms),
                "of": len(logged),
                "steps": steps,
                "rows": [{key: value for key, value in row.items() if key != "whole"} for row in kept],
                "pictures": {
                    one: data_uri((folder / one).read_bytes(), "webp")
                    for one in sorted(pictures)
                    if (folder / one).is_file()
                },
            }
        )
    return found


def _row(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a line, and return what is shown of it; `whole` and `record` are for `_graphs`."""
    values, text = row.get("terms"), row.get("completion")
    if not isinstance(row.get("step"), int) or not isinstance(text, str):
        raise InputError(where, expected='"step" and "completion"', found=short(row))
    if not isinstance(values, dict):
        raise InputError(f"{where}: terms", expected="an object of numbers", found=short(values))
    weights, group, picture = row.get("weights"), row.get("group"), row.get("picture")
    kept = {
        "step": row["step"],
        "image": str(row.get("image_id", "")),
        "text": text[:MAX_TEXT],
        "cut": max(0, len(text) - MAX_TEXT),
        "terms": _numbers(values),
        "weights": _numbers(weights) if isinstance(weights, dict) else None,
        "total": _number(row.get("total")),
        "advantage": _number(row.get("advantage")),
        "group": _numbers(group) if isinstance(group, dict) else None,
        "whole": text,
        "record": None,
    }
    if isinstance(picture, str) and _PICTURE.fullmatch(picture):
        kept["picture"] = picture
    if isinstance(row.get("truth"), dict):
        example = example_of_record(row["truth"], f"{where}: truth", Path())
        kept["record"] = example, frame_of(row.get("frame"), f"{where}: frame")
    return kept


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {str(key): value for key, value in values.items() if value is None or _number(value) is not None}


def _extremes(rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the places of the rows with the lowest and highest totals, and of those in the most uneven groups."""
    order = sorted((k for k, row in enumerate(rows) if row["total"] is not None), key=lambda k: rows[k]["total"])
    groups: dict[tuple[int, Any], list[int]] = {}
    for k, row in enumerate(rows):
        if row["group"] and row["group"].get("spread") is not None:
            groups.setdefault((row["step"], row["group"].get("number")), []).append(k)
    uneven = sorted(groups.values(), key=lambda places: -(rows[places[0]]["group"]["spread"] or 0.0))
    return {*order[:EXTREMES], *order[-EXTREMES:], *(k for places in uneven[:EXTREMES] for k in places)}


def _graphs(row: Mapping[str, Any], example: Any, frame: Any) -> dict[str, Any]:
    """Return the truth and what was read in a completion, with the status of each part, as the viewer draws them."""
    parsed = parse(row["whole"], frame)
    judged = compare(example.graph, parsed.graph)
    letters = {"matched": "m", "missed": "x", "spurious": "s"}

    def spelled(statuses: Sequence[str]) -> str:
        return "".join(letters[status] for status in statuses)

    return {
        "size": [example.width, example.height],
        "failure": parsed.failure,
        "graphs": {
            "truth": graph_detail(example.graph),
            "completion": graph_detail(parsed.graph),
            "trueObjects": spelled(judged.true_object_statuses),
            "trueRelations": spelled(judged.truth_statuses),
            "objects": spelled(judged.object_statuses[:MAX_OBJECTS]),
            "relations": spelled(judged.graph_statuses),
        },
    }


def read_warnings(folders: Sequence[Path], names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the warnings of run folders (`warnings.jsonl`, see `r1sgg.training.guards`): run's name and message.

    Raises:
        InputError: a line is broken.
    """
    found = []
    for folder, name in zip(folders, names, strict=True):
        path = folder / "warnings.jsonl"
        if path.exists() and path.stat().st_size:
            found += [(name, str(row.get("message", ""))) for _, row in read_jsonl(path)]
    return found


def thinned(steps: Sequence[int], most: int = MAX_STEPS) -> list[int]:
    """Return at most `most` of the steps, at even distances, with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most)]
