"""`r1sgg predict` on folders: resume, streams of lines, units of boxes, bad images, and photos without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r1sgg.bulk.photos import SETTINGS, find_photos
from r1sgg.cli import main
from r1sgg.errors import InputError
from r1sgg.exports.reading import read_graphs
from r1sgg.miniature.scenes import SMALL, scene

FAST = ("--max-new-tokens", "40", "--guide")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scenes in it and in a subfolder, and a text file."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("a.png", "b.png", "sub/a.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(20 + k, SMALL).image.save(path)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {name: json.loads((folder / name).read_text()) for name in files(folder) if name.endswith(".json")}


def test_a_folder_is_read_and_the_next_run_reads_what_is_new(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("predict", "in", "--out", "out", "--batch-size", 2, *FAST) == 0
    said = capsys.readouterr()
    assert "in: 1 files that are not images were left out" in said.err
    assert "out: 3 images, 0 failed" in said.out
    names = {f"{stem}{end}" for stem in ("a", "b", "sub/a") for end in (".json", ".overlay.png")}
    assert files(here / "out") == names | {SETTINGS}
    assert json.loads((here / "out/sub/a.json").read_text())["image_id"] == "sub/a.png"
    before = {name: (here / "out" / name).stat().st_mtime_ns for name in names}

    scene(30, SMALL).image.save("in/c.png")
    os.utime("in/b.png", (time.time() + 5, time.time() + 5))  # changed since
    assert call("predict", "in", "--out", "out", *FAST, "--batch-size", 2) == 0
    assert "4 images, 2 of them from an earlier run, 0 failed" in capsys.readouterr().out
    now = {name: (here / "out" / name).stat().st_mtime_ns for name in names}
    assert {name for name in names if now[name] != before[name]} == {"b.json", "b.overlay.png"}
    assert (here / "out/c.json").is_file()


def test_a_killed_run_and_a_broken_record_are_made_whole(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("predict", "in", "--out", "whole", *FAST) == 0
    assert call("predict", "in", "--out", "out", *FAST) == 0
    Path("out/a.json").write_text(Path("out/a.json").read_text()[:100])
    Path("out/sub/a.json").unlink()
    assert call("predict", "in", "--out", "out", *FAST) == 0
    assert "3 images, 1 of them from an earlier run" in capsys.readouterr().out
    assert records(here / "out").keys() == records(here / "whole").keys()
    for name, record in records(here / "whole").items():
        if name != SETTINGS:
            assert records(here / "out")[name] == record


def test_results_of_other_settings_are_refused_or_made_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("predict", "in/a.png", "--out", "out", *FAST) == 0
    capsys.readouterr()
    changed = ("predict", "in/a.png", "--out", "out", *FAST, "--boxes", "fractions")
    assert call(*changed) == 2
    assert "out: boxes: expected a run with the same settings ('fractions'), found 'pixels'" in capsys.readouterr().err
    assert call(*changed, "--overwrite") == 0
    assert "earlier" not in capsys.readouterr().out
    assert json.loads(Path("out/a.json").read_text())["boxes"] == "fractions"


def test_lines_come_as_images_are_finished_and_hold_everything(here: Path) -> None:
    Path("in/bad.jpg").write_text("no image")
    command = [sys.executable, "-c", "from r1sgg.cli import main; main()", "predict", "in", "--json", "-", *FAST]
    process = subprocess.Popen(
        [*command, "--batch-size", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert process.poll() is None, "the first line comes before the run ends"
    rest, said = process.communicate(timeout=240)
    rows = [first, *map(json.loads, rest.splitlines())]
    assert process.returncode == 1
    assert [row["image_id"] for row in rows] == ["a.png", "b.png", "bad.jpg", "sub/a.png"]
    assert rows[2] == {"image_id": "bad.jpg", "image": "in/bad.jpg", "error": rows[2]["error"]}
    assert "r1sgg: in/bad.jpg: expected an image" in said
    assert "4 images, 1 failed" in said
    assert all({"objects", "relationships", "width", "completion"} <= row.keys() for row in rows if "error" not in row)


def test_lines_and_a_folder_agree_also_for_what_was_there(here: Path) -> None:
    assert call("predict", "in/a.png", "in/b.png", "--out", "out", *FAST) == 0
    assert call("predict", "in/a.png", "in/b.png", "--out", "out", "--json", "lines.jsonl", *FAST) == 0
    rows = [json.loads(line) for line in Path("lines.jsonl").read_text().splitlines()]
    assert rows == [records(here / "out")["a.json"], records(here / "out")["b.json"]]


def test_boxes_have_the_unit_that_was_asked_for_and_say_so(here: Path) -> None:
    found = {}
    for unit in ("pixels", "thousandths", "fractions"):
        assert call("predict", "in/a.png", "--out", unit, "--boxes", unit, *FAST) == 0
        found[unit] = records(here / unit)["a.json"]
    assert "boxes" not in found["pixels"]
    for unit, most in (("thousandths", 1000), ("fractions", 1)):
        assert found[unit]["boxes"] == unit
        for row, pixels in zip(found[unit]["objects"], found["pixels"]["objects"], strict=True):
            assert row["bbox"] == pytest.approx([v * most / 112 for v in pixels["bbox"]], abs=most / 1000)
        (read,), (as_pixels,) = (list(read_graphs(here / u / "a.json")) for u in (unit, "pixels"))
        assert read.record.graph.boxes == pytest.approx(as_pixels.record.graph.boxes, abs=1e-3)


def test_without_a_model_a_photo_is_refused_before_anything_is_loaded(here: Path) -> None:
    Image.effect_noise((80, 60), 90).convert("RGB").save("photo.jpg")
    code = (
        "import sys\nfrom r1sgg.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as left: print(left.code, 'torch' in sys.modules)"
    )
    for command in (["predict", "photo.jpg"], ["generate", "--images", "photos"]):
        Path("photos").mkdir(exist_ok=True)
        Path("photos/p.jpg").write_bytes(Path("photo.jpg").read_bytes())
        done = subprocess.run(
            [sys.executable, "-c", code, *command, "--out", "out"], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["2", "False"]
        assert "expected a drawn scene, because the default model tiny knows nothing else" in done.stderr
        assert "use --model photo" in done.stderr
    assert not Path("out").exists()


def test_a_photo_among_scenes_fails_alone_unless_the_model_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.effect_noise((80, 60), 90).convert("RGB").save("in/zoo.png")
    assert call("predict", "in/a.png", "in/zoo.png", "--out", "out", *FAST) == 1
    said = capsys.readouterr().err
    assert said.count("tiny knows drawn scenes only") == 1
    assert "in/zoo.png: expected a drawn scene" in said
    assert "zoo.json" not in files(here / "out")
    assert call("predict", "in/a.png", "in/zoo.png", "--out", "named", "--model", "tiny", *FAST) == 0
    said, printed = capsys.readouterr()[::-1]
    assert said.count("tiny knows drawn scenes only") == 1
    assert "1 not drawn scenes, whose graphs mean nothing" in printed
    found = records(here / "named")
    assert found["zoo.json"]["notice"].startswith("not a drawn scene, and tiny knows nothing else")
    assert "notice" not in found["a.json"]


def test_results_do_not_go_where_they_would_be_read_as_photos(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("predict", "in", "--out", "in") == 2
    assert "in: expected an output that the command does not read" in capsys.readouterr().err
    assert call("predict", "in", "--out", "in/graphs") == 2
    assert "in/graphs: expected a folder outside of in" in capsys.readouterr().err
    assert call("predict", "in") == 2
    assert "expected --out FOLDER, --json FILE, or both" in capsys.readouterr().err
    assert call("predict", "in", "--out", "out", "--boxes", "percent") == 2
    assert "--boxes: expected one of pixels, thousandths, fractions, found 'percent'" in capsys.readouterr().err


def test_names_are_distinct_and_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    for name in ("x.jpg", "x.png", "y/x.jpg", ".hidden.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("")
    photos, notes = find_photos([tmp_path / "in", tmp_path / "in/x.jpg"], tmp_path / "out")
    assert [photo.name for photo in photos] == ["x", "x-2", "y/x", "x-3"]
    assert notes == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected at least one image, found none"):
        find_photos([tmp_path / "empty"])
    with pytest.raises(InputError, match="misspelt: expected an image file or a folder, found no such file"):
        find_photos([tmp_path / "misspelt", tmp_path / "misspelt.jpg"])


def test_a_name_that_is_no_text_is_written_as_one(here: Path) -> None:
    odd = os.fsdecode(b"in/\xff.png")
    Path("in/a.png").rename(odd)
    assert call("predict", "in", "--out", "out", *FAST) == 0
    assert call("predict", "in", "--out", "out", *FAST) == 0
    assert json.loads(Path(os.fsdecode(b"out/\xff.json")).read_text())["image_id"] == "\\xff.png"
