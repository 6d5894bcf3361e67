"""A drawing (`r1sgg.drawing.shapes`) as an SVG document that needs nothing beside it."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

from PIL import Image

from r1sgg.drawing.shapes import DASH, Dot, Drawing, Line, Photo, Polygon, Rectangle, Shape, Text, text_width
from r1sgg.exports.record import xml_text

_FAMILY = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"


def to_svg(drawing: Drawing) -> str:
    """The drawing as an SVG document that needs nothing beside it: photos are embedded as JPEG."""
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(drawing.width),
            "height": str(drawing.height),
            "viewBox": f"0 0 {drawing.width} {drawing.height}",
            "role": "img",
            "font-family": _FAMILY,
        },
    )
    for tag, words in (("title", drawing.title), ("desc", drawing.words)):
        if words:
            ElementTree.SubElement(root, tag).text = xml_text(words)
    ElementTree.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": drawing.paper})
    for shape in drawing.shapes:
        root.append(_element(shape))
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _element(shape: Shape) -> ElementTree.Element:
    if isinstance(shape, Rectangle):
        x1, y1, x2, y2 = shape.rect
        attributes = {"x": _n(x1), "y": _n(y1), "width": _n(x2 - x1), "height": _n(y2 - y1)}
        if shape.radius:
            attributes["rx"] = _n(shape.radius)
        return _styled("rect", attributes, shape.fill, shape.stroke, shape.width, shape.dashed)
    if isinstance(shape, Line):
        first, *others = ((_n(x), _n(y)) for x, y in shape.points)
        letter = "Q" if shape.curved and len(others) == 2 else "L"
        path = f"M{' '.join(first)}{letter}{' '.join(' '.join(p) for p in others)}"
        element = _styled("path", {"d": path}, "", shape.stroke, shape.width, shape.dashed)
        element.set("stroke-linecap", "round" if not shape.dashed else "butt")
        element.set("stroke-linejoin", "round")
        return element
    if isinstance(shape, Polygon):
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
        element = _styled("polygon", {"points": points}, shape.fill, shape.stroke, shape.width * 2)
        element.set("paint-order", "stroke")
        return element
    if isinstance(shape, Dot):
        attributes = {"cx": _n(shape.centre[0]), "cy": _n(shape.centre[1]), "r": _n(shape.radius)}
        return _styled("circle", attributes, shape.fill, shape.stroke, shape.width)
    if isinstance(shape, Photo):
        x1, y1, x2, y2 = shape.rect
        attributes = {"x": _n(x1), "y": _n(y1), "width": _n(x2 - x1), "height": _n(y2 - y1)}
        attributes |= {"preserveAspectRatio": "none", "href": _data_uri(shape.image)}
        return ElementTree.Element("image", attributes)
    return _text_element(shape)


def _text_element(shape: Text) -> ElementTree.Element:
    attributes = {"x": _n(shape.at[0]), "y": _n(shape.at[1]), "font-size": _n(shape.size), "fill": shape.ink}
    attributes["dominant-baseline"] = "central"
    if shape.anchor != "start":
        attributes["text-anchor"] = shape.anchor
    if shape.text.isascii() and len(shape.text) > 1:  # the width that tags were made for, whatever the viewer's font
        attributes |= {"textLength": _n(text_width(shape.text, shape.size)), "lengthAdjust": "spacingAndGlyphs"}
    element = ElementTree.Element("text", attributes)
    element.text = xml_text(shape.text)
    return element


def _styled(
    tag: str, attributes: dict[str, str], fill: str, stroke: str, width: float, dashed: bool = False
) -> ElementTree.Element:
    element = ElementTree.Element(tag, attributes)
    for name, colour in (("fill", fill), ("stroke", stroke)):
        if not colour:
            element.set(name, "none")
        else:
            element.set(name, colour[:7])
            if len(colour) == 9:
                element.set(f"{name}-opacity", _n(int(colour[7:], 16) / 255))
    if stroke:
        element.set("stroke-width", _n(width))
        if dashed:
            element.set("stroke-dasharray", " ".join(map(_n, DASH)))
    return element


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
