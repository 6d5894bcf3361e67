"""The graph as HTML: all of it shown, everything escaped, and a highlight for every row."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from r1sgg.graph.scene import SceneGraph
from r1sgg.pages.stage import stage

EVIL = '<img src=x onerror="alert(1)">&'


def _graph(count: int = 3, *, scores: bool = True) -> SceneGraph:
    labels = ("man",) * (count - 1) + (EVIL,)
    boxes = np.array([[0.1 * k, 0.1, 0.1 * k + 0.3, 0.9] for k in range(count)])
    return SceneGraph(
        tuple(f"x.{k}" for k in range(count)), labels, boxes, ((0, 1),), (EVIL,),
        np.full(count, 0.5) if scores else None, np.array([0.25]) if scores else None,
    )  # fmt: skip


def test_it_is_well_formed_and_nothing_from_a_model_is_markup() -> None:
    page = stage(Image.new("RGB", (64, 48)), _graph(), EVIL)
    assert "<img" not in page
    root = ElementTree.fromstring(f"<div>{page.partition('</style>')[2]}</div>")
    texts = [element.text for element in root.iter() if element.text]
    assert EVIL in texts
    assert any(f"man 0 {EVIL} man 1" in text for text in texts)
    assert "script" not in page


def test_every_object_has_a_box_and_every_row_lights_its_parts() -> None:
    page = stage(Image.new("RGB", (64, 48)), _graph(4))
    assert [page.count(f'class="tag b{k}"') for k in range(4)] == [2] * 4  # paper and text
    rows = re.findall(r'<li class="([to]\d+)" tabindex="0">', page)
    assert rows == ["t0", "o2", "o3"]  # a triplet, then the objects without one
    active = ".r1:has(.t0:hover,.t0:focus) svg"
    assert f"{active} [class]{{opacity:.1}}{active} .r0,{active} .b0,{active} .b1{{opacity:1}}" in page
    assert f"{active} .b2" not in page


def test_scores_are_shown_where_there_are_any() -> None:
    image = Image.new("RGB", (64, 48))
    assert "<small>0.25</small>" in stage(image, _graph())
    assert "<small>" not in stage(image, _graph(scores=False))


def test_a_large_image_is_reduced_and_an_empty_graph_is_a_picture() -> None:
    page = stage(Image.new("RGB", (4000, 1000)), SceneGraph((), (), np.zeros((0, 4))), "nothing found")
    assert 'viewBox="0 0 480 120"' in page
    assert len(page) < 20_000
    assert "nothing found" in page
    assert "0 objects, 0 relationships" in page
