"""The worked examples of prompts: a completion that holds one was decoded with its prompt, or copied it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from r1sgg.graph.scene import label_of_id

PERSON_ON_BIKE = (
    ("person", "bike", "helmet", "tree"),
    (("person", "riding", "bike"), ("person", "wearing", "helmet")),
)
"""Classes and triplets of the example in our prompts, and in those of the original."""

STREET = (
    ("tree", "sidewalk", "building", "man", "man", "bike"),
    (("tree", "near", "sidewalk"), ("tree", "near", "building")),
)
"""Classes and first triplets of the example in SGG-R3's prompt."""

EXAMPLE_SIZES = (len(PERSON_ON_BIKE[0]), len(STREET[0]))
"""Numbers of objects in them."""

PLACEHOLDERS = ("object name", "object_name")
"""The class of ids in the shape that prompts show."""


def is_example(labels: tuple[str, ...], triplets: tuple[tuple[str, str, str], ...]) -> bool:
    """Return whether classes and triplets are those of a known example, or its placeholders."""
    if labels and labels[0] in PLACEHOLDERS:
        return True
    return any(labels == known and triplets[: len(first)] == first for known, first in (PERSON_ON_BIKE, STREET))


def is_prompt_example(document: Mapping[str, Any]) -> bool:
    """Return whether a document is a known example."""
    objects, relations = document.get("objects"), document.get("relationships")
    if not isinstance(objects, list) or not isinstance(relations, list) or not 0 < len(objects) < 10:
        return False
    ids = [row.get("id") if isinstance(row, dict) else None for row in objects]
    labels = {name: label_of_id(name) for name in ids if isinstance(name, str)}
    triplets = [
        (labels.get(str(row.get("subject")), ""), str(row.get("predicate")), labels.get(str(row.get("object")), ""))
        for row in relations
        if isinstance(row, dict)
    ]
    return is_example(tuple(labels.get(name, "") for name in ids if isinstance(name, str)), tuple(triplets))
