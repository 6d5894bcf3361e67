"""Lines of a predictions file: rows with scores in the frame of the completion."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from r1sgg.data.predictions import prediction_of_record
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import Parsed, render
from r1sgg.inference.engine import Completion
from r1sgg.inference.lines import prediction_line
from r1sgg.inference.reader import Reading

BOXES = np.array([[0.1234567, 0.2, 0.3, 0.9], [0.5, 0.5, 0.50001, 1.0]])
GRAPH = SceneGraph(
    ("man.1", "pole.1"), ("man", "pole"), BOXES, ((0, 1),), ("near",), np.array([0.5, 1 / 3]), np.array([0.25])
)


@pytest.mark.parametrize(
    ("frame", "off"), [((1000.0, 1000.0), 0.005 / 1000), ((640.0, 480.0), 0.005 / 480), ((1.0, 1.0), 5e-7)]
)
def test_scored_rows_are_as_precise_in_every_frame(frame: tuple[float, float], off: float) -> None:
    """A frame of 1, whose hundredths would be a coarse grid, has more digits; a thin box keeps its area."""
    completion = Completion(render(GRAPH, (1000, 1000)), 9, "stop")
    reading = Reading(Image.new("RGB", (64, 48)), frame, completion, Parsed(GRAPH))
    row = json.loads(json.dumps({"image_id": "1", **prediction_line(reading, "tiny")}))
    graph = prediction_of_record({key: v for key, v in row.items() if key != "completion"}, "line").read().graph
    np.testing.assert_allclose(graph.boxes, GRAPH.boxes, rtol=0, atol=off * 1.01)
    assert (graph.boxes[:, :2] < graph.boxes[:, 2:]).all()
    assert graph.object_scores is not None
    assert graph.object_scores.tolist() == [0.5, 0.333333]
    assert [r.score for r in graph.relationships] == [0.25]
    assert graph.triplets == GRAPH.triplets


def test_rows_are_written_only_with_scores_and_an_error_stands_alone() -> None:
    plain = SceneGraph(GRAPH.ids, GRAPH.labels, GRAPH.boxes)
    picture = Image.new("RGB", (64, 48))
    said = Reading(picture, (1000.0, 1000.0), Completion("{}", 1, "stop"), Parsed(plain))
    assert "objects" not in prediction_line(said, "tiny")
    failed = Reading(picture, (1000.0, 1000.0), Completion("", 0, "error", error="no\udc80 answer"), Parsed(plain))
    assert prediction_line(failed, "tiny") == {"error": "no\\udc80 answer"}
