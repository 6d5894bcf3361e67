"""`r1sgg data captions` from the command line: the file, its provenance, resuming, refusing, and its statistics."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from r1sgg.cli import app
from r1sgg.data.base import read_ground_truth
from r1sgg.data.captions import run as running
from r1sgg.data.captions.plan import Plan
from r1sgg.data.captions.provenance import CUT, KEY
from r1sgg.errors import ConfigError, InputError, R1SGGError

LINES = [
    {
        "image_id": str(k), "width": 100, "height": 80, "split": "train",
        "captions": [f"A man rides a {'bicycle' if k % 2 else 'horse'}.", "There is a tree behind the man."],
        "boxes": [
            {"name": "man", "bbox": [0, 0, 30, 60]}, {"name": "bike", "bbox": [5, 30, 40, 79]},
            {"name": "horse", "bbox": [5, 30, 60, 79]}, {"name": "tree", "bbox": [50, 0, 99, 70]},
        ],
    }
    for k in range(7)
]  # fmt: skip


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def made(captions: Path, out: Path, *more: object) -> Result:
    return call("data", "captions", captions, "--extract", "rules:plain", "--out", out, *more)


CLOSED = ("--vocabulary", "vg150", "--leak", "none")


def test_captions_become_a_file_that_every_command_takes(captions: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    result = made(captions, out, *CLOSED)
    assert result.exit_code == 0, result.output
    assert "leak policy: none" in result.output
    examples = list(read_ground_truth(out))
    assert [e.image_id for e in examples] == [str(k) for k in range(7)]
    first, second = (set(e.graph.triplets) for e in examples[:2])
    assert first == {("man", "riding", "horse"), ("tree", "behind", "man")}
    assert second == {("man", "riding", "bike"), ("tree", "behind", "man")}
    provenance = examples[1].meta[KEY]
    assert provenance["leak"] == "none"
    assert provenance["texts"] == LINES[1]["captions"]
    assert provenance["triplets"][0] == {
        "captions": [0],
        "step": "rules (plain)",
        "said": ["man", "riding", "bicycle"],
        "aligned": ["", "", "synonym"],
        "grounded": [1.0, 1.0],
    }
    record = json.loads((tmp_path / "train.jsonl.run.json").read_text())
    assert record["counts"]["triplets kept"] == 14
    assert not (tmp_path / "train.jsonl.parts").exists()
    checked = call("data", "check", "--data", out, "--images", "none", "--ignore", "no_image")
    assert checked.exit_code == 0, checked.output
    assert "triplets kept: 14, 2.00 per image" in checked.output
    assert "phrases grounded: 28 of 28 (100.0 %)" in checked.output
    closed = call("data", "check", "--data", out, "--images", "none", "--ignore", "no_image", "--vocabulary", "vg150")
    assert "predicates that never occur: 48: above, across," in closed.output


def test_statistics_compare_with_the_truth(captions: Path, tmp_path: Path) -> None:
    out, truth, figures = tmp_path / "train.jsonl", tmp_path / "truth.jsonl", tmp_path / "stats.json"
    made(captions, out, *CLOSED)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    rows[0]["relationships"] = rows[0]["relationships"][:1]  # people annotated one of two,
    for row in rows[1:]:  # and elsewhere one more
        row["relationships"].append({"subject": "man.1", "predicate": "near", "object": "tree.1"})
    truth.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "meta"}) + "\n" for row in rows))
    result = call("data", "stats", "--data", out, "--vocabulary", "vg150", "--against", truth, "--json", figures)
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())["against"]
    assert (found["triplets made"], found["triplets true"], found["triplets equal"]) == (14, 19, 13)
    assert found["triplets with boxes precision"] == pytest.approx(13 / 14)
    assert found["triplets with boxes recall"] == pytest.approx(13 / 19)
    assert "precision 92.9 %, recall 68.4 %" in result.output
    other = tmp_path / "other.jsonl"
    other.write_text(truth.read_text().replace('"image_id": "', '"image_id": "x'))
    with pytest.raises(InputError, match="same images"):
        raise call("data", "stats", "--data", out, "--against", other).exception  # type: ignore[misc]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from r1sgg.bulk import captions as bulk

    monkeypatch.setattr(bulk.make, "__kwdefaults__", {**bulk.make.__kwdefaults__, "part_size": 2})


def test_a_killed_run_keeps_its_parts_and_ends_as_another(
    captions: Path, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    made(captions, whole, *CLOSED)
    make = running.Workshop.make
    calls: list[str] = []

    def dying(self, records, root):
        calls.append(records[0].image_id)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return make(self, records, root)

    monkeypatch.setattr(running.Workshop, "make", dying)
    assert made(captions, out, *CLOSED).exit_code != 0
    assert not out.exists()
    assert len(list((tmp_path / "out.jsonl.parts").glob("part-*"))) == 2
    result = made(captions, out, *CLOSED)
    assert "2 of 4 parts are of an earlier run" in result.output
    assert calls == ["0", "2", "4", "4", "6"]
    assert out.read_bytes() == whole.read_bytes()
    assert "made by an earlier run" in made(captions, out, *CLOSED).output
    assert len(calls) == 5


def test_a_file_of_other_settings_is_not_mixed_or_replaced(captions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    made(captions, out, *CLOSED)
    before = out.read_bytes()
    error = made(captions, out, "--vocabulary", "psg", "--leak", "none").exception
    assert isinstance(error, InputError)
    assert "vocabulary" in str(error)
    assert "--overwrite" in str(error)
    captions.write_text(captions.read_text().replace("rides", "holds"))
    assert "content" in str(made(captions, out, *CLOSED).exception)
    assert out.read_bytes() == before
    assert made(captions, out, *CLOSED, "--overwrite").exit_code == 0
    assert b"holding" in out.read_bytes()
    foreign = tmp_path / "mine.jsonl"
    foreign.write_text("mine")
    assert "another" in str(made(captions, foreign, *CLOSED).exception)
    assert foreign.read_text() == "mine"


def test_lines_that_are_skipped_are_named_and_the_exit_code_is_1(captions: Path, tmp_path: Path) -> None:
    with captions.open("a") as handle:
        handle.write('{"image_id": "x"}\nno json\n')
    result = made(captions, tmp_path / "out.jsonl", *CLOSED)
    assert result.exit_code == 1
    assert "captions.jsonl:8" in result.output
    assert "captions.jsonl:9" in result.output
    assert len(list(read_ground_truth(tmp_path / "out.jsonl"))) == 7


def test_test_images_are_left_out_and_counted(captions: Path, tmp_path: Path) -> None:
    ids = tmp_path / "test.txt"
    ids.write_text("1\n3\n99\n")
    out = tmp_path / "out.jsonl"
    result = made(captions, out, "--vocabulary", "vg150", "--leak", ids)
    assert result.exit_code == 0, result.output
    assert [e.image_id for e in read_ground_truth(out)] == ["0", "2", "4", "5", "6"]
    assert (
        json.loads((tmp_path / "out.jsonl.run.json").read_text())["counts"][
            "images left out: COCO twin of a test image"
        ]
        == 2
    )


def test_a_detector_s_file_grounds(captions: Path, tmp_path: Path) -> None:
    objects = [
        {"id": "man.1", "bbox": [0, 0, 60, 120], "score": 0.9},
        {"id": "horse.1", "bbox": [10, 60, 120, 158], "score": 0.4},
    ]
    tree = {"width": 100, "height": 80, "objects": [{"id": "tree.1", "bbox": [0, 0, 9, 9]}], "relationships": []}
    rows = [{"image_id": "0", "frame": [200, 160], "objects": objects}, {"image_id": "1", **tree}]
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    assert made(captions, out, *CLOSED, "--ground", boxes).exit_code == 0
    first, second = read_ground_truth(out)
    assert first.pixel_boxes.tolist() == [[0, 0, 30, 60], [5, 30, 60, 79]]
    assert first.meta[KEY]["triplets"][0]["grounded"] == [0.9, 0.4]
    assert (second.graph.labels, second.graph.pairs) == (("tree",), ())


def test_completions_of_florence_2_ground(captions: Path, tmp_path: Path) -> None:
    """Its bins stand for their middle, and belong to the image whatever its size."""
    text = "man<loc_0><loc_0><loc_299><loc_749>horse<loc_50><loc_375><loc_599><loc_987>"
    boxes = tmp_path / "florence.jsonl"
    boxes.write_text(json.dumps({"image_id": "0", "completion": text, "frame": [100, 80]}) + "\n")
    out = tmp_path / "out.jsonl"
    assert made(captions, out, *CLOSED, "--ground", boxes).exit_code == 0
    example = next(iter(read_ground_truth(out)))
    assert example.graph.labels == ("man", "horse")
    np.testing.assert_allclose(example.pixel_boxes, [[0, 0, 30, 60], [5, 30, 60, 79]], atol=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "xml"}, "--source"),
        ({"recipe": "poem"}, "--recipe"),
        ({"recipe": "objects"}, "--extract ENGINE"),
        ({"ground": "trace"}, "narratives"),
        ({"source": "coco"}, "--ground given"),
        ({"source": "vg-regions"}, "region"),
        ({"vocabulary": "vg150"}, "--leak"),
        ({"recipe": "objects", "extract": "hf", "ground": "whole"}, "boxes"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Plan(tmp_path / "c.jsonl", **{"source": "jsonl", **options})  # type: ignore[arg-type]


def test_given_without_boxes_says_what_to_ask_for(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"image_id": "1", "width": 9, "height": 9, "caption": "a man on a horse"}\n')
    error = made(path, tmp_path / "out.jsonl").exception
    assert isinstance(error, R1SGGError)
    for way in ("--ground FILE", "engine", "whole"):
        assert way in str(error)
    assert not (tmp_path / "out.jsonl").exists()
    assert made(path, tmp_path / "out.jsonl", "--ground", "whole").exit_code == 0


def test_regions_of_visual_genome(shared: Path, tmp_path: Path) -> None:
    regions, images = (shared / "data" / "vg_sample" / name for name in ("raw_region_graphs_1-15.json.gz", "images"))
    out, figures = tmp_path / "out.jsonl", tmp_path / "stats.json"
    result = made(
        regions, out, *CLOSED, "--source", "vg-regions", "--ground", "whole", "--images", images,
    )  # fmt: skip
    assert result.exit_code == 1  # photos of four images are there: the others have no size
    assert call("data", "stats", "--data", out, "--against", regions, "--json", figures).exit_code == 0
    found = json.loads(figures.read_text())["against"]
    assert found["images"] == 4
    assert found["triplets recall"] > 0.2


def test_records_of_one_image_are_counted_and_said(captions: Path, tmp_path: Path) -> None:
    captions.write_text("".join(json.dumps({**line, "image_id": str(k // 3)}) + "\n" for k, line in enumerate(LINES)))
    result = made(captions, tmp_path / "train.jsonl", *CLOSED)
    assert result.exit_code == 0, result.output
    assert "4 records of an image that an earlier record has, too" in result.output
    assert "all captions of an image in one record" in made(captions, tmp_path / "train.jsonl", *CLOSED).output


def test_the_end_of_a_very_long_caption_is_not_read_and_that_is_counted(captions: Path, tmp_path: Path) -> None:
    texts = ["a man and " * 3000, "x" * 100_000, "A man rides a horse."]
    captions.write_text(json.dumps({**LINES[0], "captions": texts}) + "\n")
    result = made(captions, tmp_path / "train.jsonl", *CLOSED)
    assert result.exit_code == 0, result.output
    (example,) = read_ground_truth(tmp_path / "train.jsonl")
    assert example.meta[KEY]["counts"][CUT] == 2
    assert ("man", "riding", "horse") in example.graph.triplets


def test_shares_are_of_all_images_that_were_used(captions: Path, tmp_path: Path) -> None:
    lines = [LINES[0], *({**line, "boxes": []} for line in LINES[1:4]), *LINES[4:]]
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "ids.txt").write_text("5\n6\n")
    leak = ("--vocabulary", "vg150", "--leak", tmp_path / "ids.txt")
    result = made(captions, tmp_path / "train.jsonl", *leak)
    assert "10, 2.00 per image" in result.output, "five images were read, of which three had no boxes"
    assert "4, 0.80 per image" in result.output
    assert "no image was left out" not in result.output
    (tmp_path / "ids.txt").write_text("77\n")
    other = made(captions, tmp_path / "other.jsonl", *leak)
    assert f"leak policy: {tmp_path / 'ids.txt'}; no image was left out" in " ".join(other.output.split("\n"))
    again = made(captions, tmp_path / "train.jsonl", *leak)
    assert "leak: expected a run with the same settings" in str(again.exception), "the file has other ids now"


def test_other_sizes_are_another_run(captions: Path, tmp_path: Path) -> None:
    made(captions, tmp_path / "train.jsonl", *CLOSED)
    again = made(captions, tmp_path / "train.jsonl", *CLOSED, "--images", tmp_path)
    assert "images: expected a run with the same settings" in str(again.exception)
