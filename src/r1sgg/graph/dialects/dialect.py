"""What a dialect is: how one kind of model writes a graph.

A dialect turns a completion into the equivalent JSON document, so every policy of `r1sgg.graph.policies` applies to all
of them:

    {"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, ...],
     "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}, ...]}

Adding one: a file beside this one that defines `DIALECT`, and its name in `r1sgg.graph.dialects.registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from r1sgg.graph.frames import AnyFrame, Frame
from r1sgg.graph.policies import Issue

Document = dict[str, Any]
"""A graph as JSON, boxes as the model wrote them."""


def declared(frame: Frame, image: Frame | None) -> AnyFrame:
    """Return the frame that the file declares: most dialects write x1 y1 x2 y2 in it."""
    return frame


class Dialect(NamedTuple):
    """One way of writing graphs.

    Attributes:
        name: as `--dialect` takes it.
        about: whose it is, in a few words.
        example: a completion in it: a man, riding a horse, near a tree.
        marks: every text of the dialect contains one of these.
        looks: whether a text with a mark is in the dialect; linear in its length.
        read: returns the document, or None after adding a failure to the issues; linear in the length of the text.
        frame: the frame of the boxes, given the size that the file declares and the image's size if it is known.
        relations: whether the dialect can write relationships.
    """

    name: str
    about: str
    example: str
    marks: tuple[str, ...]
    looks: Callable[[str], bool]
    read: Callable[[str, list[Issue]], Document | None]
    frame: Callable[[Frame, Frame | None], AnyFrame] = declared
    relations: bool = True
