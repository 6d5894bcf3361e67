"""Rows: what SFT and GRPO read, and what happens to images that cannot be used."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from r1sgg.data.base import example_of_record, read_ground_truth
from r1sgg.data.dataset import Subset
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import parse
from r1sgg.miniature.scenes import SMALL, write_scenes
from r1sgg.models.families import load_checkpoint
from r1sgg.training.options import TargetOptions
from r1sgg.training.rows import TrainingRows, left_out, open_source


def test_a_row_holds_the_prompt_the_answer_and_the_truth(mini: Path) -> None:
    checkpoint = load_checkpoint(mini)
    rows = TrainingRows(open_source("scenes:3,seed=5"), checkpoint, completion=True)
    assert len(rows) == 3
    row = rows[1]
    assert row["prompt"] == checkpoint.messages(row["image"].size)
    truth = example_of_record(orjson.loads(row["ground_truth"]), "row", Path()).graph
    answer = parse(row["completion"][0]["content"], tuple(row["frame"]))
    assert not answer.issues
    assert (answer.graph.ids, answer.graph.pairs, answer.graph.predicates) == (truth.ids, truth.pairs, truth.predicates)
    np.testing.assert_allclose(answer.graph.boxes, truth.boxes, atol=0.5 / 1000 + 0.01 / 112)
    assert "completion" not in TrainingRows(rows.source, checkpoint, completion=False)[1]


def test_a_checkpoint_that_answers_in_compact_lines_is_asked_for_them_and_taught_them(mini: Path) -> None:
    checkpoint = load_checkpoint(mini)
    compact = replace(checkpoint, settings=replace(checkpoint.settings, answer_format="compact"))
    source = open_source("scenes:3,seed=5")
    row, other = (TrainingRows(source, c, completion=True)[1] for c in (compact, checkpoint))
    assert "compact" in row["prompt"][-1]["content"]
    text = row["completion"][0]["content"]
    assert text.startswith("objects\n")
    frame = tuple(row["frame"])
    assert parse(text, frame).graph == parse(other["completion"][0]["content"], frame).graph


def test_scenes_drawn_on_the_fly_are_those_that_are_written(tmp_path: Path) -> None:
    written = open_source(str(write_scenes(tmp_path, 3, 5, SMALL, "validation")))
    drawn = open_source("scenes:count=3,seed=5,split=validation")
    for row in range(3):
        assert drawn.draw(row)[0].tobytes() == written.draw(row)[0].tobytes()
    assert drawn.hashes() == written.hashes()
    assert drawn.split == written.split == "validation"


def test_the_hash_of_a_large_drawn_set_does_not_draw_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1sgg.miniature.sources.HASHED_SCENES", 3)
    assert open_source("scenes:200000").hashes()["annotations"].endswith("-first3")


def test_instructions_ask_something_else_about_the_same_scenes(mini: Path) -> None:
    checkpoint = load_checkpoint(mini)
    plain = TrainingRows(open_source("scenes:8,seed=5"), checkpoint, completion=True)
    asked = TrainingRows(open_source("instruct:8,seed=5"), checkpoint, completion=True)
    assert [row["image"].tobytes() for row in plain] == [row["image"].tobytes() for row in asked]
    assert not any(a["prompt"] == b["prompt"] for a, b in zip(plain, asked, strict=True))
    assert len({row["prompt"][0]["content"] for row in asked}) > 3
    assert asked[2] == asked[2]


def test_a_group_shares_one_drawing(mini: Path) -> None:
    rows = TrainingRows(open_source("scenes:3"), load_checkpoint(mini), completion=False)
    made = rows.__getitems__([2, 2, 0])
    assert made[0]["image"] is made[1]["image"]
    assert made[0] is not made[1]  # TRL's collators change rows in place
    assert made[2]["image_id"] != made[0]["image_id"]


def test_images_that_cannot_be_used_are_left_out(tmp_path: Path, mini: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_scenes(tmp_path, 4, 0, SMALL)
    names = [orjson.loads(line)["image"] for line in path.read_bytes().splitlines()]
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).write_text("no image")
    with Image.open(tmp_path / names[2]) as picture:
        picture.save(tmp_path / names[2], "JPEG")
    whole = (tmp_path / names[2]).read_bytes()
    (tmp_path / names[2]).write_bytes(whole[: len(whole) // 2])  # its header is fine
    with caplog.at_level(logging.WARNING):
        source = open_source(str(path))
        assert (len(source), left_out(source)) == (2, 2)
        rows = TrainingRows(source, load_checkpoint(mini), completion=True)
        assert rows[0]["image_id"] == rows[1]["image_id"]
    said = [record.getMessage() for record in caplog.records]
    assert [text.count(word) for text, word in zip(said, ("no such file", "another kind", "2 of 4"), strict=False)]
    assert any("damaged" in text and "takes its place" in text for text in said)
    (tmp_path / names[3]).write_bytes(b"")
    (tmp_path / names[2]).unlink()
    with pytest.raises(InputError, match="found none of 4"):
        open_source(str(path))


def test_what_is_left_out_is_named_up_to_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_scenes(tmp_path, 25, 0, SMALL)
    for example in list(read_ground_truth(path))[1:]:
        assert example.image is not None
        example.image.unlink()
    with caplog.at_level(logging.WARNING):
        assert left_out(open_source(str(path))) == 24
    said = [record.getMessage() for record in caplog.records]
    assert sum("no such file" in text for text in said) == 20
    assert "4 more" in said[20]
    assert "24 of 25 images left out" in said[21]


def _taught(row: dict[str, Any]) -> SceneGraph:
    answer = parse(row["completion"][0]["content"], tuple(row["frame"]))
    assert not answer.issues
    return answer.graph


def _rows(mini: Path, **options: Any) -> TrainingRows:
    scenes = open_source("scenes:6,seed=5")  # their objects come by position; here they don't
    source = Subset(scenes, range(6), "mixed", functools.partial(TargetOptions("shuffled").bind(seed=9), epoch=1))
    target = TargetOptions(**options).bind(seed=3)
    return TrainingRows(source, load_checkpoint(mini), completion=True, target=target)


def test_the_order_of_objects_is_that_of_the_recipe(mini: Path) -> None:
    plain, position, shuffled = (_rows(mini, object_order=o) for o in ("annotated", "position", "shuffled"))
    for k in range(6):
        first = plain[k]
        assert shuffled[k]["completion"] == first["completion"], "the first epoch is as annotated"
        centres = _taught(position[k]).boxes @ np.array([1, 0, 1, 0])
        assert (np.diff(centres) >= -0.01).all()
        assert position[k]["ground_truth"] == first["ground_truth"]
    assert any(position[k]["completion"] != plain[k]["completion"] for k in range(6))
    texts = []
    for epoch in range(3):
        plain.epoch = shuffled.epoch = epoch
        texts.append([shuffled[k]["completion"][0]["content"] for k in range(6)])
        for k in range(6):
            row = shuffled[k]
            assert sorted(_taught(row).triplets) == sorted(_taught(plain[k]).triplets)
            assert row["ground_truth"] == plain[k]["ground_truth"]
    assert len({tuple(text) for text in texts}) == 3
    shuffled.epoch = 1
    assert [shuffled[k]["completion"][0]["content"] for k in range(6)] == texts[1], "the same epoch, the same order"


def test_limits_hold_for_what_is_taught_and_not_for_the_truth(mini: Path) -> None:
    plain, limited = _rows(mini), _rows(mini, max_objects=2, max_relationships=1)
    for k in range(6):
        graph = _taught(limited[k])
        assert (len(graph) <= 2, len(graph.pairs) <= 1) == (True, True)
        assert limited[k]["ground_truth"] == plain[k]["ground_truth"]
    assert any(len(_taught(plain[k])) > 2 for k in range(6))


def test_rewards_see_the_whole_graph_whatever_is_taught(mini: Path) -> None:
    target = TargetOptions(max_objects=1).bind(0)
    checkpoint, source = load_checkpoint(mini), open_source("scenes:2")
    rows = TrainingRows(source, checkpoint, completion=False, target=target)
    assert rows[0] == TrainingRows(source, checkpoint, completion=False)[0]


def test_a_loader_process_that_lives_on_sees_the_epoch_change(mini: Path) -> None:
    from torch.utils.data import DataLoader

    rows = _rows(mini, object_order="shuffled")
    loader = DataLoader(rows, batch_size=6, num_workers=1, persistent_workers=True, collate_fn=_texts)
    seen = []
    for epoch in range(2):
        rows.epoch = epoch
        seen += list(loader)
    assert seen[0] != seen[1]
    assert seen[1] == _texts([rows[k] for k in range(6)])


def _texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["completion"][0]["content"] for row in rows]


@pytest.mark.parametrize("spec", ["scenes:", "scenes:x", "scenes:0", "scenes:3,size=2", "scenes:3,preset=vast"])
def test_a_wrong_scenes_text_is_one_sentence(spec: str) -> None:
    with pytest.raises((ConfigError, InputError)) as caught:
        open_source(spec)
    assert "expected" in str(caught.value)
