"""The report's gallery: which images to show, and for each the true and the predicted graph, compared.

What counts as found is the evaluation's decision (`r1sgg.viz.judge`). This file makes no markup: the template writes
what it finds in these records, escaped.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import Image

from r1sgg.data.base import Example
from r1sgg.data.images import open_image
from r1sgg.data.predictions import Prediction
from r1sgg.errors import ImageError
from r1sgg.graph.mapping import Change
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import POLICIES
from r1sgg.viz.draw import text_size
from r1sgg.viz.judge import Judgement, Rank
from r1sgg.viz.layout import class_colours, display_names, head_of, ink_on, lay_out, points_on, shorten

_LOG = logging.getLogger(__name__)

PICTURE_SIDE = 512
"""Longer side in pixels of an embedded image."""
FIGURE_SIDE = 480.0
"""Longer side of a figure in its own units, whatever the image: so text and lines look alike in all."""
FONT_SIZE = 12.0
MAX_TRIPLETS = 100
MAX_TEXT = 6000
"""Characters of a raw answer that are shown."""
_MEANINGS = {
    "nothing_in_vocabulary": "no object of the answer is in the vocabulary",
    "missing": "the predictions file has no line for this image",
    "error": "the model gave no answer",
}
_LOSSLESS_SIDE = 256  # a drawing this small is kept as it is


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the gallery, embedded once however often it is shown. `uri` is "" where there is no image."""

    key: str
    width: float
    height: float
    uri: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FigureBox:
    """A box with its name tag (rectangles as x, y, width, height)."""

    key: str
    rect: tuple[float, float, float, float]
    colour: str
    ink: str
    text: str
    tag: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FigureArrow:
    """A relationship: curve, head (both SVG data), tag; `keys` names its relationships."""

    keys: str
    status: str
    path: str
    start: tuple[float, float]
    head: str
    text: str
    tag: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A graph drawn over a picture."""

    picture: Picture
    boxes: tuple[FigureBox, ...]
    arrows: tuple[FigureArrow, ...]
    objects: int
    relationships: int


@dataclass(frozen=True, slots=True)
class Triplet:
    """A line of the list: status, the words, how often it stands there, and which parts of the figures it lights."""

    status: str
    subject: str
    predicate: str
    object: str
    count: int
    truth_keys: str
    predicted_keys: str


@dataclass(frozen=True, slots=True)
class Card:
    """One image of one run."""

    image_id: str
    failure: str
    meaning: str
    recall: float | None
    precision: float | None
    truth: Figure
    predicted: Figure
    triplets: tuple[Triplet, ...]
    left_out: int
    issues: tuple[tuple[str, str], ...]
    text: str
    cut: int


def choose(ranks: Sequence[Rank], limit: int) -> tuple[list[int], list[int]]:
    """Which images to show: three quarters of `limit` are the worst, the rest the best, all in order from bad to good.

    Args:
        ranks: `r1sgg.viz.judge.rank` of every image.
        limit: how many images are shown at most.

    Returns:
        Indices of the worst, and of the best that are not among them.
    """
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    if len(order) <= limit:
        return order, []
    best = limit // 4
    return order[: limit - best], order[len(order) - best :] if best else []


def card(
    example: Example,
    prediction: Prediction | None,
    judgement: Judgement,
    picture: Picture,
    changes: Sequence[Change] = (),
) -> Card:
    """Everything that the report shows of one image of one run; `changes` are the names that were mapped."""
    kind = judgement.failure or ""
    meaning = _MEANINGS.get(kind) or POLICIES.get(kind, "").removeprefix("failure: ").partition(";")[0]
    raw = prediction.completion if prediction is not None and prediction.completion is not None else ""
    found, made = judgement.truth_statuses, judgement.graph_statuses
    truth_colours, colours = class_colours(judgement.truth, judgement.graph)
    triplets = _triplets(judgement, found, made)
    return Card(
        image_id=example.image_id,
        failure=kind,
        meaning=meaning,
        recall=judgement.recall,
        precision=judgement.precision,
        truth=figure_of(judgement.truth, picture, found, truth_colours),
        predicted=figure_of(judgement.graph, picture, made, colours),
        triplets=tuple(triplets[:MAX_TRIPLETS]),
        left_out=max(0, len(triplets) - MAX_TRIPLETS),
        issues=tuple(_issues(prediction, kind, changes)),
        text=raw[:MAX_TEXT],
        cut=max(0, len(raw) - MAX_TEXT),
    )


def _issues(prediction: Prediction | None, failure: str, changes: Sequence[Change]) -> list[tuple[str, str]]:
    """What was wrong with the text and which names were mapped, the failure itself left out: it has its own place."""
    if prediction is None:
        return []
    if prediction.error is not None:
        return [("error", prediction.error)]
    notes = [(i.kind, i.detail) for i in prediction.read().issues if i.kind != failure]
    for change in changes:
        where = f"to {change.to!r} ({change.how})" if change.to else "is not in the vocabulary: dropped"
        notes.append(("mapped" if change.to else "dropped", f"{change.kind} {change.name!r} {where}"))
    return notes


def picture_of(example: Example, key: str, read: Callable[[Example], Image.Image] | None = None) -> Picture:
    """The example's image as a data URI, reduced to `PICTURE_SIDE`; without one, why.

    `read` opens it where its path does not lead to it (`DataSet.image`).
    """
    scale = FIGURE_SIDE / max(example.width, example.height)
    size = max(1.0, example.width * scale), max(1.0, example.height * scale)
    if example.image is None and read is None:
        return Picture(key, *size, "", "the ground truth names no image")
    try:
        image = read(example) if read is not None else open_image(cast(Path, example.image))
    except ImageError as error:
        _LOG.warning("shown without its image: %s", error)
        return Picture(key, *size, "", f"no image: {error.found}")
    return Picture(key, *size, _data_uri(image))


def _data_uri(image: Image.Image) -> str:
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(image.size) <= _LOSSLESS_SIDE, quality=76, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def figure_of(graph: SceneGraph, picture: Picture, statuses: Sequence[str], colours: Sequence[str]) -> Figure:
    """A graph over a picture; `statuses` has a word for each relationship, `colours` a colour for each object."""
    layout = lay_out(graph, (picture.width, picture.height), _measure, statuses, colours)
    boxes = [
        FigureBox(f"b{b.index}", _xywh(b.rect), b.colour, ink_on(b.colour), b.tag.text, _xywh(b.tag.rect))
        for b in layout.boxes
    ]
    arrows = []
    for a in layout.arrows:
        (x0, y0), (x1, y1), (x2, y2) = a.curve
        head = head_of(points_on(a.curve)[-2], a.curve[2], 9.0)
        arrows.append(
            FigureArrow(
                keys=" ".join(f"r{i}" for i in a.indices),
                status=a.status,
                path=f"M{x0:.1f},{y0:.1f}Q{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f}",
                start=(round(x0, 1), round(y0, 1)),
                head=" ".join(f"{x:.1f},{y:.1f}" for x, y in head),
                text=a.tag.text,
                tag=_xywh(a.tag.rect),
            )
        )
    return Figure(picture, tuple(boxes), tuple(arrows), len(graph), len(graph.pairs))


def _triplets(judgement: Judgement, found: Sequence[str], made: Sequence[str]) -> list[Triplet]:
    """Matched, then missed, then spurious; a triplet that an answer repeats is one line with a count."""
    truth, graph = judgement.truth, judgement.graph
    partner_of = {i: j for j, i in judgement.partners.items()}
    rows: list[Triplet] = []
    for status in ("matched", "missed"):
        for i in (i for i, found_status in enumerate(found) if found_status == status):
            predicted = _keys(graph, [partner_of[i]]) if i in partner_of else ""
            rows.append(_triplet(status, truth, [i], _keys(truth, [i]), predicted))
    repeated: dict[tuple[int, int, str], list[int]] = {}
    for j, status in enumerate(made):
        if status == "spurious":
            repeated.setdefault((*graph.pairs[j], graph.predicates[j]), []).append(j)
    rows += [_triplet("spurious", graph, js, "", _keys(graph, js)) for js in repeated.values()]
    return rows


def _triplet(status: str, graph: SceneGraph, indices: Sequence[int], truth_keys: str, predicted_keys: str) -> Triplet:
    names = display_names(graph)
    s, o = graph.pairs[indices[0]]
    predicate = shorten(graph.predicates[indices[0]], 40)
    return Triplet(status, names[s], predicate, names[o], len(indices), truth_keys, predicted_keys)


def _keys(graph: SceneGraph, indices: Sequence[int]) -> str:
    s, o = graph.pairs[indices[0]]
    return " ".join([*(f"r{i}" for i in indices), f"b{s}", f"b{o}"])


def _measure(text: str) -> tuple[float, float]:
    width, height = text_size(text, FONT_SIZE)
    return width + 8.0, height + 2.0


def _xywh(rect: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = rect
    return round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)
