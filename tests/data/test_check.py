"""`r1sgg data check` from outside, on a file with every fault, and its promise: a fixed file is right."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from r1sgg.cli import app, main
from r1sgg.data.base import example_of_record, read_ground_truth
from r1sgg.data.findings import IGNORABLE, KINDS
from r1sgg.data.repair import Repairer
from r1sgg.errors import ImageError, InputError
from r1sgg.graph.mapping import mapper
from r1sgg.graph.vocabulary import VG150
from r1sgg.miniature.scenes import SMALL, write_scenes


def box(name, *corners):
    return {"id": name, "bbox": list(corners)}


def said(subject, predicate, target):
    return {"subject": subject, "predicate": predicate, "object": target}


GOOD = {
    "image_id": "good",
    "width": 100,
    "height": 80,
    "image": "ok.png",
    "objects": [box("man.1", 1, 1, 50, 50), box("dog.1", 10, 10, 60, 60)],
    "relationships": [said("man.1", "near", "dog.1")],
}
NEAR = said("man.1", "near", "dog.1")

# What is put in place of a good line's fields, the findings, and what the corrected line holds in those fields.
FAULTS = {
    "missing": ({"image": "gone.png"}, ["missing_image"], None),
    "cut": ({"image": "cut.jpg"}, ["unreadable_image"], None),
    "text": ({"image": "text.png"}, ["unreadable_image"], None),
    "none": ({"image": None}, ["no_image"], None),
    "number": ({"image": 3}, ["bad_field", "no_image"], None),
    "twice the size": (
        {"image": "big.png"},
        ["size_mismatch"],
        {"width": 200, "image": "big.png", "objects": [box("man.1", 2, 2, 100, 100), box("dog.1", 20, 20, 120, 120)]},
    ),
    "another shape": ({"width": 300}, ["size_mismatch"], None),
    "no width": ({"width": None}, ["bad_size"], {"width": 100}),
    "half a pixel": ({"height": 80.5}, ["bad_size"], {"height": 80}),
    "no id": ({"image_id": ""}, ["bad_image_id"], None),
    "own key": ({"colour": 3}, ["unknown_key"], {"meta": {"colour": 3}}),
    "split": ({"split": 3}, ["bad_field"], {}),
    "no objects": ({"objects": "none"}, ["bad_field", "bad_relationship", "empty_graph"], None),
    "empty": ({"objects": [], "relationships": []}, ["empty_graph"], None),
    "no relationships": ({"relationships": []}, ["no_relationships"], None),
    "object": ({"objects": [*GOOD["objects"], "man", box("7", 1, 1, 2, 2)]}, ["bad_object"] * 2, {}),
    "same id": (
        {"objects": [*GOOD["objects"], box("man.1", 1, 1, 50, 50), box("man.1", 5, 5, 9, 9)]},
        ["duplicate_object_id"] * 2,
        {"objects": [*GOOD["objects"], box("man.2", 5, 5, 9, 9)]},
    ),
    "nan": ({"objects": [*GOOD["objects"], box("cat.1", 1, 1, float("nan"), 4)]}, ["bad_box"], {}),
    "words": ({"objects": [*GOOD["objects"], box("cat.1", "1", 1, 5, 4)]}, ["bad_box"], {}),
    "inverted": (
        {
            "objects": [*GOOD["objects"], box("cat.1", 50, 40, 20, 30)],
            "relationships": [NEAR, said("cat.1", "on", "dog.1")],
        },
        ["degenerate_box", "lost_end"],
        {},
    ),
    "outside": (
        {"objects": [box("man.1", -20, 1, 50, 50), box("dog.1", 10, 10, 60, 60), box("cat.1", 200, 0, 300, 9)]},
        ["box_outside"] * 2,
        {"objects": [box("man.1", 0, 1, 50, 50), box("dog.1", 10, 10, 60, 60)]},
    ),
    "a pixel outside is rounding": ({"objects": [box("man.1", -1, 0, 50, 50), box("dog.1", 1, 1, 101, 81)]}, [], {}),
    "plural": (
        {"objects": [*GOOD["objects"], box("trees.1", 0, 0, 9, 9)], "relationships": [said("man.1", "on", "trees.1")]},
        ["unknown_object"],
        {"objects": [*GOOD["objects"], box("tree.1", 0, 0, 9, 9)], "relationships": [said("man.1", "on", "tree.1")]},
    ),
    "unicorn": ({"objects": [*GOOD["objects"], box("unicorn.1", 0, 0, 9, 9)]}, ["unknown_object"], {}),
    "passive": (
        {"relationships": [said("man.1", "worn by", "dog.1"), said("man.1", "adores", "dog.1")]},
        ["unknown_predicate"] * 2,
        {"relationships": [said("dog.1", "wearing", "man.1")]},
    ),
    "dangling": ({"relationships": [NEAR, said("cat.1", "on", "dog.1"), 3]}, ["bad_relationship"] * 2, {}),
    "no predicate": ({"relationships": [NEAR, said("man.1", "...", "dog.1")]}, ["bad_relationship"], {}),
    "itself": ({"relationships": [NEAR, said("man.1", "near", "man.1")]}, ["self_relation"], {}),
    "again": ({"relationships": [NEAR, NEAR, said("man.1", "Near", "dog.1")]}, ["repeated_triplet"] * 2, {}),
}  # fmt: skip


@pytest.fixture
def images(tmp_path):
    Image.new("RGB", (100, 80), "red").save(tmp_path / "ok.png")
    Image.new("RGB", (200, 160), "red").save(tmp_path / "big.png")
    Image.effect_noise((100, 80), 90).convert("RGB").save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def line_of(name, change):
    row = GOOD | {"image_id": name} | change
    return json.dumps({key: value for key, value in row.items() if value is not None})


def check(folder, *arguments, code=1, data="bad.jsonl"):
    report = folder / "report.json"
    done = CliRunner().invoke(
        app, ["data", "check", "--data", str(folder / data), "--json", str(report), *map(str, arguments)],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == code, done.output
    return json.loads(report.read_text()), done


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_corrected(images, name):
    change, kinds, kept = FAULTS[name]
    (images / "bad.jsonl").write_text(line_of(name, change) + "\n")
    fixed = images / "fixed.jsonl"
    found, _ = check(images, "--vocabulary", "vg150", "--fix", fixed, code=1 if kinds else 0)
    log = [json.loads(line) for line in (images / "fixed.changes.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in log] == kinds
    assert sum(found["findings"].values()) == len(kinds)
    rows = [json.loads(line) for line in fixed.read_text().splitlines()]
    if kept is None:
        assert rows == []
        return
    unchanged = {key: value for key, value in change.items() if kinds == []}
    for key, value in (GOOD | {"image_id": name} | kept | unchanged).items():
        if not (key == "height" and "width" in kept):
            assert rows[0][key] == value
    check(images, "--vocabulary", "vg150", data="fixed.jsonl", code=0)


def test_a_file_that_no_reader_takes(images):
    lines = [line_of(name, change) for name, (change, _, _) in FAULTS.items()]
    lines[3:3] = ["", "[1, 2]", line_of("missing", {}), line_of("cut", {})]  # an id whose first line goes is free again
    (images / "bad.jsonl").write_text("\n".join([*lines, line_of("plural", {}), '{"image_id": "last", "wid']))
    with pytest.raises(InputError):
        list(read_ground_truth(images / "bad.jsonl"))
    found, done = check(images, "--vocabulary", "vg150", "--fix", images / "fixed.jsonl")
    assert found["lines"] == len(FAULTS) + 5
    expected = {kind for _, kinds, _ in FAULTS.values() for kind in kinds} | {"broken_line", "duplicate_image_id"}
    assert set(found["findings"]) == expected
    assert found["findings"]["broken_line"] == 2
    assert expected >= set(KINDS) - {"left_out", "wrong_frame"}
    for kind in expected:
        assert kind in done.stdout
    assert found["first"]["broken_line"]["where"].endswith("bad.jsonl:5")
    ids = [e.image_id for e in read_ground_truth(images / "fixed.jsonl")]
    assert {"missing", "cut", "plural"} <= set(ids)
    assert found["kept"] == len(ids)
    assert "boxes that look like [x, y, width, height]: 1" in done.stdout
    again, done = check(images, "--vocabulary", "vg150", data="fixed.jsonl", code=0)
    assert again["findings"] == {}
    assert "nothing is wrong" in done.stdout


def test_threads_and_header_only_find_the_same(images):
    (images / "bad.jsonl").write_text("".join(line_of(n, c) + "\n" for n, (c, _, _) in FAULTS.items()))
    one, _ = check(images, "--workers", 1)
    assert check(images, "--workers", 3)[0] == one
    headers, _ = check(images, "--images", "header")
    assert headers["findings"]["unreadable_image"] == one["findings"]["unreadable_image"] - 1  # the one cut off
    unseen, _ = check(images, "--images", "none")
    assert not {"missing_image", "unreadable_image", "no_image"} & set(unseen["findings"])


def test_what_is_ignored_is_no_fault_and_stays(images):
    (images / "bad.jsonl").write_text(line_of("a", {"relationships": []}) + "\n" + line_of("b", {"image": "gone.png"}))
    more = ["--ignore", "no_relationships", "--ignore", "missing_image"]
    found, _ = check(images, *more, "--fix", images / "fixed.jsonl", code=0)
    assert (found["findings"], found["kept"], found["changed"]) == ({}, 2, 0)


def test_a_right_set_passes_and_is_copied_unchanged(tmp_path):
    truth = write_scenes(tmp_path / "scenes", 5, 0, SMALL)
    found, _ = check(
        tmp_path, "--vocabulary", "vg150", "--fix", tmp_path / "copy.jsonl", data="scenes/gt.jsonl", code=0
    )
    assert found["changed"] == 0
    copies = list(read_ground_truth(tmp_path / "copy.jsonl"))  # in another folder: the images are named from there
    assert [e.graph for e in copies] == [e.graph for e in read_ground_truth(truth)]
    assert all(e.image.is_file() for e in copies)


def test_other_formats_go_through_their_readers(tmp_path, capsys):
    main_code = CliRunner().invoke(app, ["data", "check", "--data", "scenes:3,preset=small", "--vocabulary", "vg150"])
    assert main_code.exit_code == 0
    assert "3 images, nothing is wrong" in main_code.output


def test_the_table_fits_into_80_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["data", "check", "--data", "scenes:6,preset=small", "--vocabulary", "psg"]).output
    rows = [line for line in shown.splitlines() if line.startswith(("┏", "┃", "│"))]
    assert "unknown_predicate" in shown
    assert all(len(line) <= 80 and line[-1] in "┓┃│" for line in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ignore", "broken_line"], "--ignore: expected some of"),
        (["--images", "all"], "decode, header, none"),
        (["--fix", "{data}"], "an output that the command does not read"),
        (["--data", "gone.jsonl"], "gone.jsonl"),
        (["--vocabulary", "coco"], "vg150"),
    ],
)
def test_wrong_options_are_one_sentence(images, capsys, arguments, words):
    data = images / "bad.jsonl"
    data.write_text(json.dumps(GOOD))
    with pytest.raises(SystemExit) as stop:
        main(["data", "check", "--data", str(data), *(a.format(data=data) for a in arguments)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


# ---------------------------------------------------------------- whatever stands there

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.floats(-1e30, 1e30) | st.sampled_from(
        ("", "man.1", "man.2", "trees.1", "near", "worn by", "x", "7", "."))
    ,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
predicates = st.sampled_from(("near", "is near", "worn by", "adores", ""))
names = st.sampled_from(("man.1", "man.2", "trees.1", "tree.1", "man", "unicorn.1"))
boxes = st.lists(st.integers(-30, 150) | st.floats(-5, 120), min_size=4, max_size=4)
rows = st.fixed_dictionaries(
    {},
    optional={
        "image_id": st.text(max_size=3) | st.integers() | json_values,
        "width": st.just(100) | json_values,
        "height": st.just(80) | json_values,
        "image": st.just("a.png") | json_values,
        "split": st.just("train") | json_values,
        "meta": json_values,
        "more": json_values,
        "objects": json_values
        | st.lists(json_values | st.fixed_dictionaries({"id": names, "bbox": boxes}), max_size=6),
        "relationships": json_values | st.lists(
            json_values | st.fixed_dictionaries({"subject": names, "predicate": predicates, "object": names}),
            max_size=6,
        ),
    },
)  # fmt: skip
sizes = st.sampled_from((None, (100, 80), (50, 40), (80, 100), ImageError("x", expected="y", found="z")))


def integer(text):
    """As the readers of files do: an integer beyond 64 bits is a float."""
    return int(text) if -(2**63) <= int(text) < 2**64 else float(text)


@given(rows, sizes, st.sampled_from((None, mapper(VG150))), st.sets(st.sampled_from(sorted(IGNORABLE))))
def test_whatever_is_kept_can_be_read_and_has_no_more_findings(tmp_path_factory, row, size, names, ignore):
    kept, findings = Repairer(names, ignore).repair(json.loads(json.dumps(row), parse_int=integer), size)
    assert all(f.kind in KINDS for f in findings)
    assert not {f.kind for f in findings} & ignore
    if kept is None:
        assert findings
        return
    again = orjson.loads(orjson.dumps(kept))
    example_of_record(again, "line", tmp_path_factory.getbasetemp())
    assert Repairer(names, ignore).repair(again, size) == (kept, [])
