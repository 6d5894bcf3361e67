"""Average precision of predicted boxes (COCO's AP, AP50, AP75), through faster-coco-eval.

Boxes are stored as columns while images are streamed, and evaluated one class at a time, so that memory holds 48 bytes
per box and the annotations of one class. There are no size ranges and no average recall.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster, mask

from r1sgg.graph.scene import Boxes, SceneGraph

MAX_DETECTIONS = 100
"""Maximum number of boxes per class and image, best scored first (COCO's default)."""

_PIXEL_DIGITS = 6  # restores integer pixels after the conversion to [0, 1], so that an IoU of exactly 1/2 stays so


class BoxColumns:
    """All boxes of one side (true or predicted), as columns."""

    def __init__(self) -> None:
        self._values = array("d")
        self._labels = array("i")
        self._images = array("i")
        self._scores = array("d")

    def add(self, image: int, graph: SceneGraph, size: tuple[int, int], classes: dict[str, int], scored: bool) -> None:
        """Append the boxes of a graph; new labels are numbered in `classes`."""
        count = len(graph)
        if not count:
            return
        self._values.frombytes((graph.boxes * (size * 2)).tobytes())
        self._labels.extend([classes.setdefault(label, len(classes)) for label in graph.labels])
        self._images.extend([image] * count)
        if graph.object_scores is not None and scored:
            self._scores.frombytes(graph.object_scores.astype(np.float64).tobytes())
        else:
            self._scores.extend([1.0] * count)

    def arrays(self) -> tuple[Boxes, npt.NDArray[np.int32], npt.NDArray[np.int32], Boxes]:
        """Return boxes (N, 4) in xyxy pixels, classes, images and scores."""
        return (
            np.frombuffer(self._values, dtype=np.float64).reshape(-1, 4),
            np.frombuffer(self._labels, dtype=np.int32),
            np.frombuffer(self._images, dtype=np.int32),
            np.frombuffer(self._scores, dtype=np.float64),
        )


def average_precision(
    true: BoxColumns, predicted: BoxColumns, places: npt.NDArray[np.int64], first: int | None = None
) -> dict[str, float | None]:
    """Return AP, AP50 and AP75: means over the classes that have a true box; None if there are no true boxes.

    Args:
        true: the true boxes.
        predicted: the predicted boxes.
        places: for each image its position in the order that decides between equal scores.
        first: index of a true box that nothing may match (see `Protocol.first_box_counts`), or None.
    """
    precisions: list[Boxes] = []
    sides = [_by_class(side, places) for side in (true, predicted)]
    for label, (order, start, end) in sides[0][1].items():
        rows = order[start:end]
        truth_rows = _rows(sides[0][0], rows)
        other = sides[1][1].get(label)
        if other is None:
            precisions.append(np.zeros((len(_THRESHOLDS), 101)))
            continue
        predicted_rows = _rows(sides[1][0], other[0][other[1] : other[2]])
        hidden = None if first is None else next(iter(np.flatnonzero(rows == first).tolist()), None)
        precisions.append(_precision(truth_rows, predicted_rows, hidden))
    if not precisions:
        return {"AP": None, "AP50": None, "AP75": None}
    table = np.stack(precisions)  # classes, thresholds, recalls
    out: dict[str, float | None] = {"AP": float(table.mean())}
    for name, value in (("AP50", 0.5), ("AP75", 0.75)):
        out[name] = float(table[:, int(np.argmin(np.abs(_THRESHOLDS - value)))].mean())
    return out


_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_Columns = tuple[Boxes, npt.NDArray[np.int64], Boxes]


def _by_class(
    side: BoxColumns, places: npt.NDArray[np.int64]
) -> tuple[_Columns, dict[int, tuple[npt.NDArray[np.int64], int, int]]]:
    """Return the columns (boxes, positions of their images, scores), and by class its slice of the sorted rows."""
    boxes, labels, images, scores = side.arrays()
    where = places[images] if len(images) else np.zeros(0, np.int64)
    order = np.lexsort((where, labels))
    names, starts = np.unique(labels[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)][: len(names)]  # no classes if this side has no boxes
    slices = {int(c): (order, int(s), e) for c, s, e in zip(names, starts, ends, strict=True)}
    return (boxes, where, scores), slices


def _rows(columns: _Columns, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return annotations of one class in the COCO format: xywh in pixels, ids from 1."""
    boxes, where, scores = columns
    corners = np.round(boxes[rows], _PIXEL_DIGITS)
    corners[:, 2:] -= corners[:, :2]
    return [
        {"id": k, "image_id": i, "category_id": 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0, "score": s}
        for k, (i, b, s) in enumerate(
            zip(where[rows].tolist(), corners.tolist(), scores[rows].tolist(), strict=True), 1
        )
    ]


class _OneClass(COCOeval_faster):  # type: ignore[misc]
    """The evaluator for a single class, with a faster computation of the IoUs of an image."""

    def computeIoU(self, imgId: int, catId: int) -> Boxes:
        rows, others = self.cocoDt.imgToAnns[imgId], self.cocoGt.imgToAnns[imgId]
        if len(rows) > 1:
            rows = sorted(rows, key=lambda row: -row["score"])[:MAX_DETECTIONS]
        return np.asarray(mask.iou([r["bbox"] for r in rows], [g["bbox"] for g in others], [0] * len(others)))


def _precision(truth: list[dict[str, Any]], predicted: list[dict[str, Any]], hidden: int | None) -> Boxes:
    """Return the interpolated precision of one class, (10 thresholds, 101 recalls)."""
    if hidden is not None:
        truth[hidden]["id"] = 0
    images: Sequence[int] = sorted({a["image_id"] for a in truth} | {a["image_id"] for a in predicted})
    sides = []
    for rows in (truth, predicted):
        side = COCO()
        side.dataset = {"images": [{"id": i} for i in images], "annotations": rows, "categories": [{"id": 1}]}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found annotation id 0")
            side.createIndex()
        sides.append(side)
    evaluation = _OneClass(sides[0], sides[1], "bbox")
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    return np.asarray(evaluation.eval["precision"][:, :, 0, 0, 0], dtype=np.float64)
