"""Groups of predicates for mean recall: head, body and tail, by name.

    bgnn      VG150's 50 predicates as BGNN, PySGG and their followers group them: 7, 21 and 22
    thirds    equal thirds by training frequency (17, 17, 16 of 50); no paper uses them
    FILE      {"head": ["on", ...], "body": [...], ...}: any groups of a vocabulary's predicates

Another grouping of VG150 in use has 4, 12 and 34. A figure of a group says nothing without the grouping's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from r1sgg.data.jsonl import read_json
from r1sgg.errors import ConfigError, InputError, short
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.vocabulary import VG150, Vocabulary
from r1sgg.metrics.frequency import TrainingStatistics

Groups = Mapping[str, tuple[str, ...]]

GROUPS = ("head", "body", "tail")

_HEAD = ("behind", "has", "in", "near", "of", "on", "wearing")
_BODY = (
    *("above", "and", "at", "attached to", "belonging to", "carrying", "for", "hanging from", "holding"),
    *("in front of", "looking at", "over", "parked on", "riding", "sitting on", "standing on", "under"),
    *("walking on", "watching", "wears", "with"),
)
BGNN: Groups = {
    "head": _HEAD,
    "body": _BODY,
    "tail": tuple(name for name in VG150.predicates if name not in (*_HEAD, *_BODY)),
}

VG150_BY_FREQUENCY = (
    *("on", "has", "wearing", "of", "in", "near", "with", "holding", "behind", "above", "sitting on", "wears"),
    *("riding", "under", "in front of", "standing on", "at", "carrying", "attached to", "walking on", "for", "over"),
    *("laying on", "looking at", "hanging from", "belonging to", "parked on", "eating", "using", "and", "covering"),
    *("part of", "covered in", "between", "along", "lying on", "watching", "on back of", "to", "walking in"),
    *("mounted on", "against", "across", "from", "growing on", "painted on", "made of", "playing", "says"),
    "flying in",
)
"""VG150's predicates by their number of training relations, most frequent first."""


def named_groups(
    name: str | None, vocabulary: Vocabulary, statistics: TrainingStatistics | None
) -> tuple[str | None, Groups]:
    """Return the name of a grouping and its groups; None and no groups where none is known for the vocabulary.

    Args:
        name: "bgnn", "thirds" or a file; None takes bgnn for VG150, else thirds where there are statistics.
        vocabulary: what the predicates must be of.
        statistics: of the training set, for thirds; without them VG150 uses its published frequencies.

    Raises:
        ConfigError: no such grouping, one that is not for this vocabulary, or thirds without statistics.
        InputError: a file that has no groups of the vocabulary's predicates.
    """
    is_vg150 = vocabulary.predicates == VG150.predicates
    if name is None:
        name = "bgnn" if is_vg150 else "thirds" if statistics is not None and vocabulary.predicates else None
        if name is None:
            return None, {}
    if name == "bgnn":
        if not is_vg150:
            raise ConfigError(f"--groups bgnn: expected --vocabulary vg150, found {vocabulary.name}")
        return name, BGNN
    if name == "thirds":
        if not (groups := predicate_groups(vocabulary, statistics)):
            raise ConfigError("--groups thirds: expected --train DATA and a closed vocabulary, whose frequencies count")
        return name, groups
    path = Path(name)
    if not path.suffix and not path.exists():
        raise ConfigError(f"--groups: expected bgnn, thirds or a JSON file, found {name!r}")
    return path.name, read_groups(path, vocabulary)


def read_groups(path: Path, vocabulary: Vocabulary) -> Groups:
    """Read groups from a file, which has the name of each and a list of its predicates.

    Raises:
        InputError: it has something else, or a predicate that the vocabulary lacks or that is in two groups.
    """
    record = read_json(path)
    if (
        not isinstance(record, dict)
        or not record
        or not all(k and isinstance(v, list) and v for k, v in record.items())
    ):
        raise InputError(str(path), expected='{"head": ["on", ...], ...} (or bgnn, thirds)', found=short(record))
    seen: set[str] = set()
    for group, names in record.items():
        for name in names:
            known = isinstance(name, str) and vocabulary.has_predicate(name)
            if not known or normalize_name(name) in seen:
                expected = f"a predicate of {vocabulary.name}, each in one group"
                raise InputError(f"{path}: {group}", expected=expected, found=short(name))
            seen.add(normalize_name(name))
    return {str(group): tuple(map(normalize_name, names)) for group, names in record.items()}


def predicate_groups(vocabulary: Vocabulary, statistics: TrainingStatistics | None) -> dict[str, tuple[str, ...]]:
    """Return head, body and tail: thirds of the vocabulary's predicates by training frequency (17, 17, 16 of 50).

    Equal counts keep the order of the vocabulary. Without statistics, VG150 uses its published frequencies, and other
    vocabularies have no groups.
    """
    order: Sequence[str]
    if statistics is not None and vocabulary.predicates:
        order = sorted(vocabulary.predicates, key=lambda name: -statistics.predicates[name])
    elif vocabulary.predicates == VG150.predicates:
        order = VG150_BY_FREQUENCY
    else:
        return {}
    parts = np.array_split(np.arange(len(order)), len(GROUPS))
    return {group: tuple(order[k] for k in part) for group, part in zip(GROUPS, parts, strict=True)}
