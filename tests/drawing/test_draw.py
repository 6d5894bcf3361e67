"""Overlays: nothing that a graph may hold stops them, and what they show can be found in their pixels."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from r1sgg.data.base import example_of_record
from r1sgg.data.images import open_image
from r1sgg.drawing.draw import MIN_SIDE, draw
from r1sgg.drawing.layout import DOT, lay_out
from r1sgg.drawing.node_link import Edge, arrange
from r1sgg.drawing.shapes import cut_off, dashes, point_on
from r1sgg.drawing.style import PALETTE, STATUS_COLOURS, display_names, ink_on
from r1sgg.errors import ConfigError, ImageError, InputError
from r1sgg.graph.scene import EMPTY, Relationship, SceneGraph, SceneObject
from r1sgg.graph.text import parse

GREY = Image.new("RGB", (1000, 800), "#808080")


def graph_of(count: int, seed: int = 0) -> SceneGraph:
    """`count` boxes here and there, each related to the next."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 0.7, (count, 2))
    sides = rng.uniform(0.05, 0.3, (count, 2))
    objects = [
        SceneObject(f"thing.{k}", "thing", (x, y, x + w, y + h))
        for k, ((x, y), (w, h)) in enumerate(zip(corners.tolist(), sides.tolist(), strict=True))
    ]
    return SceneGraph.build(objects, [Relationship(k, "near", (k + 1) % count) for k in range(count)])


def pixels_of(
    image: Image.Image, graph: SceneGraph, truth: SceneGraph | None = None, max_side: int = 1280
) -> Image.Image:
    return draw(image, graph, truth, max_side=max_side).to_image()


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def holds(image: Image.Image, colour: str) -> bool:
    return bool((np.asarray(image) == rgb(colour)).all(axis=-1).any())


def test_an_empty_graph_leaves_the_picture_as_it_is() -> None:
    assert np.array_equal(np.asarray(pixels_of(GREY, EMPTY)), np.asarray(GREY))


def test_a_box_is_painted_where_it_is_and_its_inside_is_left_alone() -> None:
    graph = SceneGraph.build([SceneObject("dog.1", "dog", (0.25, 0.25, 0.75, 0.75))])
    pixels = np.asarray(pixels_of(GREY, graph)).astype(int)
    changed = (pixels != 0x80).any(axis=-1)
    assert changed[400, 245:255].any()
    assert changed[400, 745:755].any()
    assert changed[595:605, 500].any()
    assert not changed[300:590, 260:740].any()
    assert not changed[:, :200].any()


def test_relations_add_a_legend_and_leave_out_nothing() -> None:
    drawn = pixels_of(GREY, graph_of(30))
    assert drawn.size != GREY.size
    assert drawn.width >= GREY.width
    assert all(holds(drawn, colour) for colour in PALETTE[:30])


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (37, 21), (3000, 2000)])
def test_any_size_of_image_gives_a_readable_one(size: tuple[int, int]) -> None:
    drawn = pixels_of(Image.new("RGB", size), graph_of(5))
    assert max(drawn.size) >= MIN_SIDE


def test_the_longer_side_is_bounded() -> None:
    assert max(pixels_of(Image.new("RGB", (3000, 2000)), EMPTY, max_side=1200).size) == 1200
    assert max(pixels_of(Image.new("RGB", (90, 60)), EMPTY, max_side=300).size) == 300


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_any_mode_of_image_is_drawn_on(mode: str) -> None:
    assert pixels_of(Image.new(mode, (50, 50)), graph_of(2)).mode == "RGB"


def test_a_graph_that_a_model_made_up_does_not_stop_it() -> None:
    text = json.dumps(
        {
            "objects": [
                {"id": "far away.1", "bbox": [-90000, -5, 90000, 5]},
                {"id": "flat.1", "bbox": [10, 10, 10, 10]},
                {"id": "outside.1", "bbox": [5000, 5000, 6000, 6000]},
                {"id": "猫.1", "bbox": [10, 10, 400, 400]},
                {"id": "long" * 60 + ".1", "bbox": [0, 0, 1000, 1000]},
            ],
            "relationships": [
                {"subject": "flat.1", "predicate": "on", "object": "flat.1"},
                *[{"subject": "flat.1", "predicate": f"p{k}", "object": "outside.1"} for k in range(300)],
            ],
        }
    )
    graph = parse(text, (1000, 1000)).graph
    assert len(graph) >= 4
    assert pixels_of(GREY, graph, truth=graph_of(3)).width >= GREY.width


def test_truth_colours_what_was_matched_missed_and_made_up() -> None:
    objects = [SceneObject("a.1", "a", (0.1, 0.1, 0.4, 0.4)), SceneObject("b.1", "b", (0.6, 0.6, 0.9, 0.9))]
    truth = SceneGraph.build(objects, [Relationship(0, "on", 1), Relationship(1, "has", 0)])
    graph = SceneGraph.build(objects, [Relationship(0, "on", 1), Relationship(0, "near", 1)])
    assert all(holds(pixels_of(GREY, graph, truth=truth), c) for c in STATUS_COLOURS.values())
    perfect = pixels_of(GREY, truth, truth=truth)
    assert holds(perfect, STATUS_COLOURS["matched"])
    assert not holds(perfect, STATUS_COLOURS["missed"])
    assert not holds(perfect, STATUS_COLOURS["spurious"])
    assert not any(holds(pixels_of(GREY, truth), c) for c in (STATUS_COLOURS["matched"], STATUS_COLOURS["missed"]))


