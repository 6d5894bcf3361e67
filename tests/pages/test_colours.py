"""Colours that mean something differ with normal vision, protanopia and deuteranopia."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import r1sgg.pages
from r1sgg.drawing.style import PALETTE, STATUS_COLOURS

from ..colour_vision import VISIONS, lab, nearest

PAGES = Path(r1sgg.pages.__file__).parent
LEAST = 10.0
"""In CIELAB, where about 2 can just be seen side by side."""


def pairs(file: str, pattern: str) -> dict[str, tuple[str, str]]:
    """Names with their light and dark colours."""
    found = re.findall(pattern + r" light-dark\((#\w{6}), (#\w{6})\)", (PAGES / file).read_text())
    return {name: (light, dark) for name, light, dark in found}


STATUSES = pairs("page.css", r"--(matched|missed|spurious):")
OUTCOMES = pairs("browser.css", r"\.(predicate|reversed|unrelated|object) \{ background:")
SETS = {
    "curves": pairs("page.css", r"\.(s\d) \{ --s:"),
    "statuses": STATUSES,
    "outcomes": {**OUTCOMES, "found": STATUSES["matched"], "failure": STATUSES["spurious"]},
}


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "count"), [("curves", 8), ("statuses", 3), ("outcomes", 6)])
def test_colours_of_pages_differ(name: str, count: int, scheme: int, vision: str) -> None:
    colours = {key: both[scheme] for key, both in SETS[name].items()}
    assert len(colours) == count
    distance, *which = nearest(colours, vision)
    assert distance >= LEAST, which


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_of_pictures_differ(vision: str) -> None:
    for colours in (dict(zip(PALETTE[:12], PALETTE[:12], strict=True)), STATUS_COLOURS):
        distance, *which = nearest(colours, vision)
        assert distance >= LEAST, which


def test_the_simulation_makes_red_and_green_alike_and_keeps_grey() -> None:
    assert nearest({"red": "#a05030", "green": "#707030"}, "normal")[0] > 30
    assert nearest({"red": "#a05030", "green": "#707030"}, "deuteranopia")[0] < 10
    for vision in VISIONS:
        assert abs(lab("#808080", vision)[1:]).max() < 1
