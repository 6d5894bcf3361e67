"""The page of `r1sgg data view`: images of a data set with their true graphs, in one HTML file.

Pictures are those of `r1sgg draw` (`r1sgg.drawing.overlay`). Nothing is judged here: a page with predictions is
`r1sgg report`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet
from r1sgg.data.thumbnails import thumbnail
from r1sgg.drawing.layout import MAX_OBJECTS
from r1sgg.drawing.shapes import data_uri
from r1sgg.drawing.style import display_names, shorten
from r1sgg.errors import ImageError, InputError
from r1sgg.graph.scene import normalize_name
from r1sgg.pages.page import write_page
from r1sgg.pages.stage import STYLE, picture

_LOG = logging.getLogger(__name__)

MAX_TRIPLETS = 100


@dataclass(frozen=True, slots=True)
class Card:
    """One image of the page.

    Attributes:
        example: the image and its graph.
        picture: HTML of `r1sgg.pages.stage.picture`.
        triplets: for each relationship its three words, the classes of its parts in the picture, and its number there
            (0 for none).
        notes: what is wrong with the record or its image, and what was left out.
    """

    example: Example
    picture: str
    triplets: tuple[tuple[str, str, str, str, int], ...]
    notes: tuple[str, ...]


def choose(
    data: DataSet, limit: int, *, seed: int | None = None, names: Collection[str] = (), ids: Collection[str] = ()
) -> Iterator[int]:
    """Yield the numbers of the examples to show, at most `limit`.

    Args:
        data: the set.
        limit: how many at most.
        seed: None for the set's order, else a random one.
        names: only images that show all of these classes and predicates.
        ids: only these images, and all of them, whatever `limit` is.

    Raises:
        InputError: no image has all the names, or an image is not in the set.
    """
    order: Sequence[int] = range(len(data))
    if seed is not None:
        order = random.Random(seed).sample(order, len(order))
    wanted = {normalize_name(name) for name in names}
    missing, shown = set(ids), 0
    for k in order:
        if (not missing) if ids else shown >= limit:
            break
        if wanted or ids:
            try:
                example = data[k]
            except InputError:
                continue  # its names and its id are not known; `r1sgg data check` names the record
            graph = example.graph
            if (ids and example.image_id not in missing) or not wanted <= {*graph.labels, *graph.predicates}:
                continue
            missing.discard(example.image_id)
        shown += 1
        yield k
    if missing:
        raise InputError(data.name, expected=f"an image {sorted(missing)[0]!r}", found="none with this id and names")
    if wanted and not shown:
        raise InputError(data.name, expected=f"an image with {' and '.join(sorted(wanted))}", found="none")


def card_of(data: DataSet, k: int) -> Card:
    """Return what the page shows of example `k`.

    Raises:
        InputError: the record cannot be read.
    """
    example, faults = data.read(k)
    notes = [fault.text for fault in (*faults, data.image_fault(example)) if fault is not None]
    graph, names = example.graph, display_names(example.graph)
    photo = problem = ""
    try:
        photo = data_uri(thumbnail(data.image(example)), "webp")
    except ImageError as error:
        _LOG.warning("shown without its image: %s", error)
        problem = f"no image: {error.found}"
    drawn = picture(graph, (example.width, example.height), photo, problem)
    triplets = tuple(
        (names[s], shorten(predicate, 40), names[o], f"r{r} b{s} b{o}", drawn.numbers.get(r, 0))
        for r, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True))
    )
    return Card(example, drawn.html, triplets, tuple(notes))


def write_examples(
    out: Path,
    data: DataSet,
    numbers: Sequence[int],
    *,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> list[str]:
    """Write the HTML file; returns a sentence for each record that could not be read.

    Raises:
        InputError: the file cannot be written.
    """
    cards: list[Card] = []
    unreadable: list[str] = []
    for done, k in enumerate(numbers, 1):
        try:
            cards.append(card_of(data, k))
        except InputError as error:
            unreadable.append(str(error))
        advance(done, len(numbers))
    facts = [f"{len(cards):,} of {len(data):,} images", *([f"split {data.split}"] if data.split else [])]
    write_page(
        out, "examples.html.j2", title=data.name, facts=facts, cards=cards, unreadable=unreadable,
        most=MAX_TRIPLETS, most_objects=MAX_OBJECTS, picture_style=STYLE,
    )  # fmt: skip
    return unreadable