def test_tags_keep_inside_the_picture_and_apart() -> None:
    layout = lay_out(graph_of(30), (1200, 900), 13.0, numbers=True)
    rects = [b.tag.rect for b in layout.boxes] + [a.tag.rect for a in layout.arrows]
    assert len(rects) == 60
    assert all(x1 >= 0 and y1 >= 0 and x2 <= 1200 and y2 <= 900 for x1, y1, x2, y2 in rects)
    area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rects)
    cover = np.zeros((900, 1200), dtype=int)
    for x1, y1, x2, y2 in rects:
        cover[round(y1) : round(y2), round(x1) : round(x2)] += 1
    assert (cover > 1).sum() < 0.03 * area


def test_a_number_replaces_a_predicate_that_has_no_room() -> None:
    crowd = graph_of(40)
    small = lay_out(crowd, (300, 200), 13.0, numbers=True)
    assert small.numbered
    shown = {a.tag.text for a in small.arrows}
    assert {a.number for a in small.arrows if a.tag.text != "near"} == {int(t) for t in shown - {"near"}}
    assert not lay_out(crowd, (300, 200), 13.0).numbered
    assert not lay_out(graph_of(4), (900, 600), 13.0, numbers=True).numbered


def test_dots_of_boxes_that_share_a_centre_are_apart_and_arrows_end_at_them() -> None:
    boxes = [(0.1, 0.1, 0.9, 0.9), (0.2, 0.2, 0.8, 0.8), (0.3, 0.3, 0.7, 0.7)]
    objects = [SceneObject(f"a.{k}", "a", box) for k, box in enumerate(boxes)]
    graph = SceneGraph.build(objects, [Relationship(0, "on", 1), Relationship(1, "on", 2), Relationship(2, "on", 2)])
    layout = lay_out(graph, (1000, 1000), 13.0)
    dots = {b.index: b.dot for b in layout.boxes}
    assert min(np.hypot(*np.subtract(dots[i], dots[j])) for i, j in ((0, 1), (0, 2), (1, 2))) > 3 * DOT
    for box in layout.boxes:
        assert box.rect[0] <= box.dot[0] <= box.rect[2]
    first = layout.arrows[0]
    assert DOT <= np.hypot(*np.subtract(first.curve[2], dots[1])) < 3 * DOT
    assert first.curve[0] == dots[0]


def test_relations_of_a_pair_share_an_arrow_per_status() -> None:
    objects = graph_of(2).objects
    graph = SceneGraph.build(objects, [Relationship(0, p, 1) for p in ("on", "near", "on")])
    (arrow,) = lay_out(graph, (100, 100), 13.0).arrows
    assert arrow.tag.text == "on x2, near"
    assert arrow.indices == (0, 1, 2)
    statuses = ["matched", "spurious", "spurious"]
    arrows = lay_out(graph, (100, 100), 13.0, statuses).arrows
    assert [(a.status, a.indices) for a in arrows] == [("matched", (0,)), ("spurious", (1, 2))]
    assert arrows[0].curve[1] != arrows[1].curve[1]


def test_names_are_numbered_only_where_needed_and_as_in_the_text() -> None:
    boxes = (0.0, 0.0, 0.5, 0.5)
    ids = ("man.2", "man.7", "dog.1", "cat", "cat.b")
    graph = SceneGraph.build([SceneObject(i, i.split(".")[0], boxes) for i in ids])
    assert display_names(graph) == ["man 2", "man 7", "dog", "cat 1", "cat 2"]


