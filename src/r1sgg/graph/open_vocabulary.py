"""Base and novel names of VG150 for open-vocabulary scene graphs, as OvSGTR (Chen et al. 2024) has them.

| mode | training keeps | novel columns of the test set |
|---|---|---|
| ovd | base classes; 30 novel ones under a base parent, the other 15 dropped | Novel Object |
| ovr | all classes; relations with base predicates | Novel Relation |
| ovd+r | both restrictions | Novel Object, Novel Relation |

A relation belongs to Novel Object if subject **and** object have novel classes, and to Novel Relation if its predicate
is novel. The first column of each mode is the whole test set (Base+Novel; in ovd+r: Joint).
"""

from __future__ import annotations

from typing import Literal, get_args

from r1sgg.errors import ConfigError

Mode = Literal["ovd", "ovr", "ovd+r"]
MODES: tuple[Mode, ...] = get_args(Mode)

PARENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("cat", "dog", "elephant", "giraffe", "horse", "man", "zebra"), ("animal",)),
    **dict.fromkeys(("bus", "car", "train"), ("vehicle",)),
    **dict.fromkeys(("girl", "woman"), ("lady",)),
    **dict.fromkeys(("boy", "head"), ("men",)),
    **dict.fromkeys(("bench", "chair"), ("seat",)),
    "bike": ("vehicle", "motorcycle"),
    "table": ("board", "desk"),
    "hand": ("paw",),
    "hat": ("cap",),
    "jacket": ("coat",),
    "leg": ("branch",),
    "person": ("people",),
    "plane": ("airplane",),
    "plate": ("food",),
    "sign": ("house",),
    "street": ("sidewalk",),
    "track": ("railing",),
    "tree": ("plant",),
    "wheel": ("tire",),
}
"""The base classes that stand for 30 of the novel ones in training. That "man" is an animal is as published."""

NOVEL_OBJECTS = frozenset(PARENTS) | frozenset(
    (
        *("bed", "building", "door", "ear", "fence", "glass", "hair", "pant", "pole", "shirt", "shoe", "short"),
        *("snow", "tail", "window"),
    )
)
"""45 object classes of VG150 that open-vocabulary training does not see."""

NOVEL_PREDICATES = frozenset(
    (
        *("attached to", "belonging to", "eating", "for", "in", "of", "on", "painted on", "part of", "playing"),
        *("riding", "says", "walking in", "walking on", "wears"),
    )
)
"""15 predicates of VG150 that open-vocabulary training does not see."""

NOVEL_ENDS, NOVEL_PREDICATE = 1, 2
"""Bits of what is novel in a relation: both of its objects, its predicate."""

PARTS: dict[str, dict[str, int]] = {
    "ovd": {"Base+Novel": 0, "Novel Object": NOVEL_ENDS},
    "ovr": {"Base+Novel": 0, "Novel Relation": NOVEL_PREDICATE},
    "ovd+r": {"Joint": 0, "Novel Object": NOVEL_ENDS, "Novel Relation": NOVEL_PREDICATE},
}
"""The columns of each mode, and the bit that a relation of the column has; 0: every relation."""


def mode_of(name: str, where: str = "open") -> Mode:
    """Return the mode of a name, in lower or upper case.

    Raises:
        ConfigError: no such mode.
    """
    for mode in MODES:
        if name.lower() == mode:
            return mode
    raise ConfigError(f"{where}: expected one of OvD, OvR, OvD+R, found {name!r}")


def novelty(triplet: tuple[str, str, str]) -> int:
    """Return what is novel in a relation of (subject class, predicate, object class), as bits."""
    subject, predicate, target = triplet
    ends = NOVEL_ENDS if subject in NOVEL_OBJECTS and target in NOVEL_OBJECTS else 0
    return ends | (NOVEL_PREDICATE if predicate in NOVEL_PREDICATES else 0)
