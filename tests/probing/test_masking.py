"""Masking is exact, seeded and clipped; and the prompts say what their setting says."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from r1sgg.data.base import Example
from r1sgg.errors import ConfigError
from r1sgg.graph.scene import Relationship, SceneGraph, SceneObject
from r1sgg.graph.vocabulary import VG150
from r1sgg.models.coordinates import Placement, pad_to_square, placement
from r1sgg.probing.masking import blacken, noise, shown_image
from r1sgg.probing.prompts import SETTINGS, Setting, parse_settings, question_text
from r1sgg.probing.questions import Question, build_questions

WIDTH, HEIGHT = 37, 23
IMAGE = Image.fromarray(np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
CORNERS = st.floats(-0.4, 1.4)


def question(image_id: str = "1") -> Question:
    objects = [SceneObject("man.1", "man", (0.1, 0.2, 0.5, 0.8)), SceneObject("horse.1", "horse", (0.4, 0.5, 1, 1))]
    graph = SceneGraph.build(objects, [Relationship(0, "riding", 1)])
    return build_questions([Example(image_id, WIDTH, HEIGHT, graph)], vocabulary=VG150).questions[0]


@settings(max_examples=100)
@given(st.lists(st.tuples(CORNERS, CORNERS, CORNERS, CORNERS), min_size=1, max_size=2))
def test_exactly_the_pixels_that_a_box_touches_are_black(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners])
    masked = np.asarray(blacken(IMAGE, boxes))
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    touched = np.zeros((HEIGHT, WIDTH), bool)
    for x1, y1, x2, y2 in np.round(boxes * [WIDTH, HEIGHT, WIDTH, HEIGHT], 6):
        touched |= (columns + 1 > x1) & (columns < x2) & (rows + 1 > y1) & (rows < y2)
    assert (masked[touched] == 0).all()
    assert (masked[~touched] == np.asarray(IMAGE)[~touched]).all()


def test_a_pixel_grid_box_hides_its_pixels_and_no_others() -> None:
    box = np.array([[3 / WIDTH, 5 / HEIGHT, 9 / WIDTH, 20 / HEIGHT]])
    black = (np.asarray(blacken(IMAGE, box)) == 0).all(-1)
    assert black.sum() == 6 * 15
    assert black[5:20, 3:9].all()
    whole = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert not np.asarray(blacken(IMAGE, whole)).any()
    beyond = np.array([[-1.0, -1.0, 3 / WIDTH, 4 / HEIGHT]])
    assert (np.asarray(blacken(IMAGE, beyond)) == 0).all(-1).sum() == 12


def test_what_is_shown() -> None:
    asked = question()
    before = IMAGE.tobytes()
    assert shown_image(IMAGE, "original", asked, 0) is IMAGE
    hidden = shown_image(IMAGE, "masked-objects", asked, 0)
    assert hidden.tobytes() == blacken(IMAGE, asked.example.graph.boxes).tobytes() != before
    other = shown_image(IMAGE, "masked-image", asked, 0)
    assert other.size == IMAGE.size
    assert IMAGE.tobytes() == before, "the image itself stays"


def test_noise_follows_seed_and_image_and_nothing_else() -> None:
    def shown(seed: int, image_id: str) -> bytes:
        return shown_image(IMAGE, "masked-image", question(image_id), seed).tobytes()

    assert shown(0, "1") == shown(0, "1")
    assert len({shown(0, "1"), shown(1, "1"), shown(0, "2")}) == 3
    values = np.asarray(noise((200, 100), "a"))
    assert values.shape == (100, 200, 3)
    assert (values.min(), values.max()) == (0, 255)
    assert abs(values.mean() - 127.5) < 1.5
    assert len(np.unique(values)) == 256


# ---------------------------------------------------------------- prompts

PIXELS = Placement((WIDTH, HEIGHT), (WIDTH, HEIGHT))


def test_the_paper_s_words() -> None:
    asked = question()
    a, b, c, d = asked.options
    assert question_text(asked, "names+boxes", PIXELS) == (
        'Analyze the relationship between the object "man" at [4, 5, 18, 18] and the object "horse" at '
        "[15, 12, 37, 23] in an image of size (37x23). The bounding boxes are in [x1, y1, x2, y2] format. "
        f"Choose the most appropriate relationship from the following options: A) {a} B) {b} C) {c} D) {d}"
    )


def test_what_is_left_out_is_not_there() -> None:
    asked = question()
    nameless, boxless = (question_text(asked, told, PIXELS) for told in ("no-names", "no-boxes"))
    assert "man" not in nameless.partition("Choose")[0]
    assert "horse" not in nameless
    assert "[4, 5, 18, 18]" in nameless
    assert "[" not in boxless
    assert "bounding" not in boxless
    assert '"man" and the object "horse" in an image of size (37x23). Choose' in boxless


@pytest.mark.parametrize(
    ("convention", "size", "expected"),
    [
        ("thousandths", "(1000x1000)", "[100, 200, 500, 800]"),
        ("image_pixels", "(37x23)", "[4, 5, 18, 18]"),
        ("padded_square", "(1x1)", "[0.100, 0.314, 0.500, 0.686]"),
    ],
)
def test_boxes_are_in_the_family_s_coordinates(convention: str, size: str, expected: str) -> None:
    text = question_text(question(), "names+boxes", placement(convention, (WIDTH, HEIGHT), None))
    assert f'"man" at {expected}' in text
    assert size in text


@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_survives_the_padded_square(width: int, height: int, box: list[float]) -> None:
    place = placement("padded_square", (width, height), None)
    boxes = np.array([box])
    read = (place.write(boxes) - np.array(place.offset * 2)) / np.array(place.image * 2)
    assert np.abs(read - boxes).max() <= 0.00051 * max(width, height) / min(width, height)


def test_the_padded_square_holds_the_image_where_its_coordinates_say() -> None:
    colour = (122, 116, 104)
    for size in ((40, 30), (30, 41), (20, 20)):
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        square = pad_to_square(image, colour, centred=True)
        assert square.size == (max(size), max(size))
        place = placement("padded_square", size, None)
        corners = np.array([[0.0, 0.0, 1.0, 1.0]]) * (place.image * 2) + place.offset * 2
        x1, y1, x2, y2 = np.round(corners[0] * max(size)).astype(int).tolist()
        assert square.crop((x1, y1, x2, y2)).tobytes() == image.tobytes()
        outside = np.ones((max(size), max(size)), bool)
        outside[y1:y2, x1:x2] = False
        assert (np.asarray(square)[outside] == colour).all()


def test_settings_by_name_and_pattern() -> None:
    assert len(set(SETTINGS)) == 9
    assert parse_settings("all") == SETTINGS
    assert parse_settings("masked-image/no-boxes, original/*") == (*SETTINGS[:3], SETTINGS[5])
    assert str(SETTINGS[0]) == "original/names+boxes"
    assert SETTINGS[-1] == Setting("masked-objects", "no-boxes")
    with pytest.raises(ConfigError, match="'blurred/no-names'"):
        parse_settings("blurred/no-names")


def test_options_in_another_order_keep_the_letters_order() -> None:
    asked = question()
    turned = question_text(asked, "no-boxes", PIXELS, asked.options[1:] + asked.options[:1])
    assert f"A) {asked.options[1]} B) {asked.options[2]} C) {asked.options[3]} D) {asked.options[0]}" in turned
    assert dataclasses.replace(asked, answer=2).predicate == asked.options[2]
