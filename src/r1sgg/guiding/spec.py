"""What a guided answer must be. No tokenizer and no model here: engines compile a `GuideSpec` for theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import orjson

from r1sgg.errors import ConfigError, choices
from r1sgg.graph.text import Frame

AnswerFormat = Literal["json", "compact"]
"""The paper's JSON, or a line per object and relationship (`r1sgg.graph.compact`)."""


@dataclass(frozen=True, slots=True)
class GuideSpec:
    """The answers that a guide allows.

    Attributes:
        frame: width and height that boxes are relative to; coordinates are integers in 0..width and 0..height with
            x1 < x2 and y1 < y2.
        objects: the class names that may be written; any name where empty.
        predicates: the predicates that may be written; any where empty.
        max_objects: most objects, at least 1.
        max_relationships: most relationships.
        answer_format: see `AnswerFormat`.
        minify: JSON without spaces after commas and colons.
        think: most tokens of a <think> block before the answer (which then stands in <answer> tags); 0 allows none.
        given: (name, x1, y1, x2, y2) of each object, if exactly these and no others are to be written, in this order;
            "" leaves the name free. `max_objects` has no meaning then.
        listing: the key of the boxes ("bbox_2d"), if the answer is a list of objects alone in that dialect
            (`r1sgg.guiding.listing`); the first and the second number of a corner then run to the frame's sides.
    """

    frame: Frame
    objects: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    max_objects: int = 50
    max_relationships: int = 100
    answer_format: AnswerFormat = "json"
    minify: bool = False
    think: int = 0
    given: tuple[tuple[str | int, ...], ...] = ()
    listing: str = ""

    def __post_init__(self) -> None:
        for name, fine, expected in (
            ("frame", min(self.frame) >= 1, "two sides of 1 or more"),
            ("max_objects", self.max_objects >= 1, "1 or more"),
            ("max_relationships", self.max_relationships >= 0, "0 or more"),
            ("think", self.think >= 0, "0 or more"),
        ):
            if not fine:
                raise ConfigError(f"guide, {name}: expected {expected}, found {getattr(self, name)}")
        wide, high = self.frame
        for told, *box in self.given:
            x1, y1, x2, y2 = map(int, box)
            if not (0 <= x1 < x2 <= wide and 0 <= y1 < y2 <= high):
                raise ConfigError(f"guide, given: expected boxes inside the frame, found {box} in {list(self.frame)}")
            if told and self.objects and told not in self.objects:
                raise ConfigError(f"guide, given: expected names among its objects, found {told!r}")

    def to_json(self) -> str:
        """The guide as one string, as a request to a server carries it."""
        record = dataclasses.asdict(self)
        if not self.listing:  # servers with an earlier version do not know it
            del record["listing"]
        return orjson.dumps(record).decode()

    @classmethod
    def from_json(cls, text: Any) -> Self:
        """Read what `to_json` wrote, or somebody who had only its description.

        Raises:
            ConfigError: it is no JSON object, or a field is unknown, missing or not of its kind.
        """
        try:
            record = orjson.loads(text)
        except (orjson.JSONDecodeError, TypeError) as error:
            raise ConfigError(f"guide: expected a JSON object as a string, found {str(text)[:60]!r}") from error
        if not isinstance(record, dict) or "frame" not in record:
            raise ConfigError(f"guide: expected a JSON object with the field frame, found {str(text)[:60]}")
        for name, value in record.items():
            if name not in _KINDS:
                raise ConfigError(f"guide: expected only the fields {choices(_KINDS, name)}, found {name!r}")
            expected, fits = _KINDS[name]
            if not fits(value):
                raise ConfigError(f"guide, {name}: expected {expected}, found {str(value)[:60]!r}")
        fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in record.items()}
        if "given" in fields:
            fields["given"] = tuple(map(tuple, fields["given"]))
        return cls(**fields)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _whole(value: Any) -> bool:
    return type(value) is int


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "frame": (
        "two numbers",
        lambda value: isinstance(value, list) and len(value) == 2 and all(type(side) in (int, float) for side in value),
    ),
    "objects": ("a list of names", _names),
    "predicates": ("a list of names", _names),
    "max_objects": ("a whole number", _whole),
    "max_relationships": ("a whole number", _whole),
    "answer_format": (" or ".join(get_args(AnswerFormat)), lambda value: value in get_args(AnswerFormat)),
    "listing": ("the key of a box", lambda value: isinstance(value, str)),
    "minify": ("true or false", lambda value: isinstance(value, bool)),
    "think": ("a whole number", _whole),
    "given": (
        "a list of [name, x1, y1, x2, y2]",
        lambda value: (
            isinstance(value, list)
            and all(
                isinstance(row, list) and len(row) == 5 and isinstance(row[0], str) and all(map(_whole, row[1:]))
                for row in value
            )
        ),
    ),
}
