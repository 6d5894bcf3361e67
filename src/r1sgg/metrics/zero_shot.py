"""A published list of zero-shot triplets: those that the standard training split of VG150 lacks.

    [["man", "riding", "elephant"], ...]       names: subject, predicate, object
    [[78, 52, 38], ...]                        VG150's numbers from 1: subject, object, predicate, as published

The list that published tables use is a tensor in a pickle (zeroshot_triplet.pytorch of Scene-Graph-Benchmark), which is
not read here. `torch.load(FILE, weights_only=True).tolist()`, written as JSON, is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r1sgg.data.jsonl import read_json
from r1sgg.errors import InputError, short
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.vocabulary import VG150

Triplets = frozenset[tuple[str, str, str]]


def read_zero_shot(path: Path) -> Triplets:
    """Return the triplets of a list, as names.

    Raises:
        InputError: it is no list of three names or three numbers of VG150.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise InputError(str(path), expected="a list of triplets", found=short(rows))
    return frozenset(_triplet(row, f"{path}[{k}]") for k, row in enumerate(rows))


def _triplet(row: Any, where: str) -> tuple[str, str, str]:
    if isinstance(row, list) and len(row) == 3:
        if all(isinstance(v, str) and normalize_name(v) for v in row):
            subject, predicate, target = map(normalize_name, row)
            return subject, predicate, target
        if all(type(v) is int for v in row):
            s, o, p = row
            if 0 < s <= len(VG150.objects) and 0 < o <= len(VG150.objects) and 0 < p <= len(VG150.predicates):
                return VG150.objects[s - 1], VG150.predicates[p - 1], VG150.objects[o - 1]
    expected = "[subject, predicate, object] as names, or [subject, object, predicate] as VG150's numbers from 1"
    raise InputError(where, expected=expected, found=short(row))
