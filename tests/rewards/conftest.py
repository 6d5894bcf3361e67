"""The oracle of reward cases, and its toy similarity: vectors from hashes, so that no model is needed for cosines."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r1sgg.data.base import example_of_record
from r1sgg.graph.scene import SceneGraph
from r1sgg.judging.labels import Array


class ToySimilarity:
    """As the oracle's README defines it."""

    name = "toy"

    def __init__(self, groups: Path) -> None:
        self.root = {w: g["root"] for g in json.loads(groups.read_text()) for w in g["words"]}

    def table(self, a: Sequence[str], b: Sequence[str]) -> Array:
        left, right = (np.array([self.vector(s) for s in side]).reshape(-1, 16) for side in (a, b))
        cosines = left @ right.T
        for i, s in enumerate(a):
            for j, t in enumerate(b):
                if s == t or not s or not t:
                    cosines[i, j] = float(s == t)
        return cosines

    def vector(self, word: str) -> Array:
        if word in self.root:
            return _unit(0.9 * _hashed("root:" + self.root[word]) + 0.4 * _hashed(word))
        return _hashed(word)


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def _hashed(text: str) -> Array:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return _unit(np.frombuffer(digest, dtype=">u2").astype(np.float64) / 65535 * 2 - 1)


@dataclass(frozen=True)
class Case:
    """A case of the oracle."""

    row: dict[str, Any]
    truth: SceneGraph

    @property
    def text(self) -> str:
        return self.row["completion"]

    @property
    def frame(self) -> tuple[float, float]:
        return self.row["box_scale"][0], self.row["box_scale"][1]


@pytest.fixture(scope="session")
def toy(shared: Path) -> ToySimilarity:
    similarity = ToySimilarity(shared / "oracle" / "toy_groups.json")
    assert similarity.table(["man"], ["guy"])[0, 0] == pytest.approx(0.8666571570305627, abs=1e-15)
    assert similarity.table(["wearing"], ["wears"])[0, 0] == pytest.approx(0.836217132679946, abs=1e-15)
    return similarity


@pytest.fixture(scope="session")
def cases(shared: Path) -> list[Case]:
    found = []
    with gzip.open(shared / "oracle" / "reward_cases.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            record = {
                "image_id": row["case_id"],
                "width": row["width"],
                "height": row["height"],
                "objects": row["gt_objects"],
                "relationships": row["gt_relationships"],
            }
            found.append(Case(row, example_of_record(record, row["case_id"], Path()).graph))
    return found
