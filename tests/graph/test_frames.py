"""`BoxFrame`: what is written comes back, for every convention; and the forms of "frame" in a file."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1sgg.errors import InputError
from r1sgg.graph.frames import BoxFrame, frame_of_value, frame_to_value, size_of
from r1sgg.graph.text import parse

SIZES = st.tuples(st.floats(0.5, 4000), st.floats(0.5, 4000))
FRAMES = st.builds(
    BoxFrame,
    SIZES,
    st.sampled_from(["xy", "yx"]),
    st.sampled_from(["corners", "size", "centre"]),
    st.sampled_from([0.0, 0.5]),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
SIDES = st.tuples(st.floats(0, 0.5), st.floats(0.51, 1))


@given(FRAMES, st.lists(st.tuples(SIDES, SIDES), max_size=6))
def test_round_trip(frame: BoxFrame, sides: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    boxes = np.array([[x1, y1, x2, y2] for (x1, x2), (y1, y2) in sides]).reshape(-1, 4)
    written = frame.written(boxes)
    np.testing.assert_allclose(frame.fractions(written), boxes, atol=1e-9 * max(1, 1e3 / min(frame.size)))


@given(FRAMES)
def test_a_frame_in_a_file(frame: BoxFrame) -> None:
    again = frame_of_value(frame_to_value(frame), "here")
    assert again == frame  # also where it says what a size alone would: a dialect has another order of its own
    assert frame_of_value({"size": list(frame.size)}, "here") == frame.size
    assert size_of(again) == frame.size


@pytest.mark.parametrize(
    ("frame", "written"),
    [
        (BoxFrame((1000, 500)), [100, 100, 300, 400]),
        (BoxFrame((1000, 500), axes="yx"), [100, 100, 400, 300]),
        (BoxFrame((1000, 500), shape="size"), [100, 100, 200, 300]),
        (BoxFrame((1000, 500), axes="yx", shape="size"), [100, 100, 300, 200]),
        (BoxFrame((1000, 500), shape="centre"), [200, 250, 200, 300]),
        (BoxFrame((1000, 500), offset=0.5), [99.5, 99.5, 299.5, 399.5]),
        (BoxFrame((1000, 500), origin=(0, 250)), [100, 350, 300, 650]),
        (BoxFrame((1, 1)), [0.1, 0.2, 0.3, 0.8]),
    ],
)
def test_by_hand(frame: BoxFrame, written: list[float]) -> None:
    want = [0.1, 0.2, 0.3, 0.8]
    assert frame.fractions(np.array(written)).tolist()[0] == pytest.approx(want)
    assert frame.written(np.array(want)).tolist()[0] == pytest.approx(written)
    text = json.dumps({"objects": [{"id": "a.1", "bbox": written}], "relationships": []})
    parsed = parse(text, frame)
    assert not parsed.issues
    assert parsed.graph.boxes[0].tolist() == pytest.approx(want)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500)])
def test_a_padded_square(size: tuple[float, float]) -> None:
    frame = BoxFrame.padded(999, size)
    (x1, y1, x2, y2) = frame.written(np.array([0.0, 0, 1, 1]))[0].tolist()
    assert (x2 - x1) / (y2 - y1) == pytest.approx(size[0] / size[1])
    assert max(x2 - x1, y2 - y1) == pytest.approx(999)
    assert (x1 + x2, y1 + y2) == pytest.approx((999, 999))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"here: expected \[width, height\]"),
        ([1, 0], r"here: expected \[width, height\]"),
        ([1, True], r"here: expected \[width, height\]"),
        ({"axes": "yx"}, r"here.size: expected \[width, height\]"),
        ({"size": [1, 1], "order": "yx"}, r"here.order: expected only the keys size, axes, shape, offset, origin"),
        ({"size": [1, 1], "axes": "yz"}, r"here.axes: expected one of xy, yx"),
        ({"size": [1, 1], "shape": "xywh"}, r"here.shape: expected one of corners, size, centre"),
        ({"size": [1, 1], "offset": "1"}, r"here.offset: expected a number"),
        ({"size": [1, 1], "origin": [1]}, r"here.origin: expected \[x, y\]"),
    ],
)
def test_a_wrong_frame_is_one_sentence(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        frame_of_value(value, "here")
