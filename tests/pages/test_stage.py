"""The graph as HTML: all of it shown, everything escaped, and a highlight for every row."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from r1sgg.graph.scene import SceneGraph
from r1sgg.pages.stage import stage, write_stage

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
    assert "<img src=x" not in page
    markup = re.sub(r"<img[^>]*>", "<img/>", page.partition("</style>")[2], count=1)  # the photo, as XML has it
    root = ElementTree.fromstring(f"<div>{markup}</div>")
    texts = ["".join(element.itertext()) for element in root.iter()]
    assert EVIL in texts
    assert f"man 0 {EVIL} man 1" in texts
    assert "script" not in page


def test_every_object_has_a_box_and_every_row_lights_its_parts() -> None:
    page = stage(Image.new("RGB", (64, 48)), _graph(4))
    assert [len(re.findall(rf'class="tag b{k}( crowded)?"', page)) for k in range(4)] == [4] * 4  # both layouts
    rows = re.findall(r'<li class="([to]\d+)" tabindex="0">', page)
    assert rows == ["t0", "o2", "o3"]  # a triplet, then the objects without one
    active = ".r1:has(.t0:hover,.t0:focus) svg"
    assert f"{active} [class]{{opacity:.1}}{active} .r0,{active} .b0,{active} .b1{{opacity:1!important}}" in page
    assert f"{active} .b2" not in page
    # the other way
    assert ".r1:has(svg .b0:hover) :is(.t0){" in page
    assert ".r1:has(svg .b2:hover) :is(.o2){" in page


def test_triplets_are_sorted_by_score_and_scores_are_shown_where_there_are_any() -> None:
    image = Image.new("RGB", (64, 48))
    assert '<span class="score">0.25</span>' in stage(image, _graph())
    assert 'class="score"' not in stage(image, _graph(scores=False))
    pairs, predicates = ((0, 1), (1, 2), (2, 0)), ("on", "near", "under")
    several = replace(_graph(), pairs=pairs, predicates=predicates, relationship_scores=np.array([0.2, 0.9, 0.5]))
    assert re.findall(r'<li class="(t\d)"', stage(image, several)) == ["t1", "t2", "t0"]


def test_a_predicate_without_room_has_its_number_in_the_list() -> None:
    count = 12
    boxes = np.array([[0.4, 0.4, 0.6, 0.6]] * count) + np.arange(count)[:, None] / 400
    pairs = tuple((k, (k + 1) % count) for k in range(count))
    names = tuple(f"x.{k}" for k in range(count))
    page = stage(
        Image.new("RGB", (64, 48)), SceneGraph(names, ("man",) * count, boxes, pairs, ("standing on",) * count)
    )
    numbers = re.findall(r"<b>(\d+)</b>", page)
    assert numbers == [str(k) for k in range(1, count + 1)]
    assert set(re.findall(r'class="arrow r\d+[^"]*">(\d+)<', page)) <= set(numbers)


def test_a_large_image_is_reduced_and_an_empty_graph_is_a_picture() -> None:
    page = stage(Image.new("RGB", (4000, 1000)), SceneGraph((), (), np.zeros((0, 4))), "nothing found")
    assert 'viewBox="0 0 560 140"' in page
    assert 'viewBox="0 0 360 90"' in page
    assert page.count("data:image/jpeg") == 1
    assert len(page) < 20_000
    assert "0 objects, 0 relationships · nothing found" in page


def test_a_stage_is_saved_as_a_page_without_a_script(tmp_path: Path) -> None:
    write_stage(tmp_path / "graph.html", Image.new("RGB", (64, 48)), _graph(), "Scene graph")
    text = (tmp_path / "graph.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    assert "<script" not in text
    assert 'class="r1"' in text
