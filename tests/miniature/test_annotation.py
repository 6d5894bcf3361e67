"""Annotations like Visual Genome's: sparse, shuffled, long-tailed, with other words and jitter; never inventing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import read_ground_truth
from r1sgg.data.sources import open_data
from r1sgg.errors import ConfigError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import VG150
from r1sgg.miniature.procedural.annotation import KEPT, OTHER_WORDS, Annotation, annotate
from r1sgg.miniature.scenes import SCENE_PREDICATES, SMALL, scene

EVERYTHING = Annotation(kept={}, alone=1.0, other_words=0.0, jitter=0.0)


def _annotated(seed: int, how: Annotation) -> tuple[SceneGraph, SceneGraph]:
    truth = scene(seed, SMALL).example.graph
    return truth, annotate(truth, seed, (112, 112), SMALL.step, how)


def _rows(graph: SceneGraph) -> set[tuple[object, ...]]:
    boxes = [tuple(np.round(box, 6)) for box in graph.boxes]
    return {
        (graph.labels[s], boxes[s], predicate, graph.labels[o], boxes[o])
        for (s, o), predicate in zip(graph.pairs, graph.predicates, strict=True)
    }


@pytest.mark.parametrize("seed", range(40))
def test_an_annotator_who_sees_all_writes_the_truth(seed: int) -> None:
    truth, written = _annotated(seed, EVERYTHING)
    assert (written.ids, written.labels) == (truth.ids, truth.labels)
    assert np.allclose(written.boxes, truth.boxes)
    assert _rows(written) == _rows(truth)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_kept_is_true(seed: int) -> None:
    truth, written = _annotated(seed, replace(Annotation(), other_words=0.0, jitter=0.0))
    assert _rows(written) <= _rows(truth)
    assert bool(written.pairs) == bool(truth.pairs)
    assert len(written) >= 1


def test_each_knob_does_what_it_says() -> None:
    def count(how: Annotation) -> tuple[int, int, int, int]:
        graphs = [_annotated(seed, how) for seed in range(150)]
        moved = sum(not any(np.allclose(box, other) for other in truth.boxes) for truth, g in graphs for box in g.boxes)
        words = {word for others in OTHER_WORDS.values() for word in others} - {"on"}
        return (
            sum(len(g.pairs) for _, g in graphs),
            sum(len(g) for _, g in graphs),
            sum(name in words for _, g in graphs for name in (*g.labels, *g.predicates)),
            moved,
        )

    everything = count(EVERYTHING)
    assert everything[2] == everything[3] == 0
    assert count(replace(EVERYTHING, kept=KEPT))[0] < 0.65 * everything[0]
    assert count(replace(EVERYTHING, kept=KEPT, alone=0.0))[1] < 0.9 * everything[1]
    assert count(replace(EVERYTHING, other_words=0.3))[2] > 50
    assert count(replace(EVERYTHING, jitter=0.3))[3] > 100


def test_boxes_stay_inside_and_keep_their_area() -> None:
    for seed in range(100):
        _, written = _annotated(seed, replace(Annotation(), jitter=1.0))
        assert (written.boxes >= 0).all()
        assert (written.boxes <= 1).all()
        assert (written.boxes[:, :2] < written.boxes[:, 2:]).all()


def test_rare_predicates_become_rarer() -> None:
    full, vg = (
        Counter(p for k in range(len(data)) for p in data.read(k)[0].graph.predicates)
        for data in (open_data(f"scenes:600,seed=1,preset=small,annotation={name}") for name in ("full", "vg"))
    )
    for rare in ("above", "standing on"):
        assert vg[rare] / sum(vg.values()) < 0.8 * full[rare] / sum(full.values())


def test_tables_name_what_exists() -> None:
    assert set(KEPT) == set(SCENE_PREDICATES)
    names = set(VG150.objects) | set(VG150.predicates)
    assert {word for key, others in OTHER_WORDS.items() for word in (key, *others)} <= names


def test_the_command_writes_the_annotation_and_the_truth(tmp_path: Path) -> None:
    arguments = ["data", "scenes", "--count", "12", "--preset", "small", "--seed", "4", "--split", "test"]
    done = CliRunner().invoke(app, [*arguments, "--annotation", "vg", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written, truth = (list(read_ground_truth(tmp_path / name)) for name in ("gt.jsonl", "full.jsonl"))
    assert [e.image_id for e in written] == [e.image_id for e in truth]
    assert sum(len(e.graph.pairs) for e in written) < sum(len(e.graph.pairs) for e in truth)
    drawn = open_data("scenes:12,seed=4,preset=small,split=test,annotation=vg")
    assert [drawn.read(k)[0].graph.ids for k in range(12)] == [e.graph.ids for e in written]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "full")])
    assert done.exit_code == 0
    assert not (tmp_path / "full" / "full.jsonl").exists()
    assert [e.graph.ids for e in read_ground_truth(tmp_path / "full" / "gt.jsonl")] == [e.graph.ids for e in truth]


def test_wrong_chances_are_refused() -> None:
    with pytest.raises(ConfigError, match="jitter: expected a probability from 0 to 1, found 2"):
        Annotation(jitter=2)
    with pytest.raises(ConfigError, match="above"):
        Annotation(kept={"above": -1})
