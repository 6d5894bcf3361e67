"""What a guided answer must be. No tokenizer and no model here: engines compile a `GuideSpec` for theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from r1sgg.errors import ConfigError
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
    """

    frame: Frame
    objects: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    max_objects: int = 50
    max_relationships: int = 100
    answer_format: AnswerFormat = "json"
    minify: bool = False
    think: int = 0

    def __post_init__(self) -> None:
        for name, fine, expected in (
            ("frame", min(self.frame) >= 1, "two sides of 1 or more"),
            ("max_objects", self.max_objects >= 1, "1 or more"),
            ("max_relationships", self.max_relationships >= 0, "0 or more"),
            ("think", self.think >= 0, "0 or more"),
        ):
            if not fine:
                raise ConfigError(f"guide, {name}: expected {expected}, found {getattr(self, name)}")
