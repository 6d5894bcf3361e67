"""Evaluation results image by image, for galleries and error analysis. All graphs are kept in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from r1sgg.data.base import Example
from r1sgg.data.predictions import Prediction
from r1sgg.graph.mapping import Level, Similarity
from r1sgg.graph.vocabulary import OPEN, Vocabulary
from r1sgg.judging.protocol import CUTOFFS, STRICT, Protocol
from r1sgg.metrics.columns import Evaluator, ImageResult
from r1sgg.metrics.streams import join


def per_image(
    examples: Iterable[Example],
    predictions: Iterable[Prediction],
    vocabulary: Vocabulary = OPEN,
    protocol: Protocol = STRICT,
    *,
    mapping: Level = "normal",
    similarity: Similarity | None = None,
    repair: bool = False,
) -> list[dict[str, Any]]:
    """Return one row per image, in the order of the ground truth. The means of the recalls equal those of `evaluate`.

    Returns:
        Rows with `image_id`; `failure` (kind or None); `R@20`, `R@50`, `R@100` (None if the image has no true
        relation); `precision` (None if no relation was predicted); `objects`, `relations`, `true_relations` (counts);
        `truth` and `graph` (in the names of the vocabulary); `partners` (for each predicted triplet the index of the
        true triplet that it is paired with one to one, or -1); `found` (for each true triplet whether one of the first
        50 predictions hits it).

    Raises:
        InputError: a prediction for an image that is not in the ground truth.
    """
    evaluator = Evaluator(vocabulary, protocol, mapping=mapping, similarity=similarity, repair=repair)
    rows = evaluator.results(join(examples, predictions))
    return [_row(result) for _, result in sorted(rows, key=lambda item: item[0])]


def _row(result: ImageResult) -> dict[str, Any]:
    match, count = result.match, len(result.graph.pairs)
    counted = bool(match.ranks) and not result.skipped
    recalls = {f"R@{k}": sum(rank < k for rank in match.ranks) / len(match.ranks) if counted else None for k in CUTOFFS}
    return {
        "image_id": result.image_id,
        "failure": result.failure,
        **recalls,
        "precision": match.true_positives / match.counted if match.counted else None,
        "objects": len(result.graph),
        "relations": count,
        "true_relations": len(match.ranks),
        "truth": result.truth,
        "graph": result.graph,
        "partners": match.partners,
        "found": tuple(rank < 50 for rank in match.ranks),
    }
