"""What is in a set: counts of classes, predicates and triplets, sizes of graphs, boxes and images.

One pass over the examples, which opens no image. `r1sgg.pages.statistics` draws the result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet
from r1sgg.errors import InputError
from r1sgg.graph.vocabulary import OPEN, Vocabulary

SMALL, MEDIUM = 32**2, 96**2
"""Square pixels below which a box is small, or medium (COCO's definition)."""
AREA_BINS = tuple(2.0**-k for k in range(14, -1, -1))
"""Upper ends of the bins of box areas, as shares of the image."""


@dataclass(slots=True)
class Statistics:
    """Counts over a set.

    Attributes:
        objects, relationships: graphs by their number of objects, and of relationships.
        classes, predicates, triplets: objects, relationships and (subject, predicate, object) by name.
        class_images: images that show a class.
        areas: boxes by bin of AREA_BINS, the upper end of the bin.
        box_sizes: boxes by "small", "medium" and "large" in pixels.
        image_sizes: images by (width, height).
        splits: images by split.
        oddities: counts of what a user should know before training; see `Statistics.add`.
    """

    images: int = 0
    objects: Counter[int] = field(default_factory=Counter)
    relationships: Counter[int] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    class_images: Counter[str] = field(default_factory=Counter)
    predicates: Counter[str] = field(default_factory=Counter)
    triplets: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    areas: Counter[float] = field(default_factory=Counter)
    box_sizes: Counter[str] = field(default_factory=Counter)
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    oddities: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        """Count one image."""
        graph = example.graph
        self.images += 1
        self.objects[len(graph)] += 1
        self.relationships[len(graph.pairs)] += 1
        self.classes.update(graph.labels)
        self.class_images.update(set(graph.labels))
        self.predicates.update(graph.predicates)
        self.triplets.update(graph.triplets)
        self.image_sizes[example.width, example.height] += 1
        if example.split:
            self.splits[example.split] += 1
        shares = np.prod(graph.boxes[:, 2:] - graph.boxes[:, :2], axis=1)
        self.areas.update(AREA_BINS[k] for k in np.searchsorted(AREA_BINS[:-1], shares).tolist())
        pixels = shares * (example.width * example.height)
        names = np.array(("small", "medium", "large"))[(pixels >= SMALL).astype(int) + (pixels >= MEDIUM)]
        self.box_sizes.update(names.tolist())
        self._add_oddities(example)

    def _add_oddities(self, example: Example) -> None:
        graph = example.graph
        found = self.oddities
        rows = list(zip(graph.pairs, graph.predicates, strict=True))
        found["images without relationships"] += not graph.pairs
        found["repeated triplets"] += len(rows) - len(set(rows))
        found["pairs with several predicates"] += sum(
            n > 1 for n in Counter(pair for pair, _ in dict.fromkeys(rows)).values()
        )
        found["relationships of an object with itself"] += sum(s == o for s, o in graph.pairs)
        found["objects without relationships"] += len(graph) - len({end for pair in graph.pairs for end in pair})
        if graph.pairs:
            subject, target = (graph.boxes[[pair[k] for pair in graph.pairs]] for k in (0, 1))
            low, high = np.maximum(subject[:, :2], target[:, :2]), np.minimum(subject[:, 2:], target[:, 2:])
            found["relationships between boxes that do not overlap"] += int((low >= high).any(1).sum())


def collect(examples: Iterable[Example]) -> Statistics:
    """Return the counts of a whole set."""
    statistics = Statistics()
    for example in examples:
        statistics.add(example)
    return statistics


def summary(counts: Counter[int]) -> dict[str, float]:
    """Return smallest, mean, (lower) median, 95th percentile and largest of values that are given as counts."""
    total = counts.total()
    if not total:
        return {}
    values = sorted(counts)
    steps = np.cumsum([counts[v] for v in values])

    def at(share: float) -> float:
        return values[int(np.searchsorted(steps, math.ceil(share * total)))]

    mean = sum(v * n for v, n in counts.items()) / total
    return {"min": values[0], "mean": mean, "median": at(0.5), "p95": at(0.95), "max": values[-1]}


def outside(statistics: Statistics, vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Return the names that the vocabulary lacks, most frequent first, and those of it that the set lacks."""
    found: dict[str, list[str]] = {}
    for side, counts, names, has in (
        ("classes", statistics.classes, vocabulary.objects, vocabulary.has_object),
        ("predicates", statistics.predicates, vocabulary.predicates, vocabulary.has_predicate),
    ):
        if names:
            found[f"{side} outside the vocabulary"] = [name for name, _ in ranked(counts) if not has(name)]
            found[f"{side} that never occur"] = [name for name in names if name not in counts]
    return found


def ranked(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """Return names and counts, the most frequent first, equal counts by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def record(statistics: Statistics, vocabulary: Vocabulary = OPEN) -> dict[str, Any]:
    """Return all statistics as JSON values."""
    s = statistics
    return {
        "images": s.images,
        "objects": s.classes.total(),
        "relationships": s.predicates.total(),
        "vocabulary": vocabulary.name,
        "splits": dict(ranked(s.splits)),
        "objects_per_image": summary(s.objects) | {"counts": {str(k): s.objects[k] for k in sorted(s.objects)}},
        "relationships_per_image": summary(s.relationships)
        | {"counts": {str(k): s.relationships[k] for k in sorted(s.relationships)}},
        "classes": {name: {"objects": n, "images": s.class_images[name]} for name, n in ranked(s.classes)},
        "predicates": dict(ranked(s.predicates)),
        "distinct_triplets": len(s.triplets),
        "triplets": [[*names, n] for names, n in ranked(s.triplets)[:1000]],
        "box_area_share": [{"up_to": end, "boxes": s.areas[end]} for end in AREA_BINS],
        "box_sizes": {name: s.box_sizes[name] for name in ("small", "medium", "large")},
        "image_sizes": [{"width": w, "height": h, "images": n} for (w, h), n in ranked(s.image_sizes)[:50]],
        "oddities": dict(s.oddities),
        **outside(s, vocabulary),
    }


def readable(
    data: DataSet, skipped: list[str], advance: Callable[[int, int], object] = lambda done, total: None
) -> Iterator[Example]:
    """Yield the examples of a set; a record that cannot be read adds a sentence to `skipped`."""
    total = len(data)
    for k in range(total):
        try:
            example = data[k]
        except InputError as error:
            skipped.append(str(error))
        else:
            yield example
        advance(k + 1, total)
