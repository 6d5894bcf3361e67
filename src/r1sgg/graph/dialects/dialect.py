"""What a dialect is: how one kind of model writes a graph.

A dialect turns a completion into the equivalent JSON document, so every policy of `r1sgg.graph.policies` applies to all
of them:

    {"objects": [{"id": "man.1", "bbox": [100, 80, 420, 900]}, ...],
     "relationships": [{"subject": "man.1", "predicate": "riding", "object": "horse.1"}, ...]}

Adding one: a file beside this one that defines `DIALECT`, and its name in `r1sgg.graph.dialects.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from r1sgg.graph.frames import AnyFrame, Frame
from r1sgg.graph.policies import Issue

Document = dict[str, Any]
"""A graph as JSON, boxes as the model wrote them."""


def declared(frame: Frame, image: Frame | None) -> AnyFrame:
    """Return the frame that the file declares: most dialects write x1 y1 x2 y2 in it."""
    return frame


class Asking(NamedTuple):
    """How a model that was taught a dialect is asked for objects in it, in the words that it was taught.

    Attributes:
        every: asks for all objects.
        named: asks for those of some classes; {names} is their list.
        write: names and the numbers of their boxes -> text; `Dialect.read` reads it.
        last: what an object ends with: a text that was cut off is read up to the last one.
        closing: what may then be missing, tried in turn.
        between: what separates the names.
        key: of a box, where the dialect is JSON.
        tags: whether its tags are special tokens, which engines leave out of texts unless told otherwise.
    """

    every: str
    named: str
    write: Callable[[Sequence[str], Sequence[Sequence[float]]], str]
    last: str
    closing: tuple[str, ...] = ("",)
    between: str = ", "
    key: str = ""
    tags: bool = False

    def question(self, names: Sequence[str] = ()) -> str:
        """Return the question for objects: of the classes `names`, or all where there are none."""
        return self.named.replace("{names}", self.between.join(names)) if names else self.every

    def mended(self, text: str) -> list[str]:
        """Return a text up to its last whole object, with each closing that may be missing; none without an object."""
        end = text.rfind(self.last)
        return [] if end < 0 else [text[: end + len(self.last)] + closing for closing in self.closing]


def number(value: float) -> str:
    """Write a number of a box: as few digits as it has, at most three behind the point."""
    return f"{round(value, 3):g}" if abs(value) < 1000 else str(round(value))


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
        asking: how models that were taught it are asked; None: none of the known families was.
    """

    name: str
    about: str
    example: str
    marks: tuple[str, ...]
    looks: Callable[[str], bool]
    read: Callable[[str, list[Issue]], Document | None]
    frame: Callable[[Frame, Frame | None], AnyFrame] = declared
    relations: bool = True
    asking: Asking | None = None
