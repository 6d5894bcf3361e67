"""The checkpoint inside the package reads drawn scenes that it was not trained on."""

from r1sgg import load
from r1sgg.data.base import Prediction
from r1sgg.graph.text import render
from r1sgg.metrics import evaluate
from r1sgg.miniature.scenes import SMALL, scene, split_seeds

SCENES = 30


def test_tiny_reads_drawn_scenes_and_says_that_it_reads_nothing_else(caplog):
    read = load("tiny")
    (said,) = [record.message for record in caplog.records if record.name == "r1sgg.inference.engines"]
    assert said.startswith("tiny knows drawn scenes only")
    scenes = [scene(seed, SMALL) for seed in split_seeds("test", 1, SCENES)]
    frame = (1000.0, 1000.0)
    answers = [Prediction(s.example.image_id, frame, render(read(s.image), frame)) for s in scenes]
    found = evaluate((s.example for s in scenes), answers)
    assert found["images"] == SCENES
    assert found["failure_rate"] < 0.1
    assert found["R@50"] > 0.4  # 0.65 on 250 scenes; chance is 0
