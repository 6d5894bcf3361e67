"""A scene graph on its image as one piece of HTML: boxes that light up when their triplet is pointed at or focused.

No script: the highlighting is CSS (`:has`), so it works wherever HTML may be put. Everything a model or a file named is
escaped. It lays out no labels against each other (`r1sgg.drawing.draw` does); names appear with their boxes' triplets.
"""

from __future__ import annotations

import base64
import html
import io

from PIL import Image

from r1sgg.drawing.style import PALETTE
from r1sgg.graph.scene import SceneGraph

_MOST_SIDE = 900  # pixels of the image inside the page
_SIDE = 420  # units of the drawing's longer side, whatever the image's size, so that names are legible
_WIDE = 9  # units of a letter

_STYLE = """
.r1{display:flex;flex-wrap:wrap;gap:1rem;font:15px/1.4 system-ui,sans-serif}
.r1 figure{margin:0;flex:2 1 320px;min-width:0}
.r1 svg{width:100%;height:auto;max-height:70vh;display:block;background:#111;border-radius:6px}
.r1 rect{fill:none;stroke-width:2;vector-effect:non-scaling-stroke;paint-order:stroke}
.r1 svg text{font:600 15px system-ui,sans-serif;fill:#fff;stroke:#000;stroke-width:3px;paint-order:stroke}
.r1 ol{flex:1 1 220px;margin:0!important;padding:0!important;list-style:none!important;max-height:70vh;overflow:auto}
.r1 li{list-style:none!important;padding:.25rem .5rem;border-radius:4px;border-left:4px solid #8888;margin-bottom:2px}
.r1 li:hover,.r1 li:focus{background:#8883;outline:2px solid #58f}
.r1 small{opacity:.7}
"""


def stage(image: Image.Image, graph: SceneGraph, note: str = "") -> str:
    """The HTML.

    Args:
        image: RGB.
        graph: boxes as fractions of the image; scores are shown where it has them.
        note: a sentence under the list (plain text).
    """
    scale = _SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    marks, rules = [], []
    for k, (name, box) in enumerate(zip(graph.ids, graph.boxes.clip(0, 1).tolist(), strict=True)):
        x, y, w, h = box[0] * width, box[1] * height, (box[2] - box[0]) * width, (box[3] - box[1]) * height
        colour = PALETTE[k % len(PALETTE)]
        marks.append(
            f'<g class="b{k}"><rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" stroke="{colour}"/>'
            f'<text x="{_beside(x, name, width):.1f}" y="{max(15.0, y - 4):.1f}">{html.escape(name)}</text></g>'
        )
    rows = []
    for k, ((s, o), predicate) in enumerate(zip(graph.pairs, graph.predicates, strict=True)):
        score = "" if graph.relationship_scores is None else f" <small>{graph.relationship_scores[k]:.2f}</small>"
        words = " ".join(html.escape(word) for word in (graph.ids[s], predicate, graph.ids[o]))
        rows.append(f'<li class="t{k}" tabindex="0">{words}{score}</li>')
        rules.append(_lit(f"t{k}", sorted({s, o})))
    alone = sorted(set(range(len(graph))) - {end for pair in graph.pairs for end in pair})
    for k in alone:
        score = "" if graph.object_scores is None else f" <small>{graph.object_scores[k]:.2f}</small>"
        rows.append(f'<li class="o{k}" tabindex="0">{html.escape(graph.ids[k])}{score}</li>')
        rules.append(_lit(f"o{k}", [k]))
    if note:
        rows.append(f"<li><small>{html.escape(note)}</small></li>")
    label = f"{len(graph)} objects, {len(graph.pairs)} relationships"
    picture = f'<image width="{width}" height="{height}" href="{_data_uri(image)}"/>'
    drawing = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{picture}{"".join(marks)}</svg>'
    return (
        f"<style>{_STYLE}{''.join(rules)}</style>"
        f'<div class="r1"><figure>{drawing}</figure><ol>{"".join(rows)}</ol></div>'
    )


def _lit(row: str, boxes: list[int]) -> str:
    """While a row is pointed at or focused, its boxes stand out and the others fade."""
    active = f".r1:has(.{row}:hover,.{row}:focus)"
    faded = f"{active} svg g{{opacity:.25}}"
    return faded + "".join(f"{active} svg .b{k}{{opacity:1}}{active} .b{k} rect{{stroke-width:5}}" for k in boxes)


def _beside(x: float, name: str, width: int) -> float:
    """Where a name begins: at its box, but not so far right that it is cut off."""
    return max(2.0, min(x + 3, width - _WIDE * len(name) - 4))


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    small = image.copy()
    small.thumbnail((_MOST_SIDE, _MOST_SIDE))
    small.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
