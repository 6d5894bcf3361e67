"""What a model remembers of its training, and what an evaluation says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.provenance import (
    at_source,
    read_trained_on,
    remarks,
    trained_on_of,
    write_description,
    write_trained_on,
)
from r1sgg.data.sources import open_data
from r1sgg.data.splits import describe
from r1sgg.errors import InputError
from tests.data.annotation_files import examples, write_jsonl


def stage(name: str, split: str | None = "train", images: str = "a", **more: str) -> dict[str, Any]:
    return {"command": "sft", "name": name, "split": split, "hashes": {"images": images, "annotations": "x"}, **more}


def test_what_was_trained_on_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path) == trained_on_of(tmp_path / "p.jsonl") == []
    write_trained_on(tmp_path, [stage("scenes:3")])
    assert read_trained_on(tmp_path) == [stage("scenes:3")]
    (tmp_path / "p.jsonl.run.json").write_text('{"settings": {"trained_on": [{"name": "a"}]}}')
    assert trained_on_of(tmp_path / "p.jsonl") == [{"name": "a"}]


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_a_broken_memory_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "trained_on.json").write_text(text)
    with pytest.raises(InputError, match=r"trained_on\.json: expected"):
        read_trained_on(tmp_path)
    (tmp_path / "p.jsonl.run.json").write_text(f'{{"settings": {{"trained_on": {text}}}}}')
    if text != "{}":  # nothing was recorded
        with pytest.raises(InputError, match=r"p\.jsonl\.run\.json"):
            trained_on_of(tmp_path / "p.jsonl")


def test_images_count_in_every_stage_and_the_source_in_the_last() -> None:
    test = stage("scenes:5,split=test", "test", "t")
    assert remarks([stage("psg:D"), stage("scenes:9")], test, "open") == []
    assert "another set" in remarks([stage("scenes:9"), stage("psg:D")], test, "open")[0]
    (said,) = remarks([stage("scenes:5,split=test", "test", "t"), stage("scenes:9")], test, "open")
    assert "the same images" in said
    assert len(remarks([test, test], test, "open")) == 1


def test_vocabularies_differ_only_where_both_are_closed() -> None:
    test = stage("scenes:5,split=test", "test", "t")
    for taught, counted, said in (("vg150", "psg", 1), ("vg150", "open", 0), ("open", "psg", 0), ("psg", "psg", 0)):
        assert len(remarks([stage("scenes:9", vocabulary=taught)], test, counted)) == said, (taught, counted)


def test_a_copy_goes_by_the_name_of_its_source_while_it_is_one(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "gt.jsonl", examples(3))
    described = describe(open_data(str(path)))
    assert at_source(described) == described
    write_description(tmp_path, {**described, "name": "vg150:D", "split": "test"})
    for name in (str(path), f"jsonl:{path}", f"hub:{tmp_path}"):
        assert at_source({**described, "name": name}) == {**described, "name": "vg150:D", "split": "test"}
    write_jsonl(path, examples(2))
    changed = describe(open_data(str(path)))
    assert at_source(changed) == changed


def test_written_scenes_are_another_split_of_drawn_ones(tmp_path: Path) -> None:
    for split, said in (("test", None), ("train", "is a training split")):
        options = ["--count", "2", "--out", str(tmp_path / split), "--split", split, "--preset", "small", "--seed", "1"]
        assert CliRunner().invoke(app, ["data", "scenes", *options]).exit_code == 0
        found = at_source(describe(open_data(str(tmp_path / split / "gt.jsonl"))))
        assert found["name"] == f"scenes:2,seed=1,preset=small,split={split}"
        told = remarks([stage("scenes:3,seed=2")], found, "open")
        assert [said in text for text in told] == [True] if said else told == []
