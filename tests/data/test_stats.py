"""`r1sgg data stats`: the counts of a set that can be counted by hand, and the same from the command line."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from r1sgg.cli import app
from r1sgg.data.base import read_ground_truth
from r1sgg.data.stats import collect, outside, record, summary
from r1sgg.errors import InputError
from r1sgg.graph.vocabulary import VG150
from tests.data.annotation_files import coco_document, example, examples

LINES = [
    {
        "image_id": "a", "width": 200, "height": 100, "split": "train",
        "objects": [
            {"id": "man.1", "bbox": [0, 0, 200, 100]},
            {"id": "dog.1", "bbox": [0, 0, 20, 20]},
            {"id": "dog.2", "bbox": [100, 50, 150, 100]},
        ],
        "relationships": [
            {"subject": "man.1", "predicate": "near", "object": "dog.1"},
            {"subject": "man.1", "predicate": "near", "object": "dog.1"},
            {"subject": "man.1", "predicate": "holding", "object": "dog.1"},
            {"subject": "dog.2", "predicate": "adores", "object": "dog.1"},
        ],
    },
    {"image_id": "b", "width": 64, "height": 64, "objects": [{"id": "unicorn.1", "bbox": [0, 0, 64, 64]}],
     "relationships": [{"subject": "unicorn.1", "predicate": "near", "object": "unicorn.1"}]},
    {"image_id": "c", "width": 64, "height": 64, "objects": [], "relationships": []},
]  # fmt: skip


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "gt.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def test_counts_by_hand(truth):
    got = record(collect(read_ground_truth(truth)), VG150)
    assert (got["images"], got["objects"], got["relationships"]) == (3, 4, 5)
    assert got["classes"] == {
        "dog": {"objects": 2, "images": 1},
        "man": {"objects": 1, "images": 1},
        "unicorn": {"objects": 1, "images": 1},
    }
    assert got["predicates"] == {"near": 3, "adores": 1, "holding": 1}
    assert got["distinct_triplets"] == 4
    assert got["triplets"][0] == ["man", "near", "dog", 2]
    assert got["objects_per_image"]["counts"] == {"0": 1, "1": 1, "3": 1}
    assert got["relationships_per_image"]["mean"] == pytest.approx(5 / 3)
    assert got["box_sizes"] == {"small": 1, "medium": 2, "large": 1}  # 20², 50² and 64², 200x100
    assert {r["up_to"]: r["boxes"] for r in got["box_area_share"] if r["boxes"]} == {1.0: 2, 0.125: 1, 2.0**-5: 1}
    assert got["image_sizes"][0] == {"width": 64, "height": 64, "images": 2}
    assert got["splits"] == {"train": 1}
    assert got["oddities"] == {
        "images without relationships": 1,
        "repeated triplets": 1,
        "pairs with several predicates": 1,
        "relationships of an object with itself": 1,
        "objects without relationships": 0,
        "relationships between boxes that do not overlap": 1,
    }
    assert got["classes outside the vocabulary"] == ["unicorn"]
    assert got["predicates outside the vocabulary"] == ["adores"]
    assert len(got["classes that never occur"]) == 148


@given(st.lists(st.integers(0, 30), min_size=1))
def test_a_summary_of_counts_is_that_of_the_values(values):
    found, ordered = summary(Counter(values)), sorted(values)
    assert (found["min"], found["max"]) == (ordered[0], ordered[-1])
    assert found["median"] == ordered[(len(values) - 1) // 2]
    assert found["mean"] == pytest.approx(sum(values) / len(values))
    assert sum(v <= found["p95"] for v in values) >= 0.95 * len(values)


def test_an_open_vocabulary_has_no_outside(truth):
    from r1sgg.graph.vocabulary import OPEN

    assert outside(collect(read_ground_truth(truth)), OPEN) == {}


def call(truth, *arguments, code=0):
    done = CliRunner().invoke(
        app, ["data", "stats", "--data", str(truth), *map(str, arguments)], catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize("vocabulary", ["open", "vg150"])
def test_data_without_relationships_have_no_empty_tables(truth, tmp_path, vocabulary):
    truth.write_text("".join(json.dumps({**line, "relationships": []}) + "\n" for line in LINES))
    done = call(truth, "--vocabulary", vocabulary, "--out", tmp_path / "s.html")
    said = "relationships: none, so no predicates and triplets are listed"
    assert done.stdout.count(said) == 1
    assert "3 classes" in done.stdout
    assert not re.search("0 predicates|0 triplets|head:|repeated triplets", done.stdout)
    assert "none, so no predicates" in (tmp_path / "s.html").read_text()
    truth.write_text(json.dumps(LINES[-1]) + "\n")
    assert "0 classes" not in call(truth).stdout


def test_a_file_without_a_right_line_says_what_is_wrong_with_the_first(truth):
    truth.write_text(json.dumps({"image_id": "a", "completion": "", "frame": [1, 1]}) + "\n")
    with pytest.raises(
        InputError, match=r"expected ground truth, found no line that can be read; the first: .*a predict"
    ):
        call(truth)


def test_the_command_prints_writes_and_draws(truth, tmp_path):
    done = call(truth, "--vocabulary", "vg150", "--json", tmp_path / "s.json", "--out", tmp_path / "s.html", "--top", 2)
    got = json.loads((tmp_path / "s.json").read_text())
    assert got["hashes"].keys() == {"images", "annotations"}
    assert [len(names) for names in got["groups"].values()] == [17, 17, 16]
    assert set(got["groups"]["head"]) >= {"near", "holding"}
    for words in (
        "3 predicates, the 2 most frequent",
        "head: 17 predicates, 80.0 %",
        "unicorn",
        got["hashes"]["images"],
    ):
        assert words in done.stdout
    page = (tmp_path / "s.html").read_text()
    assert "man near dog" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=.?https?:", page)
    lengths = {}
    for name, width in re.findall(r'<li class="[^"]*" title="(.*?): .*?--w:([\d.]+)', page):
        lengths.setdefault(name, float(width))
    assert lengths["near"] == 1
    assert lengths["holding"] == pytest.approx(1 / 3, abs=0.001)


def test_names_from_a_file_are_escaped(tmp_path):
    nasty = json.dumps(LINES[1]).replace("unicorn", "<script>alert(1)</script>")
    (tmp_path / "gt.jsonl").write_text(nasty)
    call(tmp_path / "gt.jsonl", "--out", tmp_path / "s.html")
    assert "<script>" not in (tmp_path / "s.html").read_text()


def test_what_cannot_be_read_is_said(truth):
    truth.write_text(truth.read_text() + '{"image_id": "d"}\n')
    done = call(truth, code=1)
    assert "1 record cannot be read" in done.stderr
    assert "gt.jsonl:4" in done.stderr


def test_what_the_reader_left_out_is_said(tmp_path):
    document = coco_document([*examples(2), example("9", [])])
    (tmp_path / "all.json").write_text(json.dumps(document))
    spec = f"coco:{tmp_path / 'all.json'}"
    assert "found 1 without; left out" in call(spec).stderr
    out = str(tmp_path / "view.html")
    done = CliRunner().invoke(app, ["data", "view", "--data", spec, "--out", out])
    assert "found 1 without; left out" in done.stderr


def test_an_empty_set_of_graphs_has_a_page(truth, tmp_path):
    truth.write_text(json.dumps(LINES[2]))
    call(truth, "--out", tmp_path / "s.html")
    assert "1 images" in (tmp_path / "s.html").read_text()
