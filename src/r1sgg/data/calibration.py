"""The calibration of a checkpoint's scores: from the confidence of a single answer to the share that is right.

    {"objects": {"scores": [0.0, 0.41, ..., 1.0], "values": [0.0, 0.22, ..., 1.0]},
     "triplets": {"temperature": 1.7},
     "fitted": {"images": 500, "method": "isotonic", "data_hash": "77c1...", "guide": "open", "temperature": 0.0}}

`calibration.json` lies in the checkpoint's folder, where `r1sgg calibrate` writes it. It holds for single answers:
merged samples have shares as scores (`r1sgg.inference.merge`). How the maps are fitted: `r1sgg.metrics.fitting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from r1sgg.data.jsonl import read_json
from r1sgg.errors import InputError, short
from r1sgg.files import write_json
from r1sgg.graph.records import are_numbers
from r1sgg.graph.scene import Boxes, SceneGraph

CALIBRATION_FILE = "calibration.json"
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """A map of scores in [0, 1] to scores in [0, 1] that never turns an order round.

    Attributes:
        scores, values: its corners; linear between them. None for a temperature.
        temperature: the log-odds of a score are divided by it; used where there are no corners.
    """

    scores: tuple[float, ...] | None = None
    values: tuple[float, ...] | None = None
    temperature: float = 1.0

    def __call__(self, scores: Boxes) -> Boxes:
        """Map scores, (N,) to (N,), rounded to 6 digits."""
        if self.scores is not None and self.values is not None:
            mapped = np.interp(scores, self.scores, self.values)
        else:
            inside = np.clip(scores, 1e-9, 1 - 1e-9)
            mapped = 1 / (1 + np.exp(-np.log(inside / (1 - inside)) / self.temperature))
        return np.asarray(np.round(mapped, _DIGITS), dtype=np.float64)

    def to_record(self) -> dict[str, Any]:
        """Return the map as JSON values."""
        if self.scores is None or self.values is None:
            return {"temperature": self.temperature}
        return {"scores": list(self.scores), "values": list(self.values)}

    @classmethod
    def from_record(cls, record: Any, where: str) -> Self:
        """Read a map.

        Raises:
            InputError: it is none, or it falls somewhere.
        """
        if isinstance(record, dict) and record.keys() == {"temperature"}:
            if are_numbers([record["temperature"]], 1) and record["temperature"] > 0:
                return cls(temperature=float(record["temperature"]))
        elif isinstance(record, dict) and record.keys() == {"scores", "values"}:
            columns = [record["scores"], record["values"]]
            if all(isinstance(c, list) and len(c) >= 2 and are_numbers(c, len(c)) for c in columns):
                x, y = (np.array(c, dtype=np.float64) for c in columns)
                rises = len(x) == len(y) and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all()
                if rises and y[0] >= 0 and y[-1] <= 1:
                    return cls(tuple(x.tolist()), tuple(y.tolist()))
        expected = '{"temperature": T > 0}, or "scores" and "values" in [0, 1] that rise'
        raise InputError(where, expected=expected, found=short(record), hint="fit it again with `r1sgg calibrate`")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps of the scores of objects and of triplets, and what they were fitted on."""

    objects: ScoreMap
    triplets: ScoreMap
    fitted: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, graph: SceneGraph) -> SceneGraph:
        """Return the graph with calibrated scores; a triplet's is at most those of its objects."""
        objects, triplets = graph.object_scores, graph.relationship_scores
        if objects is not None:
            objects = self.objects(objects)
        if triplets is not None:
            triplets = self.triplets(triplets)
            if objects is not None and graph.pairs:
                triplets = np.minimum(triplets, objects[np.array(graph.pairs)].min(1))
        return replace(graph, object_scores=objects, relationship_scores=triplets)

    def remark(self, *, guide: bool, temperature: float, samples: int = 1) -> str | None:
        """Return one sentence where answers are made in another way than those that it was fitted on."""
        if samples > 1:
            return f"{CALIBRATION_FILE} is for single answers: scores of {samples} merged samples stay as they are"
        ours = {"guide": guide, "temperature": temperature}
        theirs = {key: self.fitted.get(key) for key in ours}
        if any(theirs[key] is not None and theirs[key] != ours[key] for key in ours):
            said = ", ".join(f"{key} {theirs[key]} there and {ours[key]} here" for key in ours)
            return f"{CALIBRATION_FILE} was fitted on other answers ({said}): fit it again, scores may be off"
        return None

    def write(self, folder: Path) -> Path:
        """Write it into a checkpoint's folder; return the file."""
        path = folder / CALIBRATION_FILE
        record = {"objects": self.objects.to_record(), "triplets": self.triplets.to_record()}
        write_json(path, {**record, "fitted": dict(self.fitted)})
        return path


def read_calibration(folder: Path) -> Calibration | None:
    """Return the calibration of a checkpoint's folder, None if it has none.

    Raises:
        InputError: the file is not what `Calibration.write` writes.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(fitted := record.get("fitted", {}), dict):
        raise InputError(str(path), expected="a JSON object with objects, triplets and fitted", found=short(record))
    objects, triplets = (ScoreMap.from_record(record.get(key), f"{path}: {key}") for key in ("objects", "triplets"))
    return Calibration(objects, triplets, fitted)
