"""How pictograms are joined: which classes may ride, hold or wear which, in which pose, and where they touch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

PEOPLE = ("man", "woman", "child")
TABLEWARE = ("cup", "bottle", "vase", "laptop", "book", "lamp")


class Recipe(NamedTuple):
    """A way to join `added` to `base`.

    Attributes:
        predicate: of the relation; "under" is no joint, its pair is judged by the rules like any other.
        base: classes that are drawn first, on the ground, in the pose `base_pose` ("" for any).
        added: classes that are added, in the pose `added_pose`.
        base_anchor, added_anchor: the two positions that meet.
        added_is_subject: as in cup on table, unlike man holding cup.
        over: whether the added object is painted after its base.
        grow: probability that it is added to a base that is already drawn.
    """

    predicate: str
    base: tuple[str, ...]
    added: tuple[str, ...]
    base_anchor: str
    added_anchor: str
    base_pose: str = ""
    added_pose: str = "stand"
    added_is_subject: bool = True
    over: bool = True
    grow: float = 0.0


RECIPES: tuple[Recipe, ...] = (
    Recipe("riding", ("horse", "elephant", "bike"), PEOPLE, "saddle", "seat", added_pose="astride"),
    Recipe("riding", ("skateboard",), PEOPLE, "deck", "feet", added_pose="balance"),
    Recipe("sitting on", ("chair",), PEOPLE, "seat", "seat", added_pose="seated"),
    Recipe("sitting on", ("bench",), PEOPLE, "seat", "seat", added_pose="bench", grow=0.2),
    Recipe("sitting on", ("chair", "bench"), ("cat",), "seat", "feet", grow=0.1),
    Recipe("standing on", ("house", "car", "bus", "horse", "elephant", "sheep"), ("bird",), "top", "feet", grow=0.15),
    Recipe("standing on", ("table", "bench"), ("bird", "dog", "child"), "top", "feet", grow=0.1),
    Recipe("on", ("table",), TABLEWARE, "top", "feet", grow=0.6),
    Recipe("on", ("bench",), ("bag", "book", "hat", "bottle"), "top", "feet", grow=0.2),
    Recipe("in", ("vase",), ("flower",), "mouth", "stem", over=False, grow=0.6),
    Recipe("in", ("tree",), ("bird",), "crown", "feet", grow=0.2),
    Recipe("holding", PEOPLE, ("umbrella", "kite"), "hand", "grip", "raise", added_is_subject=False),
    Recipe("holding", PEOPLE, ("cup", "bottle", "book", "flower"), "hand", "grip", "reach", added_is_subject=False),
    Recipe("carrying", PEOPLE, ("bag",), "low hand", "grip", "stand", added_is_subject=False, grow=0.06),
    Recipe("wearing", PEOPLE, ("hat",), "crown", "brim", added_is_subject=False, grow=0.12),
    Recipe("under", ("tree", "umbrella"), ("dog", "cat", "sheep", "child", "chair", "bag"), "shade", "feet", grow=0.2),
    Recipe("under", ("table",), ("dog", "cat", "bag"), "shade", "feet", grow=0.15),
)

SCENE_PREDICATES: tuple[str, ...] = (
    "above", "behind", "carrying", "holding", "in", "in front of", "near", "on", "riding", "sitting on",
    "standing on", "under", "wearing",
)  # fmt: skip
"""Every predicate that a scene can have."""

ONLY_JOINED = frozenset(("hat", "cup", "bottle", "flower", "lamp", "book", "laptop"))
"""Classes that are never drawn alone."""

AIRBORNE = frozenset(("kite", "clock"))
"""Classes that fly or hang when they are alone; a lone bird flies with a probability of 0.6."""

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"man": 0.5, "woman": 0.5, "child": 0.5, "bag": 0.3, "cat": 0.6, "house": 4.0, "bus": 2.5, "car": 2.5, "tree": 2.0}
    | {
        "sheep": 1.5,
        "clock": 1.5,
        "horse": 2.0,
        "elephant": 1.5,
        "bike": 1.5,
        "lamp": 3.0,
        "laptop": 3.0,
        "wearing": 0.5,
        "carrying": 0.4,
        "standing on": 0.8,
        "riding": 1.5,
        "holding": 1.5,
    }
)
"""Weights of classes and predicates when one is drawn, where they are not 1; chosen so that none is rare."""