def test_every_colour_has_ink_that_can_be_read() -> None:
    def luminance(colour: str) -> float:
        c = np.array(rgb(colour)) / 255
        return float(np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))

    for colour in PALETTE:
        dark, light = sorted((luminance(colour), luminance(ink_on(colour))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA


def test_the_graph_beside_the_image_shows_every_object_once() -> None:
    graph = graph_of(12)
    alone, both = draw(GREY, graph), draw(GREY, graph, beside=True)
    assert both.width > alone.width
    assert both.to_svg().count(">thing 3</text>") == alone.to_svg().count(">thing 3</text>") + 1


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_names_of_the_graph_drawing_keep_apart(count: int) -> None:
    rng = np.random.default_rng(count)
    places = rng.uniform(0, 1, (count, 2)) * 0.01  # all at one place
    edges = [Edge(k, int(rng.integers(count)), (20.0, 18.0)) for k in range(count)]
    found = arrange(places, [(90.0, 28.0)] * count, edges, 900.0)
    rects = np.array(found.nodes).reshape(-1, 4)
    for k in range(count):
        w = np.minimum(rects[k, 2], rects[:, 2]) - np.maximum(rects[k, 0], rects[:, 0])
        h = np.minimum(rects[k, 3], rects[:, 3]) - np.maximum(rects[k, 1], rects[:, 1])
        assert ((w > 1) & (h > 1)).sum() == 1  # itself
    assert (rects[:, 0] >= 0).all()
    assert (rects[:, 2] <= 901).all()
    assert (rects[:, 3] <= found.height).all()


def test_svg_is_whole_and_holds_names_as_text(tmp_path: Path) -> None:
    odd = '<script>alert("1")</script> & \x00猫'
    objects = [SceneObject("a.1", odd, (0.1, 0.1, 0.4, 0.4)), SceneObject("b.1", "b", (0.6, 0.6, 0.9, 0.9))]
    graph = SceneGraph.build(objects, [Relationship(0, "on <b>", 1)])
    draw(GREY, graph, graph, beside=True, title="a < b").save(tmp_path / "deep" / "picture.svg")
    root = ElementTree.parse(tmp_path / "deep" / "picture.svg").getroot()
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    texts = [e.text or "" for e in root.iter() if e.tag.endswith("text")]
    assert any(t.startswith("<script>") for t in texts)
    assert "on <b>" in texts
    assert root[0].text == "a < b"
    hrefs = [e.get("href") or "" for e in root.iter() if e.tag.endswith("image")]
    assert len(hrefs) == 2
    assert all(h.startswith("data:image/jpeg;base64,") for h in hrefs)


def test_png_and_svg_have_the_same_size(tmp_path: Path) -> None:
    drawing = draw(GREY, graph_of(5))
    drawing.save(tmp_path / "a.png")
    drawing.save(tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    with Image.open(tmp_path / "a.png") as image:
        assert (str(image.width), str(image.height)) == (root.get("width"), root.get("height"))
    with pytest.raises(ConfigError, match=r"\.png or \.svg"):
        drawing.save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="a place to write"):
        drawing.save(tmp_path / "a.png" / "b.png")


def test_part_of_a_curve_lies_on_it() -> None:
    curve = ((0.0, 0.0), (50.0, 80.0), (100.0, 0.0))
    part = cut_off(curve, 0.7)
    for t in (0.0, 0.3, 1.0):
        assert point_on(part, t) == pytest.approx(point_on(curve, 0.7 * t))


def test_dashes_cover_their_share_of_the_line_and_go_around_corners() -> None:
    pieces = list(dashes([(0, 0), (33, 0), (33, 40)], (6.0, 4.0)))
    lengths = [sum(np.hypot(*np.subtract(a, b)) for a, b in itertools.pairwise(piece)) for piece in pieces]
    assert lengths == pytest.approx([6, 6, 6, 6, 6, 6, 6, 3])
    assert pieces[0] == [(0, 0), (6, 0)]
    assert pieces[3] == [(30, 0), (33, 0), (33, 3)]
    assert list(dashes([(5, 5), (5, 5)])) == []


def test_the_same_graph_gives_the_same_files(tmp_path: Path) -> None:
    graph, truth = graph_of(9, 1), graph_of(9, 2)
    for kind in ("png", "svg"):
        for name in ("a", "b"):
            draw(GREY, graph, truth, beside=True).save(tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_file_is_drawn_like_its_image(tmp_path: Path) -> None:
    GREY.save(tmp_path / "grey.png")
    graph = graph_of(2)
    assert draw(tmp_path / "grey.png", graph).to_svg() == draw(GREY, graph)._repr_svg_()
    with pytest.raises(ImageError, match=r"no\.png"):
        draw(str(tmp_path / "no.png"), graph)


def test_elements_say_what_they_belong_to() -> None:
    graph = SceneGraph.build(
        [SceneObject("a.1", "a", (0.1, 0.1, 0.4, 0.4)), SceneObject("b.1", "b", (0.6, 0.6, 0.9, 0.9))],
        [Relationship(0, "on", 1), Relationship(0, "near", 1)],
    )
    root = ElementTree.fromstring(draw(GREY, graph).to_svg())
    classes = [e.get("class") for e in root.iter() if e.get("class")]
    assert set(classes) == {"box b0", "box b1", "tag b0", "tag b1", "arrow b0", "arrow b1", "arrow r0 r1"}


def test_real_photos_with_many_objects(shared: Path) -> None:
    folder = shared / "data" / "vg_sample"
    rows = {r["image_id"]: r for r in json.loads((folder / "vg150_style_images_1-49.json").read_text())}
    for name in (1, 2, 5):
        photo = open_image(folder / "images" / f"{name}.jpg")
        row = {**rows[name], "width": photo.width, "height": photo.height}
        example = example_of_record(row, f"image {name}", folder)
        drawn = pixels_of(photo, example.graph)
        assert drawn.width >= MIN_SIDE
        assert drawn.height > drawn.width * photo.height // photo.width  # the legend is below
