"""The page of `r1sgg data view`: images of a set with their true graphs drawn, in one HTML file.

Drawing is `r1sgg.pages.figure`'s. Nothing is judged here: a page with predictions is
`r1sgg report`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from r1sgg import __version__
from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet
from r1sgg.drawing.style import class_colours, display_names, shorten
from r1sgg.errors import InputError
from r1sgg.graph.scene import SceneGraph, normalize_name
from r1sgg.pages.figure import MAX_TRIPLETS, Figure, Picture, Triplet, figure_of, picture_of

STATUS = "true"
"""The status of every relationship here; the page's style gives it its colour."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of the page; `notes` are what its reader left out."""

    example: Example
    figure: Figure
    triplets: tuple[Triplet, ...]
    left_out: int
    notes: tuple[str, ...]


def choose(
    data: DataSet, limit: int, *, seed: int | None = None, names: Collection[str] = (), ids: Collection[str] = ()
) -> Iterator[int]:
    """Numbers of the examples to show, at most `limit`.

    Args:
        data: the set.
        limit: how many at most.
        seed: None for the set's order, else a random one.
        names: only images that show all of these classes and predicates.
        ids: only these images, and all of them, whatever `limit` says.

    Raises:
        InputError: no image has all the names, or an image is not in the set.
    """
    order: Sequence[int] = range(len(data))
    if seed is not None:
        order = random.Random(seed).sample(order, len(order))
    wanted = {normalize_name(name) for name in names}
    missing, shown = set(ids), 0
    for k in order:
        if (not ids and shown >= limit) or (ids and not missing):
            break
        if wanted or ids:
            try:
                example = data[k]
            except InputError:
                continue  # it can't be what was asked for, and `data check` names it
            if ids and example.image_id not in missing:
                continue
            if not wanted <= {*example.graph.labels, *example.graph.predicates}:
                continue
            missing.discard(example.image_id)
        shown += 1
        yield k
    if missing:
        raise InputError(data.name, expected=f"an image {sorted(missing)[0]!r}", found="none with this id and names")
    if not shown and wanted:
        raise InputError(data.name, expected=f"an image with {' and '.join(sorted(wanted))}", found="none")


def show(data: DataSet, k: int) -> Shown:
    """Everything that the page says of one example.

    Raises:
        InputError: the record cannot be read.
    """
    example, faults = data.read(k)
    notes = [f.text for f in faults]
    if (fault := data.image_fault(example)) is not None:
        notes.append(fault.text)
    picture = picture_of(example, f"image-{k}", data.image)
    graph = example.graph
    (colours,) = class_colours(graph)
    figure = figure_of(graph, picture, [STATUS] * len(graph.pairs), colours)
    triplets = tuple(_triplets(graph))
    return Shown(example, figure, triplets[:MAX_TRIPLETS], max(0, len(triplets) - MAX_TRIPLETS), tuple(notes))


def _triplets(graph: SceneGraph) -> Iterator[Triplet]:
    names = display_names(graph)
    for r, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
        yield Triplet(STATUS, names[s], shorten(predicate, 40), names[o], 1, f"r{r} b{s} b{o}", "")


def write_page(
    out: Path,
    data: DataSet,
    numbers: Sequence[int],
    *,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> list[str]:
    """Write the HTML file; returns a sentence for each record that could not be read."""
    cards: list[Shown] = []
    unreadable: list[str] = []
    for done, k in enumerate(numbers, 1):
        try:
            cards.append(show(data, k))
        except InputError as error:
            unreadable.append(str(error))
        advance(done, len(numbers))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    pictures: list[Picture] = [c.figure.picture for c in cards]
    facts = [f"{len(cards):,} of {len(data):,} images", *([f"split {data.split}"] if data.split else [])]
    page = environment.get_template("examples.html.j2").render(
        title=data.name, facts=[*facts, f"r1sgg {__version__}"], cards=cards, pictures=pictures, unreadable=unreadable
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return unreadable
