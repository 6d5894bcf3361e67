"""What the reading of a file dropped, and why: counts over all its predictions, and one hash of each graph.

`r1sgg.judging.diagnosis` makes sentences of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from r1sgg.graph.dialects.registry import Choice
from r1sgg.graph.examples import EXAMPLE_SIZES, is_example
from r1sgg.graph.frames import Frame
from r1sgg.graph.parsed import Parsed
from r1sgg.graph.scene import SceneGraph

LOST_RELATIONS = ("bad_relationship", "bad_predicate", "dangling")
"""Issues that cost a relationship."""
LOST_OBJECTS = ("bad_object", "bad_id", "bad_box", "inverted_box")
"""Issues that cost an object."""
BOX_ISSUES = ("bad_box", "inverted_box", "empty_box", "box_out_of_frame")
"""Issues of single boxes; each box has at most one."""

_LARGE_FRAME = 50  # in smaller frames a box of one unit is nothing odd


class OpenedAs(NamedTuple):
    """How a user named another tool's file, LAYOUT:PATH[,OPTION=VALUE]...: its records have no key "frame".

    Attributes:
        place: layout and path, such as "swift:answers.jsonl".
        options: that were given.
        known: names of the options that the layout has.
    """

    place: str
    options: Mapping[str, str]
    known: tuple[str, ...]

    def spec(self, options: Mapping[str, str]) -> str | None:
        """Return the specification with these options beside those given; None if the layout lacks one of them."""
        if not set(options) <= set(self.known):
            return None
        return ",".join((self.place, *(f"{key}={value}" for key, value in {**self.options, **options}.items())))


@dataclass(slots=True)
class Ledger:
    """Counts over the predictions of a file: completions, or a detector's rows.

    Attributes:
        texts: predictions that were read.
        detections: how many of them are a detector's rows, without a text.
        failures: completions without a graph, by kind.
        issues: issues, by kind.
        texts_with: completions that have an issue of each kind.
        objects, relations: that were read.
        listed: objects that the predictions list, those included that were dropped.
        without_relations: completions with objects and no relationship.
        corner_texts, corner_boxes: completions, and boxes in them, that lie within one unit of the frame's corner.
        examples: completions whose graph is the worked example of a known prompt.
        outside: names that are not in the vocabulary and were dropped, with the completions that have them.
        outside_texts: completions with such a name.
        unread: completions with objects alone, because an answer that they were made of is missing or unreadable.
        left_out, left_out_texts: items of replies that guided completions do not have, and how many such there are.
        truths: images whose ground truth was looked at.
        true_relations: relationships in it.
        truth_corner: images whose true boxes all lie in the first pixel.
        errors: images without a completion, because none was made; the first reason is in `first`.
        first: the first issue of each kind, with the image.
        dialect: how the dialect was chosen.
        opened_as: how another tool's file was named; None for our own lines.
    """

    texts: int = 0
    detections: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    issues: Counter[str] = field(default_factory=Counter)
    texts_with: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    listed: int = 0
    relations: int = 0
    without_relations: int = 0
    corner_texts: int = 0
    corner_boxes: int = 0
    examples: int = 0
    outside: Counter[tuple[str, str]] = field(default_factory=Counter)
    outside_texts: int = 0
    unread: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_texts: int = 0
    truths: int = 0
    true_relations: int = 0
    truth_corner: int = 0
    errors: int = 0
    first: dict[str, tuple[str, str]] = field(default_factory=dict)
    dialect: Choice | None = None
    opened_as: OpenedAs | None = None
    _graphs: Counter[int] = field(default_factory=Counter)

    def add(
        self,
        parsed: Parsed,
        image_id: str = "",
        left_out: Mapping[str, int] | None = None,
        unread: str = "",
        *,
        detections: bool = False,
    ) -> None:
        """Count one prediction.

        Args:
            parsed: what was read.
            image_id: of its image, for messages.
            left_out: numbers of objects and relationships that were left out before it was written.
            unread: why an answer that it was made of is missing or could not be read; "" if there is none such.
            detections: it is a detector's rows, not a text.
        """
        self.detections += detections
        if left_out:
            self.left_out.update(left_out)
            self.left_out_texts += any(left_out.values())
        self.texts += 1
        columns = parsed.columns
        objects, relations = len(columns.labels), len(columns.predicates)
        self.objects += objects
        self.listed += parsed.listed
        self.relations += relations
        if objects:
            self.without_relations += not relations
            if unread and not relations:
                self.unread += 1
                self.first.setdefault("unread", (image_id, unread))
            self._graphs[hash((tuple(columns.ids), tuple(columns.boxes), tuple(columns.predicates)))] += 1
            if max(columns.boxes) <= 1 and min(columns.frame) >= _LARGE_FRAME:
                self.corner_texts += 1
                self.corner_boxes += objects
            if objects in EXAMPLE_SIZES and is_example(tuple(columns.labels), columns.triplets()):
                self.examples += 1
        else:
            self.failures[parsed.failure or "empty"] += 1
        if parsed.issues:
            kinds = [issue.kind for issue in parsed.issues]
            self.issues.update(kinds)
            self.texts_with.update(set(kinds))
            for issue in parsed.issues:
                self.first.setdefault(issue.kind, (image_id, issue.detail))

    def add_error(self, reason: str, image_id: str = "") -> None:
        """Count an image that has an error in place of a completion."""
        self.errors += 1
        self.first.setdefault("error", (image_id, reason))

    def add_truth(self, graph: SceneGraph, size: Frame) -> None:
        """Look at the truth of one image: boxes are pixels, and if all lie in the first one they were fractions."""
        self.truths += 1
        self.true_relations += len(graph.pairs)
        if len(graph) and (graph.boxes.max(0) * (size * 2)).max() <= 1:
            self.truth_corner += 1

    def add_outside(self, names: Iterable[tuple[str, str]]) -> None:
        """Count one completion's names (kind, name) that were dropped because the vocabulary does not have them."""
        found = set(names)
        self.outside.update(found)
        self.outside_texts += bool(found)

    @property
    def called(self) -> str:
        """What messages call the predictions: "completions" if each is a text."""
        return "predictions" if self.detections else "completions"

    @property
    def graphs(self) -> int:
        """Completions with a graph."""
        return self.texts - sum(self.failures.values())

    @property
    def same_graph(self) -> int:
        """The largest number of completions that hold one and the same graph, boxes included."""
        return max(self._graphs.values(), default=0)

    @property
    def lost_relations(self) -> int:
        """Relationships that were dropped."""
        return sum(self.issues[kind] for kind in LOST_RELATIONS)

    @property
    def lost_objects(self) -> int:
        """Objects that were dropped."""
        return sum(self.issues[kind] for kind in LOST_OBJECTS)

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        written = self.relations + self.lost_relations
        return {
            "texts": self.texts,
            "detections": self.detections,
            "errors": self.errors,
            "dialect": None if self.dialect is None else self.dialect.as_json(),
            "failures": dict(self.failures.most_common()),
            "issues": {
                kind: {"count": count, "texts": self.texts_with[kind]} for kind, count in self.issues.most_common()
            },
            "objects": {"listed": self.listed, "read": self.objects, "lost": self.lost_objects},
            "relations": {
                "read": self.relations,
                "lost": self.lost_relations,
                "lost_share": self.lost_relations / written if written else None,
            },
            "without_relations": self.without_relations,
            "unread": self.unread,
            "left_out_by_guide": {"texts": self.left_out_texts, **self.left_out},
            "same_graph": self.same_graph,
            "prompt_examples": self.examples,
            "corner": {"texts": self.corner_texts, "boxes": self.corner_boxes, "truth": self.truth_corner},
            "outside_vocabulary": {
                "texts": self.outside_texts,
                "names": [{"kind": k, "name": name, "texts": n} for (k, name), n in self.outside.most_common(100)],
            },
            "first": {kind: {"image_id": image, "detail": detail} for kind, (image, detail) in self.first.items()},
        }
