"""A scene graph on its image as one piece of HTML: a triplet that is pointed at or focused lights its parts.

There is no script: the highlighting is CSS (`:has`), so it works wherever HTML may be put. Everything that a model or a
file named is escaped. The picture is that of `r1sgg draw` (`r1sgg.drawing.overlay`).
"""

from __future__ import annotations

import html

from PIL import Image

from r1sgg.drawing.overlay import overlay
from r1sgg.drawing.shapes import Photo
from r1sgg.drawing.style import display_names
from r1sgg.graph.scene import SceneGraph

_MOST_SIDE = 900  # pixels of the image inside the page
_SIDE = 480  # units of the picture's longer side, whatever the image's size, so that names can be read

_STYLE = """
.r1{display:flex;flex-wrap:wrap;gap:1rem;font:15px/1.4 system-ui,sans-serif}
.r1 figure{margin:0;flex:2 1 320px;min-width:0}
.r1 svg{width:100%;height:auto;max-height:70vh;display:block;background:#111;border-radius:6px}
.r1 ol{flex:1 1 220px;margin:0!important;padding:0!important;list-style:none!important;max-height:70vh;overflow:auto}
.r1 li{list-style:none!important;padding:.25rem .5rem;border-radius:4px;border-left:4px solid #8888;margin-bottom:2px}
.r1 li:hover,.r1 li:focus{background:#8883;outline:2px solid #58f}
.r1 small{opacity:.7}
"""


def stage(image: Image.Image, graph: SceneGraph, note: str = "") -> str:
    """Return the HTML.

    Args:
        image: RGB.
        graph: boxes as fractions of the image; scores are shown where it has them.
        note: a sentence under the list (plain text).
    """
    scale = _SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.copy()
    small.thumbnail((_MOST_SIDE, _MOST_SIDE))
    drawing, _ = overlay(graph, size, numbers=False)
    drawing.shapes.insert(0, Photo((0, 0, *size), small))
    names = display_names(graph)
    rows: list[tuple[str, str, float | None, list[str]]] = []  # class, words, score, classes of the parts to light
    for k, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
        score = None if graph.relationship_scores is None else graph.relationship_scores[k]
        rows.append((f"t{k}", f"{names[s]} {predicate} {names[o]}", score, [f"r{k}", *sorted({f"b{s}", f"b{o}"})]))
    related = {end for pair in graph.pairs for end in pair}
    for k in range(len(graph)):
        if k not in related:
            score = None if graph.object_scores is None else graph.object_scores[k]
            rows.append((f"o{k}", names[k], score, [f"b{k}"]))
    rules, items = [], []
    for row, words, score, parts in rows:
        active = f".r1:has(.{row}:hover,.{row}:focus) svg"
        lit = ",".join(f"{active} .{part}" for part in parts)
        rules.append(f"{active} [class]{{opacity:.1}}{lit}{{opacity:1}}")
        shown = "" if score is None else f" <small>{score:.2f}</small>"
        items.append(f'<li class="{row}" tabindex="0">{html.escape(words)}{shown}</li>')
    if note:
        items.append(f"<li><small>{html.escape(note)}</small></li>")
    label = f"{len(graph)} objects, {len(graph.pairs)} relationships"
    return (
        f"<style>{_STYLE}{''.join(rules)}</style>"
        f'<div class="r1"><figure role="img" aria-label="{label}">{drawing.to_svg()}</figure>'
        f"<ol>{''.join(items)}</ol></div>"
    )
