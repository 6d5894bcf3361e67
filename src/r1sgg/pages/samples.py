"""What a run logged beside its numbers: sampled completions with their reward terms, step by step, and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1sgg.data.jsonl import read_jsonl
from r1sgg.errors import InputError, short

FILE = "completions.jsonl"
MAX_STEPS = 100
"""Of more steps, so many are shown at even distances, the first and the last among them."""
MAX_TEXT = 3000
"""Characters of a completion that are shown."""


def read_samples(folders: Sequence[Path], names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the samples (`completions.jsonl`) of run folders.

    Args:
        folders: run folders; one without samples, or a metrics file, gives none.
        names: what the runs are called.

    Returns:
        For each run with samples: `name`; `terms`, the names of its reward terms; `of`, how many steps were logged;
        `steps`, a list of {`step`, `rows`}. A row has `image`, `text`, `cut` (characters that were left out), `terms`
        (a value for each term, or None) and `total`.

    Raises:
        InputError: a line is broken or has no step, completion or terms.
    """
    found = []
    for folder, name in zip(folders, names, strict=True):
        path = folder / FILE
        if not path.exists():
            continue
        steps: dict[int, list[dict[str, Any]]] = {}
        terms: dict[str, None] = {}  # a set that keeps the order
        for number, row in read_jsonl(path):
            where, values, text = f"{path}:{number}", row.get("terms"), row.get("completion")
            if not isinstance(row.get("step"), int) or not isinstance(text, str):
                raise InputError(where, expected='"step" and "completion"', found=short(row))
            if not isinstance(values, dict):
                raise InputError(f"{where}: terms", expected="an object of numbers", found=short(values))
            terms |= dict.fromkeys(values)
            kept = {
                "image": str(row.get("image_id", "")),
                "text": text[:MAX_TEXT],
                "cut": max(0, len(text) - MAX_TEXT),
                "terms": {term: value for term, value in values.items() if isinstance(value, int | float | None)},
                "total": row.get("total") if isinstance(row.get("total"), int | float) else None,
            }
            steps.setdefault(row["step"], []).append(kept)
        shown = [{"step": step, "rows": steps[step]} for step in thinned(sorted(steps))]
        found.append({"name": name, "terms": list(terms), "of": len(steps), "steps": shown})
    return found


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
