"""A scene graph on its image as HTML, and its triplets in a list; pointing at either side lights the other.

There is no script: the highlighting is CSS (`:has`), so it works wherever HTML may be put. Everything that a model or a
file named is escaped. Places and colours are those of `r1sgg draw` (`r1sgg.drawing.overlay`), in two layouts over one
photo: a phone gets the narrow one, whose names are not smaller.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from r1sgg.drawing.overlay import overlay
from r1sgg.drawing.shapes import data_uri
from r1sgg.drawing.style import colour_of, display_names
from r1sgg.graph.scene import SceneGraph
from r1sgg.pages.page import write_page

STYLE = (Path(__file__).parent / "stage.css").read_text(encoding="utf-8")
SIDES = {"wide": 560.0, "narrow": 360.0}
"""Units of the picture's longer side in each layout, whatever the image's size, so that names can be read."""
_MOST_SIDE = 900  # pixels of the image inside the page


@dataclass(frozen=True, slots=True)
class Picture:
    """A graph on its image: HTML that needs `STYLE`, and the numbers of relationships whose words had no room."""

    html: str
    numbers: dict[int, int]


def photo_uri(image: Image.Image) -> str:
    """Return an RGB image as a data URI, reduced to what a page shows."""
    small = image.copy()
    small.thumbnail((_MOST_SIDE, _MOST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "jpeg")


def picture(graph: SceneGraph, size: tuple[int, int], photo: str, problem: str = "") -> Picture:
    """Draw a graph on its image.

    Args:
        graph: boxes as fractions of the image.
        size: width and height of the image in pixels.
        photo: its address, as `photo_uri` returns it; "" where there is none.
        problem: what is said in place of the photo.

    Returns:
        The HTML. Parts have the classes of `r1sgg.drawing.overlay.overlay`.
    """
    layers: list[str] = []
    numbers: dict[int, int] = {}
    for name, side in SIDES.items():
        scale = side / max(size)
        drawing, layout = overlay(graph, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))), crowded=True)
        layers.append(drawing.to_svg(paper=False).replace("<svg ", f'<svg class="{name}" aria-hidden="true" ', 1))
        if layout.numbered:
            numbers |= {index: arrow.number for arrow in layout.arrows for index in arrow.indices}
    shape = f"aspect-ratio:{size[0]}/{size[1]}"
    ground = (
        f'<img class="photo" src="{photo}" alt="" style="{shape}">'
        if photo
        else f'<div class="photo none" style="{shape}">{html.escape(problem)}</div>'
    )
    return Picture(f'<div class="picture">{ground}{"".join(layers)}</div>', numbers)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the list: its class, HTML, number (0: none), score, and the classes of the parts that belong to it."""

    name: str
    words: str
    number: int
    score: float | None
    parts: tuple[str, ...]


def stage(image: Image.Image, graph: SceneGraph, note: str = "", photo: str | None = None) -> str:
    """Return the HTML: the picture, and beside it the triplets, those with the highest scores first.

    Args:
        image: RGB.
        graph: boxes as fractions of the image; scores are shown where it has them.
        note: a sentence above the list (plain text).
        photo: `photo_uri(image)`, where the caller has it.
    """
    drawn = picture(graph, image.size, photo_uri(image) if photo is None else photo)
    rows = [*_by_score(_triplet_rows(graph, drawn.numbers)), *_by_score(_object_rows(graph))]
    rules, items = [], []
    for row in rows:
        active = f".r1:has(.{row.name}:hover,.{row.name}:focus) svg"
        lit = ",".join(f"{active} .{part}" for part in row.parts)
        rules.append(f"{active} [class]{{opacity:.1}}{lit}{{opacity:1!important}}")
        number = f"<b>{row.number}</b>" if row.number else ""
        score = "" if row.score is None else f'<span class="score">{row.score:.2f}</span>'
        items.append(f'<li class="{row.name}" tabindex="0">{number}<span class="words">{row.words}</span>{score}</li>')
    for part in dict.fromkeys(part for row in rows for part in row.parts):
        named = ",".join(f".{row.name}" for row in rows if part in row.parts)
        rules.append(f".r1:has(svg .{part}:hover) :is({named}){{background:#58f3}}")
        rules.append(f".r1 svg:has(.{part}:hover) .{part}{{opacity:1!important}}")
    counts = f"{_counted(len(graph), 'object')}, {_counted(len(graph.pairs), 'relationship')}"
    said = f"{counts} · {note}" if note else counts
    wide = f"max-width:calc(70vh*{image.width}/{image.height})"
    return (
        f"<style>{STYLE}{''.join(rules)}</style>"
        f'<div class="r1"><figure role="img" aria-label="{counts}" style="{wide}">{drawn.html}</figure>'
        f'<div class="triplets"><p role="status">{html.escape(said)}</p><ol>{"".join(items)}</ol></div></div>'
    )


def write_stage(out: Path, image: Image.Image, graph: SceneGraph, title: str) -> None:
    """Write the stage as a page of its own, which needs no other file and no script.

    Raises:
        InputError: the file cannot be written.
    """
    write_page(out, "stage.html.j2", title=title, facts=[], stage=stage(image, graph))


def _triplet_rows(graph: SceneGraph, numbers: dict[int, int]) -> Iterable[_Row]:
    names = display_names(graph)
    for k, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
        score = None if graph.relationship_scores is None else float(graph.relationship_scores[k])
        words = f"{_named(names[s], s)} <em>{html.escape(predicate)}</em> {_named(names[o], o)}"
        yield _Row(f"t{k}", words, numbers.get(k, 0), score, (f"r{k}", *sorted({f"b{s}", f"b{o}"})))


def _object_rows(graph: SceneGraph) -> Iterable[_Row]:
    """Yield a row for each object without a relationship."""
    names, related = display_names(graph), {end for pair in graph.pairs for end in pair}
    for k in range(len(graph)):
        if k not in related:
            score = None if graph.object_scores is None else float(graph.object_scores[k])
            yield _Row(f"o{k}", _named(names[k], k), 0, score, (f"b{k}",))


def _by_score(rows: Iterable[_Row]) -> list[_Row]:
    return sorted(rows, key=lambda row: -1.0 if row.score is None else -row.score)


def _named(name: str, index: int) -> str:
    """Return an object's name after a square of its colour."""
    return f'<i style="background:{colour_of(index)}"></i>{html.escape(name)}'


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
