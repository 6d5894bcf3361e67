"""`r1sgg data view`: the page shows what was asked for, and nothing from a file can act on it."""

import json
import re

import pytest
from typer.testing import CliRunner

from r1sgg.cli import app, main
from r1sgg.data.sources import open_data
from r1sgg.miniature.scenes import SMALL, write_scenes
from r1sgg.pages.examples import choose

SPEC = "scenes:30,preset=small"


def page_of(tmp_path, *arguments, data=SPEC, code=0):
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["data", "view", "--data", str(data), "--out", str(out), *map(str, arguments)], catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return out.read_text()


def shown(page):
    return re.findall(r"<figcaption><strong>([^<]*)</strong>", page)


def test_the_first_are_shown_with_all_that_they_say(tmp_path):
    page = page_of(tmp_path, "--count", 4)
    assert shown(page) == [f"scene-{k}" for k in range(4)]
    graphs = [open_data(SPEC)[k].graph for k in range(4)]
    assert page.count('class="tag b') == 4 * sum(map(len, graphs))  # paper and text, twice
    assert page.count('class="triplet"') == sum(len(g.pairs) for g in graphs)
    assert page.count("data:image/webp;base64,") == 4
    assert "default-src 'none'" in page
    for subject, predicate, target in graphs[0].triplets:
        assert re.search(rf">{subject}[ 0-9]*<em>{predicate}</em> {target}", page)


def test_a_seed_chooses_the_same_again_and_another_others():
    data = open_data(SPEC)
    chosen = [list(choose(data, 8, seed=seed)) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 8
    assert list(choose(data, 99)) == list(range(30))


def test_only_images_with_these_names(tmp_path):
    page = page_of(tmp_path, "--name", "riding", "--name", "Woman", "--count", 3)
    data = open_data(SPEC)
    right = [e.image_id for e in data if {"riding", "woman"} <= {*e.graph.labels, *e.graph.predicates}]
    assert shown(page) == right[:3]


def test_only_these_images_whatever_the_count(tmp_path):
    assert shown(page_of(tmp_path, "--id", "scene-7", "--id", "scene-3", "--count", 1)) == ["scene-3", "scene-7"]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--id", "scene-99"], "'scene-99'"), (["--name", "unicorn"], "unicorn")]
)
def test_nothing_to_show_is_one_sentence(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["data", "view", "--data", SPEC, "--out", str(tmp_path / "page.html"), *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_images_that_are_missing_or_of_another_size_are_noted(tmp_path):
    truth = write_scenes(tmp_path / "scenes", 2, 0, SMALL)
    (truth.parent / "images/scene-0.png").unlink()
    truth.write_text(truth.read_text().replace('"width":112', '"width":120'))
    page = page_of(tmp_path, data=truth)
    assert shown(page) == ["scene-0", "scene-1"]
    assert "no such file" in page
    assert "120x112" in page


def test_nothing_from_a_file_can_act(tmp_path):
    nasty = "<img src=x onerror=alert(1)>"
    row = {
        "image_id": nasty, "width": 10, "height": 10, "split": nasty,
        "objects": [{"id": f"{nasty}.1", "bbox": [1, 1, 9, 9]}, {"id": "dog.1", "bbox": [1, 1, 5, 5]}],
        "relationships": [{"subject": "dog.1", "predicate": nasty, "object": f"{nasty}.1"}],
    }  # fmt: skip
    (tmp_path / "gt.jsonl").write_text(json.dumps(row))
    page = page_of(tmp_path, data=tmp_path / "gt.jsonl")
    assert "<img" not in page
    assert "&lt;img" in page
