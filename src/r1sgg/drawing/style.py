"""Names and colours of objects on pictures: the same in the PNG, the SVG and the pages."""

from __future__ import annotations

import re
from collections import Counter

from r1sgg.graph.scene import SceneGraph

INK, QUIET = "#1d2129", "#6b7280"
STATUS_COLOURS = {"matched": "#1a7f4b", "missed": "#b45309", "spurious": "#c0262d"}
PREDICATE_PAPER, PREDICATE_INK = "#16181d", "#ffffff"

# The colours of Okabe and Ito, which differ for any colour vision (without black and pale yellow), and six lighter or
# darker ones that do so as well (tests/pages/test_colours.py). All of them follow in lighter, then in darker.
_HUES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc5a9a",
    "#e69f00",
    "#56b4e9",
    "#5b2d91",
    "#7a1626",
    "#3f5f00",
    "#8c6239",
    "#0d4a56",
    "#c4c9f5",
)


def _mixed(colour: str, other: int, share: float) -> str:
    channels = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(c + share * (other - c)):02x}" for c in channels)


PALETTE = (*_HUES, *(_mixed(c, 255, 0.5) for c in _HUES), *(_mixed(c, 0, 0.42) for c in _HUES))

_NUMBER = re.compile(r"[._\- ](\d{1,4})$")


def display_names(graph: SceneGraph) -> list[str]:
    """Return a name for each object: the class, with a number where it occurs more than once ("dog", "man 1")."""
    counts, seen = Counter(graph.labels), Counter[str]()
    names = []
    for identifier, label in zip(graph.ids, graph.labels, strict=True):
        seen[label] += 1
        number = _NUMBER.search(identifier)  # the number that the completion uses, where it has one
        which = number.group(1) if number else seen[label]
        names.append(f"{shorten(label)} {which}" if counts[label] > 1 else shorten(label))
    return names


def colour_of(index: int) -> str:
    """Return the colour of the object with this index, "#rrggbb"."""
    return PALETTE[index % len(PALETTE)]


def ink_on(colour: str) -> str:
    """Return black or white, whichever has more contrast with the colour (WCAG relative luminance)."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"


def shorten(text: str, limit: int = 28) -> str:
    """Return the text, cut with an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def joined(predicates: list[str], limit: int = 40) -> str:
    """Return distinct predicates in their order, a repeated one with its count: "on x2, near"."""
    return shorten(", ".join(p if n == 1 else f"{p} x{n}" for p, n in Counter(predicates).items()), limit)
