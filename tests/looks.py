"""What a page must keep at every width and in both colour schemes: nothing sticks out, every text can be read.

    page = browser_page(url, width=390, colour_scheme="dark")
    assert faults(page) == []
    assert overlaps(page, "svg .tag rect") == []

Contrast is computed from computed styles, as WCAG 2 defines it, for every text node, SVG texts and placeholders
included: 4.5 to 1 for all of them, large or small. Disabled controls are left out, as WCAG does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

VARIANTS = pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
)
CONTRAST = 4.5

_SCRIPT = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """Return what sticks out of the page, and every text with too little contrast."""
    found: list[str] = page.evaluate(f"{_SCRIPT}\nfaults({CONTRAST})")
    return found


def overlaps(page: Page, selector: str, *, at_least: int = 1) -> list[str]:
    """Return pairs of labels that are seen and overlap in one picture; there must be `at_least` labels to compare."""
    result = page.evaluate(f"{_SCRIPT}\noverlaps({json.dumps(selector)})")
    assert result["count"] >= at_least, f"{result['count']} labels"
    found: list[str] = result["found"]
    return found
