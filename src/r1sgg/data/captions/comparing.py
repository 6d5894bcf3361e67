"""Made graphs against people's: precision and recall of triplets by their names, image by image or phrase by phrase.

By name: nouns are compared in the singular, predicates without articles and auxiliaries and with the gerund for every
form of a verb ("wears", "is wearing", "worn" are "wearing"). Boxes play no part: two men who ride two horses are one
triplet. Against graphs with boxes, triplets are also matched one to one with their boxes (IoU 0.5), by
`r1sgg.judging`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1sgg.data.base import Example, read_ground_truth
from r1sgg.data.captions.english import verb_form
from r1sgg.data.visual_genome import load_document
from r1sgg.errors import InputError
from r1sgg.graph.forms import bare_predicate, object_form
from r1sgg.graph.scene import SceneGraph, normalize_name
from r1sgg.judging.triplets import match_triplets

Names = tuple[str, str, str]
"""Subject, predicate, object."""


def normal(names: Names) -> Names:
    """Return a triplet in the form in which it is compared."""
    subject, predicate, target = names
    words = (bare_predicate(normalize_name(predicate)) or "").split()
    forms = [verb_form(word) for word in words]
    gerunds = [form[1] if form else word for word, form in zip(words, forms, strict=True)]
    return (
        object_form(normalize_name(subject)),
        " ".join(gerunds).replace("having", "has"),
        object_form(normalize_name(target)),
    )


@dataclass(slots=True)
class Agreement:
    """Triplets that two sides have in common, summed over images or phrases.

    Attributes:
        made: triplets of the graphs that were made.
        true: of the graphs that they are compared with.
        both: equal triplets.
        pairs_made: pairs of names, whatever joins them; likewise the next two.
        images: images (or phrases) that both sides have.
        hits: made triplets that are true with their boxes, one to one, as `r1sgg evaluate` counts them.
        hits_made: made triplets; `hits_true` true ones, likewise.
    """

    made: int = 0
    true: int = 0
    both: int = 0
    pairs_made: int = 0
    pairs_true: int = 0
    pairs_both: int = 0
    images: int = 0
    hits: int = 0
    hits_made: int = 0
    hits_true: int = 0

    def add_boxes(self, made: SceneGraph, true: SceneGraph) -> None:
        """Count one image by its boxes, too."""
        match = match_triplets(true, made)
        self.hits += match.true_positives
        self.hits_made += match.counted
        self.hits_true += match.distinct_true

    def add(self, made: Iterable[Names], true: Iterable[Names]) -> None:
        """Count one image or phrase."""
        a, b = set(map(normal, made)), set(map(normal, true))
        pairs_a, pairs_b = {(s, o) for s, _, o in a}, {(s, o) for s, _, o in b}
        self.images += 1
        self.made, self.true, self.both = self.made + len(a), self.true + len(b), self.both + len(a & b)
        self.pairs_made, self.pairs_true = self.pairs_made + len(pairs_a), self.pairs_true + len(pairs_b)
        self.pairs_both += len(pairs_a & pairs_b)

    def record(self) -> dict[str, float | int | None]:
        """Return counts, precision, recall and F1 (0 to 1; None without a denominator)."""
        found: dict[str, float | int | None] = {"images": self.images}
        for name, both, made, true in (
            ("triplets", self.both, self.made, self.true),
            ("pairs", self.pairs_both, self.pairs_made, self.pairs_true),
            ("triplets with boxes", self.hits, self.hits_made, self.hits_true),
        ):
            found |= {f"{name} made": made, f"{name} true": true, f"{name} equal": both}
            found[f"{name} precision"] = both / made if made else None
            found[f"{name} recall"] = both / true if true else None
            found[f"{name} F1"] = 2 * both / (made + true) if made + true else None
        return found


class Truth:
    """What made graphs are compared with: a ground-truth file, or Visual Genome's region graphs, by image_id."""

    def __init__(self, path: Path) -> None:
        """Read the file; it is in memory as a whole.

        Args:
            path: a ground-truth file (.jsonl), or region_graphs.json (or .gz).

        Raises:
            InputError: the file cannot be read.
        """
        self.path = path
        self.regions = path.suffix in (".json", ".gz")
        self._names = _region_truth(path) if self.regions else {}
        self._graphs = {} if self.regions else {e.image_id: e.graph for e in read_ground_truth(path)}
        self.agreement = Agreement()

    def add(self, example: Example) -> None:
        """Compare one made graph; an image that the file does not have is left out."""
        if (truth := self._graphs.get(example.image_id)) is not None:
            self.agreement.add(example.graph.triplets, truth.triplets)
            self.agreement.add_boxes(example.graph, truth)
        elif (names := self._names.get(example.image_id)) is not None:
            self.agreement.add(example.graph.triplets, names)

    def result(self) -> Agreement:
        """Return the agreement over all images.

        Raises:
            InputError: the file has none of the images.
        """
        if not self.agreement.images:
            raise InputError(str(self.path), expected="graphs of the same images (by image_id)", found="none of them")
        return self.agreement


def _region_truth(path: Path) -> dict[str, Sequence[Names]]:
    found: dict[str, list[Names]] = {}
    for image_id, _, triplets in read_region_graphs(path):
        found.setdefault(image_id, []).extend(triplets)
    return dict(found)


def read_region_graphs(path: Path) -> list[tuple[str, str, list[Names]]]:
    """Return (image_id, phrase, triplets by name) of every region of region_graphs.json that can be read.

    Raises:
        InputError: the file cannot be read.
    """
    rows: list[tuple[str, str, list[Names]]] = []
    for entry in load_document(path):
        for region in entry.get("regions") or () if isinstance(entry, dict) else ():
            if not isinstance(region, dict) or not isinstance(region.get("phrase"), str):
                continue
            names = {row.get("object_id"): _name(row) for row in region.get("objects") or () if isinstance(row, dict)}
            triplets = [
                (names[row["subject_id"]], str(row["predicate"]), names[row["object_id"]])
                for row in region.get("relationships") or ()
                if isinstance(row, dict) and names.get(row.get("subject_id")) and names.get(row.get("object_id"))
            ]
            rows.append((str(entry.get("image_id")), region["phrase"], triplets))
    return rows


def _name(row: Mapping[str, Any]) -> str:
    names = row.get("names")
    return str(names[0] if isinstance(names, list) and names else row.get("name") or "")
