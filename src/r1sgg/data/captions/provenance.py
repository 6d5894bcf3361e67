"""Where each triplet of a caption-made graph came from, and what was dropped on the way.

It is kept under "meta" of the ground-truth line, so that every reader takes the file; one entry of `triplets` for each
relationship, in their order:

    "meta": {"captions": {
        "texts": ["A guy rides a bicycle."],
        "triplets": [{"captions": [0], "step": "rules (plain)", "said": ["guy", "riding", "bicycle"],
                      "aligned": ["synonym", "", "synonym"], "grounded": [1.0, 0.5]}],
        "counts": {"captions": 1, "phrases": 2, "triplets read": 1, "triplets kept": 1},
        "leak": "none"}}

`said` are the names of the caption, `aligned` how each became a name of the vocabulary ("" where it is one), `grounded`
the scores of subject and object. `counts` are of the image: what was read, and what was dropped at each step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from r1sgg.graph.vocabulary import OPEN, Vocabulary

KEY = "captions"
"""The key of "meta"."""

READ, KEPT = "triplets read", "triplets kept"
DROPPED_AT = (
    "triplets dropped: subject or object not in vocabulary",
    "triplets dropped: predicate not in vocabulary",
    "triplets dropped: subject or object not grounded",
    "triplets dropped: subject and object are one box",
    "triplets dropped: said before",
)
"""The steps at which a triplet may be dropped, in their order: two of alignment, two of grounding, and repeats."""
PHRASES, GROUNDED = "phrases in vocabulary", "phrases grounded"
CUT = "captions of which only the beginning was read"
IMAGES = ("images read", "images kept", "images kept without a relationship")


@dataclass(slots=True)
class CaptionLedger:
    """What became of captions over a whole set.

    Attributes:
        counts: by step, as in the module's docstring; also records that were skipped and left out.
        images: images with provenance.
        scores: groundings by score, rounded to a tenth.
        steps: triplets by the step that read them.
        alignments: names of kept triplets by how they were aligned.
        predicates: relationships of images with provenance, by predicate.
    """

    counts: Counter[str] = field(default_factory=Counter)
    images: int = 0
    scores: Counter[float] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    alignments: Counter[str] = field(default_factory=Counter)
    predicates: Counter[str] = field(default_factory=Counter)

    def add(self, meta: Any, predicates: Iterable[Any] = ()) -> None:
        """Count the provenance of one image; what is not as it should be is left out.

        Args:
            meta: of its ground-truth line.
            predicates: of its relationships.
        """
        record = meta.get(KEY) if isinstance(meta, Mapping) else None
        if not isinstance(record, dict):
            return
        self.images += 1
        self.predicates.update(name for name in predicates if isinstance(name, str))
        counts = record.get("counts")
        if isinstance(counts, dict):
            self.counts.update({str(k): n for k, n in counts.items() if type(n) is int})
        for row in record.get("triplets") or ():
            if isinstance(row, dict):
                self.steps[str(row.get("step", "?"))] += 1
                self.alignments.update(
                    str(how).partition(" (")[0] or "in vocabulary" for how in row.get("aligned") or ()
                )
                self.scores.update(round(s, 1) for s in row.get("grounded") or () if isinstance(s, int | float))

    def lines(self, vocabulary: Vocabulary = OPEN) -> list[tuple[str, str]]:
        """Return what to print: shares of the steps, how names were aligned, and what of a vocabulary never occurs."""
        rows = lines(self.counts, self.images)
        rows.append(("triplets by step", _ranked(self.steps)))
        rows.append(("names of triplets by alignment", _ranked(self.alignments)))
        if never := [name for name in vocabulary.predicates if name not in self.predicates]:
            rows.append(("predicates that never occur", f"{len(never)}: {', '.join(never)}"))
        return rows

    def record(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "images": self.images,
            "counts": dict(self.counts),
            "steps": dict(self.steps),
            "alignments": dict(self.alignments),
            "grounding_scores": {str(score): n for score, n in sorted(self.scores.items())},
        }


def lines(counts: Mapping[str, int], images: int) -> list[tuple[str, str]]:
    """Return the steps of a set with their shares, as rows to print."""
    read = counts.get(READ, 0)
    rows = [
        ("images with captions", f"{images:,}"),
        ("captions", f"{counts.get('captions', 0):,}"),
        (READ, f"{read:,}" + (f", {read / images:.2f} per image" if images else "")),
    ]
    dropped = [(step, counts[step]) for step in DROPPED_AT if counts.get(step)]
    rows += [(step, f"{n:,} ({100 * n / max(read, 1):.1f} %)") for step, n in dropped]
    kept = counts.get(KEPT, 0)
    rows.append((KEPT, f"{kept:,}" + (f", {kept / images:.2f} per image" if images else "")))
    if named := counts.get(PHRASES, 0):
        share = 100 * counts.get(GROUNDED, 0) / named
        rows.append((GROUNDED, f"{counts.get(GROUNDED, 0):,} of {named:,} ({share:.1f} %)"))
    for name, n in counts.items():
        if name not in {READ, KEPT, PHRASES, GROUNDED, "captions", "phrases", *DROPPED_AT}:
            rows.append((name, f"{n:,}"))
    return rows


def _ranked(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.most_common(8)) or "none"
