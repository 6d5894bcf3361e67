"""The kinds of findings of `r1sgg data check`: what each means, and what the corrected copy does about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong: what was found, and what was done about it in the corrected line."""

    kind: str
    found: str
    done: str


KINDS: Mapping[str, tuple[str, str]] = {
    "broken_line": ("not a JSON object, or cut off", "line dropped"),
    "left_out": ("what the reader of this format left out or clipped", "nothing: it is already left out"),
    "bad_image_id": ("no image_id, or one that is no string", "line dropped"),
    "duplicate_image_id": ("an image_id that another line has", "later line dropped"),
    "unknown_key": ("a key that no reader knows", "moved under meta, or removed from an object or relationship"),
    "bad_field": ("image, split, meta, objects or relationships of a wrong type", "removed"),
    "no_image": ("the line names no image", "line dropped"),
    "missing_image": ("no file there", "line dropped"),
    "unreadable_image": ("damaged, too large, or no image", "line dropped"),
    "bad_size": ("width or height missing or no whole number of pixels", "taken from the image, else line dropped"),
    "size_mismatch": ("the image has another size", "boxes scaled where the shape is the same, else line dropped"),
    "bad_object": ("not an object with an id like person.1", "dropped"),
    "duplicate_object_id": (
        "an id that another object of this image has",
        "dropped if the same box, else renumbered",
    ),
    "wrong_frame": (
        "boxes are written in another unit or order than [x1, y1, x2, y2] in pixels",
        "no copy is written: correct the file as a whole",
    ),
    "bad_box": ("not four finite numbers", "object dropped"),
    "degenerate_box": ("x1 >= x2 or y1 >= y2", "object dropped"),
    "box_outside": ("more than a pixel outside the image", "clipped, or dropped if nothing is left"),
    "unknown_object": ("a class outside the vocabulary", "renamed to its normal form in it, else dropped"),
    "bad_relationship": ("an end that is no object of the image, or no predicate", "dropped"),
    "unknown_predicate": (
        "a predicate that is not in the vocabulary",
        "renamed to its normal form in it, else dropped",
    ),
    "lost_end": ("a relationship of an object that was dropped", "dropped"),
    "self_relation": ("an object related to itself", "dropped"),
    "repeated_triplet": ("the same subject, predicate and object again", "later one dropped"),
    "empty_graph": ("no objects are left", "line dropped"),
    "no_relationships": ("no relationships are left", "line dropped"),
}
"""Every kind of finding: what it means, and what is done about it in the corrected copy."""

IGNORABLE = frozenset(
    (
        *("left_out", "no_image", "missing_image", "unreadable_image", "size_mismatch", "unknown_object"),
        *("unknown_predicate", "self_relation", "repeated_triplet", "empty_graph", "no_relationships"),
    )
)
"""Kinds that a readable file may have, and some sets have on purpose."""

LIKE_SIZES = ", right if it were [x, y, width, height]"
"""The end of a finding: the box may have been written with its size instead of its second corner."""
