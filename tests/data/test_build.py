"""`r1sgg data build` from outside: what is written reads back the same, however the build went."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from r1sgg.cli import app, main
from r1sgg.data import build as building
from r1sgg.data.base import data_hash, read_ground_truth
from r1sgg.data.images import open_image
from r1sgg.data.shards import read_examples
from r1sgg.data.sources import open_data
from r1sgg.errors import InputError, R1SGGError
from r1sgg.miniature.scenes import SMALL, write_scenes

SPEC = "scenes:50,seed=3,preset=small,split=test"


def call(*arguments, code=0):
    done = CliRunner().invoke(app, ["data", "build", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    call("--data", SPEC, "--out", out, "--shard-size", 20, "--workers", 1)
    return out


@pytest.fixture
def scenes(tmp_path):
    """Ten scenes as files, and their ground truth."""
    return write_scenes(tmp_path / "scenes", 10, 0, SMALL, "train")


def test_files_and_description(built):
    names = sorted(bytes_of(built))
    assert names == ["data/" + f"test-0000{k}-of-00003.parquet" for k in range(3)] + ["dataset.json", "gt.jsonl"]
    description = json.loads((built / "dataset.json").read_text())
    examples = list(read_ground_truth(built / "gt.jsonl"))
    assert description["split"] == "test"
    assert description["counts"]["images"] == len(examples) == 50
    assert description["counts"]["objects"] == sum(len(e.graph) for e in examples)
    assert description["hashes"]["annotations"] == data_hash(examples)
    assert description["options"]["data"] == SPEC
    rows = pq.read_table(built / "data" / "test-00002-of-00003.parquet")
    assert rows.num_rows == 10
    assert {"image", "image_id", "objects", "relationships", "width", "height"} <= set(rows.column_names)


def test_the_hash_is_that_of_the_source(built):
    assert json.loads((built / "dataset.json").read_text())["hashes"] == open_data(SPEC).hashes()


def test_processes_write_the_same_bytes(built, tmp_path):
    call("--data", SPEC, "--out", tmp_path / "out", "--shard-size", 20, "--workers", 2)
    assert bytes_of(tmp_path / "out") == bytes_of(built)
    assert not multiprocessing.active_children()


@pytest.mark.filterwarnings("default")  # what `datasets` warns of is not ours
def test_datasets_reads_it(built, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(built), split="test", cache_dir=str(tmp_path))
    source = open_data(SPEC)
    example = source[49]
    row = rows[49]
    assert row["image_id"] == example.image_id
    assert row["image"].convert("RGB").tobytes() == source.image(example).tobytes()
    assert json.loads(row["objects"]) == example.to_record()["objects"]
    assert json.loads(row["relationships"]) == example.to_record()["relationships"]
    stream = datasets.load_dataset(str(built), split="test", streaming=True)
    assert stream.num_shards == 3
    from datasets.distributed import split_dataset_by_node

    parts = [[r["image_id"] for r in split_dataset_by_node(stream, rank, 3)] for rank in range(3)]
    assert [i for part in parts for i in part] == [
        e.image_id for e in source
    ]  # each machine reads its own shards, once


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mode", ["inside", "path"])
def test_what_was_built_opens_as_the_same_set(scenes, tmp_path, monkeypatch, mode):
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "out"
    call("--data", scenes, "--out", out, "--images", mode, "--workers", 1, "--shard-size", 4)
    source, again = open_data(str(scenes)), open_data(f"hub:{out}")
    assert again.hashes() == source.hashes() == json.loads((out / "dataset.json").read_text())["hashes"]
    assert [e.graph for e in again] == [e.graph for e in source]
    assert again.image(again[7]).tobytes() == source.image(source[7]).tobytes()


# ---------------------------------------------------------------- images


def test_ordinary_files_are_stored_as_they_are_and_odd_ones_as_png(scenes, tmp_path):
    rows = [json.loads(line) for line in scenes.read_text().splitlines()]
    odd = scenes.parent / rows[1]["image"]
    open_image(odd).quantize(64).save(odd)
    call("--data", scenes, "--out", tmp_path / "out", "--workers", 1)
    table = pq.read_table(tmp_path / "out/data/train-00000-of-00001.parquet").to_pylist()
    assert table[0]["image"]["bytes"] == (scenes.parent / rows[0]["image"]).read_bytes()
    assert table[0]["image"]["path"] == "scene-0.png"
    assert table[1]["image"]["bytes"] != odd.read_bytes()
    assert all(str(tmp_path) not in str(row["image"]["path"]) for row in table)  # nobody publishes their folders
    assert "image" not in json.loads((tmp_path / "out/gt.jsonl").read_text().splitlines()[0])


def test_images_by_path(scenes, tmp_path):
    out = tmp_path / "out"
    call("--data", scenes, "--out", out, "--images", "path", "--workers", 1)
    examples = list(read_ground_truth(out / "gt.jsonl"))
    assert [e.image and e.image.resolve() for e in examples] == [
        scenes.parent / "images" / f"scene-{k}.png" for k in range(10)
    ]
    assert data_hash(examples) == data_hash(read_ground_truth(scenes))
    assert pq.read_table(out / "data/train-00000-of-00001.parquet")["image"][0].as_py()["bytes"] is None


def test_images_that_have_no_file_get_one(tmp_path):
    out = tmp_path / "out"
    call("--data", "scenes:3,preset=small", "--out", out, "--images", "path", "--workers", 1)
    row = json.loads((out / "gt.jsonl").read_text().splitlines()[2])
    assert row["image"] == "images/scene-2.png"
    assert open_image(out / row["image"]).size == (112, 112)


# ---------------------------------------------------------------- what fails


def test_a_bad_image_costs_itself_and_is_named(scenes, tmp_path):
    images, out = scenes.parent / "images", tmp_path / "out"
    (images / "scene-3.png").unlink()
    whole = (images / "scene-5.png").read_bytes()
    (images / "scene-5.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (50, 112)).save(images / "scene-7.png")
    lines = scenes.read_text().splitlines()
    scenes.write_text("\n".join([*lines[:9], '{"image_id": 1,', lines[9]]) + "\n")
    done = call("--data", scenes, "--out", out, "--workers", 1, "--shard-size", 4, code=1)
    assert "4 images failed and are not in the set" in done.stderr
    errors = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [row["image_id"] for row in errors] == [None, "scene-3", "scene-5", "scene-7"]
    for row, word in zip(errors, (":10", "no such file", "damaged", "50x112"), strict=True):
        assert word in row["error"]
    assert [e.image_id for e in read_ground_truth(out / "gt.jsonl")] == [f"scene-{k}" for k in (0, 1, 2, 4, 6, 8, 9)]
    # The same command again makes only the shards anew that had failures.
    (images / "scene-5.png").write_bytes(whole)
    done = call("--data", scenes, "--out", out, "--workers", 1, "--shard-size", 4, code=1)
    assert "3 images failed" in done.stderr
    assert "(1 from an earlier run" in done.stdout


def test_a_set_without_one_good_image_is_one_sentence(scenes, tmp_path, capsys):
    shutil.rmtree(scenes.parent / "images")
    with pytest.raises(SystemExit) as stop:
        main(["data", "build", "--data", str(scenes), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert stop.value.code == 2
    assert "none of 10" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shard-size", "25"), "shard_size=20"),
        (("--images", "path"), "images=inside"),
        (("--images", "outside"), "inside, path"),
        (("--data", "scenes:50,preset=small"), "data=scenes:50,seed=3"),
        (("--data", "gone.jsonl"), "gone.jsonl"),
    ],
)
def test_another_build_in_the_folder_is_refused(built, capsys, arguments, words):
    before = bytes_of(built)
    with pytest.raises(SystemExit) as stop:
        main(["data", "build", "--data", SPEC, "--out", str(built), "--shard-size", "20", "--workers", "1", *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert bytes_of(built) == before


# ---------------------------------------------------------------- interruptions


def test_finished_shards_are_kept_if_their_annotations_are_the_same(built, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(built, out)
    first, second, third = sorted((out / "data").iterdir())
    second.unlink()
    kept = first.stat().st_mtime_ns
    made = building.build(SPEC, out, shard_size=20)
    assert (made.shards, made.kept) == (3, 2)
    assert first.stat().st_mtime_ns == kept
    assert bytes_of(out) == bytes_of(built)
    third.write_bytes(third.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):  # perhaps not ours: nothing is overwritten
        building.build(SPEC, out, shard_size=20)


def test_a_changed_annotation_is_noticed(scenes, tmp_path):
    out = tmp_path / "out"
    call("--data", scenes, "--out", out, "--workers", 1, "--shard-size", 5)
    scenes.write_text(scenes.read_text().replace('"predicate":"near"', '"predicate":"far from"'))
    done = call("--data", scenes, "--out", out, "--workers", 1, "--shard-size", 5)
    assert "kept" not in done.stdout
    assert any("far from" in e.graph.predicates for e in read_ground_truth(out / "gt.jsonl"))


def test_an_error_in_the_middle_leaves_whole_shards_only(tmp_path, monkeypatch):
    rows = iter(range(25))

    def dies(*arguments):
        if next(rows, None) is None:
            raise KeyboardInterrupt
        return row_of(*arguments)

    row_of = building.row_of
    monkeypatch.setattr(building, "row_of", dies)
    with pytest.raises(KeyboardInterrupt):
        building.build(SPEC, tmp_path / "out", shard_size=10)
    shards = sorted((tmp_path / "out/data").iterdir())
    assert [len(list(read_examples(path, "inside"))) for path in shards] == [10, 10]
    monkeypatch.undo()
    made = building.build(SPEC, tmp_path / "out", shard_size=10)
    assert (made.shards, made.kept) == (5, 2)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building.ShardWriter, "flush", full)
    with pytest.raises(InputError, match=r"No space left.*finished shards are kept"):
        building.build(SPEC, tmp_path / "out", shard_size=20)
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_build_goes_on_and_leaves_no_process(built, tmp_path):
    out = tmp_path / "out"
    spec = "scenes:300,seed=3,preset=hard,split=test"
    options = ["--data", spec, "--out", str(out), "--shard-size", "20"]
    code = "import sys; from r1sgg.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "data", "build", *options, "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not list((out / "data").glob("*.parquet")) and process.poll() is None:
            time.sleep(0.02)
        workers = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(pid) == process.pid]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    kept = {p.name: p.stat().st_mtime_ns for p in (out / "data").glob("*.parquet")}
    assert kept
    assert not (out / "gt.jsonl").exists()
    while any(map(alive, workers)):  # they end by themselves; the test's own limit ends a wait that doesn't
        time.sleep(0.05)
    kept = {p.name: p.stat().st_mtime_ns for p in (out / "data").glob("*.parquet")}
    done = call(*options, "--workers", 1)
    assert f"({len(kept)} from an earlier run" in done.stdout
    assert {name: (out / "data" / name).stat().st_mtime_ns for name in kept} == kept
    assert len(list(read_ground_truth(out / "gt.jsonl"))) == 300


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_dies_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "_in_worker", _die)
    with pytest.raises(R1SGGError, match=r"fewer --workers"):
        building.build(SPEC, tmp_path / "out", shard_size=20, workers=2)


def _die(task):
    os._exit(9)
