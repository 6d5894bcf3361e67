"""What a run wrote down beside its numbers: sampled completions with their reward terms (`completions.jsonl`), step by
step, and the troubles that it warned of (`warnings.jsonl`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1sgg.data.jsonl import read_jsonl
from r1sgg.errors import InputError, short

FILE = "completions.jsonl"
MAX_STEPS = 100
"""Steps that are shown; of more, so many at even distances, the first and the last among them."""
MAX_TEXT = 3000


def read_samples(folders: Sequence[Path], names: Sequence[str]) -> list[dict[str, Any]]:
    """The samples of run folders; a folder without any gives none.

    Returns:
        For each run with samples its `name`, `terms`, the `of` all logged steps, and `steps`: {`step`, `rows`}, a row
        having `image`, `text`, `cut`, `terms` (a value a term, or None) and `total`.

    Raises:
        InputError: a line is broken or has no step, completion or terms.
    """
    found = []
    for folder, name in zip(folders, names, strict=True):
        path = folder / FILE
        if folder.is_file() or not path.exists():
            continue
        steps: dict[int, list[dict[str, Any]]] = {}
        terms: dict[str, None] = {}
        for number, row in read_jsonl(path):
            where = f"{path}:{number}"
            values = row.get("terms")
            if not isinstance(row.get("step"), int) or not isinstance(row.get("completion"), str):
                raise InputError(where, expected='"step" and "completion"', found=short(row))
            if not isinstance(values, dict):
                raise InputError(f"{where}: terms", expected="an object of numbers", found=short(values))
            terms |= dict.fromkeys(map(str, values))
            text = row["completion"]
            kept = {
                "image": str(row.get("image_id", "")),
                "text": text[:MAX_TEXT],
                "cut": max(0, len(text) - MAX_TEXT),
                "terms": {str(k): v for k, v in values.items() if isinstance(v, int | float | None)},
                "total": row.get("total") if isinstance(row.get("total"), int | float) else None,
            }
            steps.setdefault(row["step"], []).append(kept)
        order = sorted(steps)
        shown = [{"step": step, "rows": steps[step]} for step in thinned(order)]
        found.append({"name": name, "terms": list(terms), "of": len(order), "steps": shown})
    return found


def read_warnings(folders: Sequence[Path], names: Sequence[str]) -> list[tuple[str, str]]:
    """The warnings of run folders: the run's name, and what was said (`r1sgg.training.guards`).

    Raises:
        InputError: a line is broken.
    """
    found = []
    for folder, name in zip(folders, names, strict=True):
        path = folder / "warnings.jsonl"
        if not folder.is_file() and path.exists() and path.stat().st_size:
            found += [(name, str(row.get("message", ""))) for _, row in read_jsonl(path)]
    return found


def thinned(steps: Sequence[int], most: int = MAX_STEPS) -> list[int]:
    """At most `most` of the steps, at even distances, with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most)]
