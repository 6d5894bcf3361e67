"""What the reading of a file dropped, and why: counts over all its completions, and one hash of each graph.

`r1sgg.judging.diagnosis` makes sentences of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from r1sgg.graph.dialects.registry import Choice
from r1sgg.graph.parsed import Parsed

LOST_RELATIONS = ("bad_relationship", "bad_predicate", "dangling")
"""Issues that cost a relationship."""
LOST_OBJECTS = ("bad_object", "bad_id", "bad_box", "inverted_box")
"""Issues that cost an object."""


@dataclass(slots=True)
class Ledger:
    """Counts over the completions of a file.

    Attributes:
        texts: completions that were read.
        failures: completions without a graph, by kind.
        issues: issues, by kind.
        texts_with: completions that have an issue of each kind.
        objects, relations: that were read.
        without_relations: completions with objects and no relationship.
        dialect: how the dialect was chosen.
    """

    texts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    issues: Counter[str] = field(default_factory=Counter)
    texts_with: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    relations: int = 0
    without_relations: int = 0
    dialect: Choice | None = None
    _graphs: Counter[int] = field(default_factory=Counter)

    def add(self, parsed: Parsed) -> None:
        """Count one completion."""
        self.texts += 1
        columns = parsed.columns
        objects, relations = len(columns.labels), len(columns.predicates)
        self.objects += objects
        self.relations += relations
        if objects:
            self.without_relations += not relations
            self._graphs[hash((tuple(columns.ids), tuple(columns.boxes), tuple(columns.predicates)))] += 1
        else:
            self.failures[parsed.failure or "empty"] += 1
        if parsed.issues:
            kinds = [issue.kind for issue in parsed.issues]
            self.issues.update(kinds)
            self.texts_with.update(set(kinds))

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
            "dialect": None if self.dialect is None else self.dialect.as_json(),
            "failures": dict(self.failures.most_common()),
            "issues": {
                kind: {"count": count, "texts": self.texts_with[kind]} for kind, count in self.issues.most_common()
            },
            "objects": {"read": self.objects, "lost": self.lost_objects},
            "relations": {
                "read": self.relations,
                "lost": self.lost_relations,
                "lost_share": self.lost_relations / written if written else None,
            },
            "without_relations": self.without_relations,
            "same_graph": self.same_graph,
        }
