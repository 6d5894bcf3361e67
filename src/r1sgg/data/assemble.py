"""Make a graph of the annotations of any format: the checks that all readers of data sets share.

This is not `r1sgg.graph.records`, the strict codec of our own files, for two reasons. Here relations name their ends by
number and boxes are one array, so that reading a large set is mostly numpy; and a row that is wrong costs only itself:
it is left out and named as a `Fault`, because a user cannot correct a published data set.

Corners are clipped to the image and rounded to 1/100 pixel, as in a ground-truth file. So the same annotations give the
same graph whatever their format, if it is precise enough (VG-SGG.h5 has whole numbers at a longest side of 1024 or
512).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from r1sgg.data.dataset import Fault, fault
from r1sgg.errors import short
from r1sgg.graph.records import MARGIN
from r1sgg.graph.scene import Boxes, SceneGraph, normalize_name
from r1sgg.graph.text import number_ids


def assemble(
    names: Sequence[str | None],
    corners_N4: Boxes,
    triplets: Iterable[tuple[int, int, str | None]],
    size: tuple[int, int],
    where: str,
    faults: list[Fault],
) -> SceneGraph:
    """Return the graph of annotations, in their order; ids are numbered per class in that order.

    Args:
        names: N classes as the source spells them; None for a number that the source has no name for.
        corners_N4: xyxy in pixels.
        triplets: (subject row, object row, predicate); None as above.
        size: width and height of the image.
        where: file and image, for messages.
        faults: receives a fault for every row that is left out or clipped.
    """
    boxes = np.asarray(corners_N4, dtype=np.float64).reshape(-1, 4)
    labels = ["" if name is None else normalize_name(name) for name in names]
    limit = (*size, *size)
    with np.errstate(invalid="ignore"):
        clipped = np.round(boxes.clip(0, limit), 2)
        whole = (clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])  # NaN compares false
        if not (whole.all() and all(labels)) or (np.abs(boxes - clipped) > MARGIN).any():
            whole &= _named_rows(names, labels, boxes, clipped, size, where, faults)
    if whole.all():
        place: Sequence[int] = range(len(labels))
    else:  # row -> object, -1 where the row is left out
        place = np.where(whole, np.cumsum(whole) - 1, -1).tolist()
        labels = [label for label, kept in zip(labels, whole, strict=True) if kept]
        clipped = clipped[whole]
    pairs: list[tuple[int, int]] = []
    predicates: list[str] = []
    for k, (subject, target, name) in enumerate(triplets):
        predicate = "" if name is None else normalize_name(name)
        if not (predicate and 0 <= subject < len(place) and 0 <= target < len(place)) or subject == target:
            faults.append(_relation_fault(f"{where}: relation {k}", subject, target, name, predicate, len(place)))
        elif place[subject] < 0 or place[target] < 0:
            faults.append(
                fault("relation", f"{where}: relation {k}", "two objects that can be used", "one that was left out")
            )
        else:
            pairs.append((place[subject], place[target]))
            predicates.append(predicate)
    return SceneGraph(number_ids(labels), tuple(labels), clipped / limit, tuple(pairs), tuple(predicates))


def _named_rows(
    names: Sequence[str | None],
    labels: Sequence[str],
    boxes: Boxes,
    clipped: Boxes,
    size: tuple[int, int],
    where: str,
    faults: list[Fault],
) -> np.ndarray:
    """Return which objects have a name, and add a fault for each without one and each wrong or clipped box."""
    for k, (box, inside) in enumerate(zip(boxes.tolist(), clipped.tolist(), strict=True)):
        here = f"{where}: object {k}"
        if not labels[k]:
            expected = "a name" if names[k] is not None else "a number that the list of names has"
            faults.append(fault("name", here, expected, repr(names[k]) if names[k] is not None else "another"))
        elif not (inside[0] < inside[2] and inside[1] < inside[3]):
            expected = f"a box with an area inside {size[0]}x{size[1]}, corners in pixels"
            faults.append(fault("box", here, expected, short([round(v, 2) for v in box])))
        elif any(abs(a - b) > MARGIN for a, b in zip(box, inside, strict=True)):
            found = short([round(v, 2) for v in box])
            faults.append(fault("box", here, f"a box inside {size[0]}x{size[1]}", found, "clipped to the image"))
    return np.array([bool(label) for label in labels], dtype=bool)


def _relation_fault(where: str, subject: int, target: int, name: str | None, predicate: str, count: int) -> Fault:
    if not predicate:
        expected = "a predicate" if name is not None else "a number that the list of predicates has"
        return fault("name", where, expected, repr(name) if name is not None else "another")
    if subject == target:
        return fault("relation", where, "two objects", "one object with itself")
    found = f"{subject} and {target}"
    return fault("relation", where, f"objects of this image, 0 to {count - 1}", found)
