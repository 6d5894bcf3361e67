"""The same annotations through every format give the same graphs and the same hashes.

All formats hold whole pixels exactly; VG-SGG.h5 does so for images whose longest side is 512 (or 1024 with even sums).
Elsewhere its boxes are off by half of a 1024th of the longest side, which the last test states.
"""

from pathlib import Path

import numpy as np
import pytest

from r1sgg.data.base import Example, data_hash
from r1sgg.data.dataset import DataSet
from r1sgg.data.sources import open_data
from r1sgg.data.visual_genome import read_visual_genome
from r1sgg.graph.text import render
from r1sgg.judging.labels import load_similarity
from r1sgg.rewards.rubric import Rubric
from tests.data.annotation_files import (
    examples,
    hub_rows,
    write_coco,
    write_jsonl,
    write_parquet,
    write_psg,
    write_raw,
    write_vg150,
)

ITEMS = examples(12, seed=3)


def _raw(folder: Path, items: list[Example]) -> str:
    files = write_raw(folder / "raw", items)
    read = read_visual_genome(
        files / "objects.json", files / "relationships.json", image_data=files / "image_data.json"
    )
    return str(write_jsonl(folder / "raw.jsonl", list(read)))


ROUTES = {
    "jsonl": lambda folder, items: f"jsonl:{write_jsonl(folder / 'gt.jsonl', items)}",
    "raw": _raw,
    "h5 1024": lambda folder, items: f"vg150:{write_vg150(folder, items)},val_images=0",
    "h5 file": lambda folder, items: f"vg150:{write_vg150(folder, items)}/VG-SGG.h5,val_images=0",
    "psg": lambda folder, items: f"psg:{write_psg(folder, items)}",
    "coco": lambda folder, items: f"coco:{write_coco(folder, items)}",
    "hub": lambda folder, items: f"hub:{write_parquet(folder, hub_rows(items))}",
}


@pytest.fixture(scope="module", params=list(ROUTES))
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return open_data(ROUTES[request.param](tmp_path_factory.mktemp("route"), ITEMS))


def test_every_route_gives_the_same_graphs_and_hashes(opened: DataSet) -> None:
    assert [item.image_id for item in opened] == [item.image_id for item in ITEMS]
    for k, item in enumerate(ITEMS):
        read, faults = opened.read(k)
        assert read.graph == item.graph
        assert (read.width, read.height) == (item.width, item.height)
        assert read.to_record()["objects"] == item.to_record()["objects"]
        assert not faults
    assert opened.hashes()["annotations"] == data_hash(ITEMS)
    assert len(opened.hashes()["images"]) == 16


def test_gold_scores_full_marks_and_nothing_scores_nothing_for_every_format(opened: DataSet) -> None:
    terms = ("format", "node", "edge", "hard_recall", "hard_recall_relax")
    rubric = Rubric(dict.fromkeys(terms, 1.0), load_similarity("exact"))
    for item in opened:
        frame = float(item.width), float(item.height)
        gold = render(item.graph, frame, think=True)
        full, nothing = rubric.score([gold, "{}"], [item.graph] * 2, [frame] * 2)
        assert full.terms == pytest.approx(dict.fromkeys(terms, 1.0))
        assert not any(value for name, value in nothing.terms.items() if name != "format")


def test_a_ground_truth_file_written_from_a_route_reads_back_the_same(opened: DataSet, tmp_path: Path) -> None:
    again = open_data(str(write_jsonl(tmp_path / "gt.jsonl", list(opened))))
    assert [item.graph for item in again] == [item.graph for item in opened]
    assert again.hashes() == opened.hashes()


def test_real_visual_genome_survives_the_h5_up_to_its_grid(shared: Path, tmp_path: Path) -> None:
    sample = shared / "data" / "vg_sample"
    items = [
        item
        for item in read_visual_genome(
            sample / "raw_objects_1-15.json", sample / "raw_relationships_1-50.json", images=sample / "images"
        )
        if item.graph.pairs
    ]
    assert len(items) > 20
    data = open_data(f"vg150:{write_vg150(tmp_path, items)},val_images=0")
    for item, (read, _) in zip(items, map(data.read, range(len(data))), strict=True):
        assert read.graph.labels == item.graph.labels
        assert read.graph.triplets == item.graph.triplets
        grid = max(item.width, item.height) / 1024
        np.testing.assert_allclose(read.pixel_boxes, item.pixel_boxes, atol=grid + 0.01)
