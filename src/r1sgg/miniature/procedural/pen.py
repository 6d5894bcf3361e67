"""The pen that draws pictograms: filled shapes on a square of 100 x 100 units, y downwards.

It knows no classes. A drawing is scaled down later, which also smooths its edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Anchors = dict[str, tuple[float, float, float]]
"""Named positions where another pictogram may be joined: (lowest x, highest x, y) in units."""
Drawing = Callable[["Pen", str, int], Anchors]
"""A function that draws one class in a pose and a colour variant, and returns its anchors."""

RESOLUTION = 2
"""Raster pixels per unit."""
_MARGIN = 25

BLACK: Colour = (35, 32, 38)
WHITE: Colour = (248, 247, 243)
GREY: Colour = (150, 152, 158)
BROWN: Colour = (126, 80, 44)


class Pen:
    """Draws on a transparent image of 150 x 150 units whose origin is 25 units inside."""

    def __init__(self) -> None:
        side = (100 + 2 * _MARGIN) * RESOLUTION
        self.image = Image.new("RGBA", (side, side))
        self._draw = ImageDraw.Draw(self.image)

    def poly(self, points: Sequence[Point], fill: Colour) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([_raster(x, y) for x, y in points], fill=fill)

    def rect(self, x1: float, y1: float, x2: float, y2: float, fill: Colour, radius: float = 0) -> None:
        """Draw a filled rectangle, with round corners if a radius is given."""
        corners = (*_raster(x1, y1), *_raster(x2, y2))
        self._draw.rounded_rectangle(corners, radius * RESOLUTION, fill=fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """Draw a filled ellipse by its centre and radii."""
        self._draw.ellipse((*_raster(x - rx, y - ry), *_raster(x + rx, y + ry)), fill=fill)

    def ring(self, x: float, y: float, r: float, width: float, colour: Colour) -> None:
        """Draw a circle."""
        corners = (*_raster(x - r, y - r), *_raster(x + r, y + r))
        self._draw.ellipse(corners, outline=colour, width=round(width * RESOLUTION))

    def pie(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour) -> None:
        """Draw a slice of an ellipse; angles in degrees, clockwise from the right."""
        self._draw.pieslice((*_raster(x - rx, y - ry), *_raster(x + rx, y + ry)), start, end, fill=fill)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a thick line with round corners and ends."""
        self._draw.line([_raster(x, y) for x, y in points], fill=colour, width=round(width * RESOLUTION), joint="curve")
        for x, y in points:
            self.oval(x, y, width / 2, width / 2, colour)


def to_units(x: float, y: float) -> Point:
    """Return a raster position in units."""
    return x / RESOLUTION - _MARGIN, y / RESOLUTION - _MARGIN


def _raster(x: float, y: float) -> Point:
    return (x + _MARGIN) * RESOLUTION, (y + _MARGIN) * RESOLUTION
