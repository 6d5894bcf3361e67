"""Splits by name and hash, and VG150's open-vocabulary splits.

A results file has `describe(data)`; `difference` says why two described sets do not fit.

Open-vocabulary VG150 (base and novel names as in OvSGTR, Chen et al. 2024, and R1-SGG; 105 / 45 object classes, 35 / 15
predicates) trains on base names and is evaluated on base and novel names separately:

    vg150:DIR,split=train,open=OvR                       part=train: only what training may see
    vg150:DIR,split=test,open=OvR,part=novel             only relations that are novel in this mode; all objects

| mode | training keeps | a relation is novel if |
|---|---|---|
| OvD | base objects and relations between them | its subject or object is |
| OvR | all objects, base predicates | its predicate is |
| OvD+R | base objects and predicates | one of the three is |

Part "base" is the relations that are not novel. Images that keep no relation are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from r1sgg.data.dataset import DataSet, Subset, fault
from r1sgg.data.spec import is_kind, parse_spec
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids

MODES = ("OvD", "OvR", "OvD+R")
PARTS = ("train", "base", "novel")

NOVEL_OBJECTS = frozenset(
    ("bed", "bench", "bike", "boy", "building", "bus", "car", "cat", "chair", "dog", "door", "ear", "elephant",
     "fence", "giraffe", "girl", "glass", "hair", "hand", "hat", "head", "horse", "jacket", "leg", "man", "pant",
     "person", "plane", "plate", "pole", "shirt", "shoe", "short", "sign", "snow", "street", "table", "tail", "track",
     "train", "tree", "wheel", "window", "woman", "zebra")
)  # fmt: skip
"""45 object classes of VG150 that open-vocabulary training does not see."""
NOVEL_PREDICATES = frozenset(
    ("attached to", "belonging to", "eating", "for", "in", "of", "on", "painted on", "part of", "playing", "riding",
     "says", "walking in", "walking on", "wears")
)  # fmt: skip
"""15 predicates of VG150 that open-vocabulary training does not see."""


def describe(data: DataSet) -> dict[str, Any]:
    """Return what a results file says about a set: name, split, number of images, and the two hashes."""
    hashes = data.hashes()
    return {"name": data.name, "split": data.split, "images": len(data), "hashes": hashes}


def difference(trained: Mapping[str, Any], evaluated: Mapping[str, Any]) -> str | None:
    """Return one sentence if the evaluated set does not fit the training set, None if it does.

    Both are described sets, as `describe` returns them or a run or results file has them. Two splits of one source, or
    two plain files, fit unless they have the same images; sets of two known sources never fit.
    """
    ours, theirs = trained.get("hashes") or {}, evaluated.get("hashes") or {}
    name = f"{evaluated.get('name')} (split {evaluated.get('split')})"
    if ours.get("images") is not None and ours.get("images") == theirs.get("images"):
        return f"{name} has the same images that the model was trained on"
    left, right = (_source(str(d.get("name"))) for d in (trained, evaluated))
    if left != right and not left[0] == right[0] == "jsonl":  # two plain files may be splits of one set
        return f"trained on {trained.get('name')} (split {trained.get('split')}), evaluated on another set: {name}"
    if evaluated.get("split") == "train":
        return f"{name} is a training split"
    return None


_SAME_SOURCE = ("splits", "val_images", "preset", "open")
"""Options that decide which images are in which split, or which annotations are visible."""
_DEFAULTS = {"preset": "small"}


def _source(name: str) -> tuple[str, ...]:
    """Return what all splits of one source have in common."""
    if not is_kind(name.partition(":")[0]):
        return ("jsonl", name)
    spec = parse_spec(name)
    return (
        spec.kind,
        "" if spec.kind == "scenes" else spec.place,
        *(spec.options.get(k, _DEFAULTS.get(k, "")) for k in _SAME_SOURCE),
    )


# ---------------------------------------------------------------- open vocabulary


def training_graph(graph: SceneGraph, mode: str) -> SceneGraph:
    """Return what training may see of a graph; if it loses an object, ids are numbered anew.

    Raises:
        ConfigError: no such mode.
    """
    _check(mode)
    objects = [k for k, label in enumerate(graph.labels) if mode == "OvR" or label not in NOVEL_OBJECTS]
    relations = [k for k, p in enumerate(graph.predicates) if mode == "OvD" or p not in NOVEL_PREDICATES]
    seen = graph.take(objects, relations)
    return seen if len(seen) == len(graph) else replace(seen, ids=number_ids(seen.labels))


def novel_relations(graph: SceneGraph, mode: str) -> list[bool]:
    """Return for each relation whether it is novel in this mode.

    Raises:
        ConfigError: no such mode.
    """
    _check(mode)
    return [
        (mode != "OvR" and (s in NOVEL_OBJECTS or o in NOVEL_OBJECTS)) or (mode != "OvD" and p in NOVEL_PREDICATES)
        for s, p, o in graph.triplets
    ]


def part_of(graph: SceneGraph, mode: str, part: str) -> SceneGraph:
    """Return a graph with all its objects and only its base, or only its novel, relations.

    Raises:
        ConfigError: no such mode.
    """
    rows = [k for k, novel in enumerate(novel_relations(graph, mode)) if novel == (part == "novel")]
    return graph.take(range(len(graph)), rows)


def open_vocabulary(data: DataSet, mode: str, part: str = "train") -> Subset:
    """Return a view of a VG150 set for open-vocabulary work (see the module's docstring); reads every record once.

    Raises:
        ConfigError: no such mode or part.
        InputError: no image keeps a relation.
    """
    _check(mode)
    if part not in PARTS:
        raise ConfigError(f"part: expected one of {', '.join(PARTS)}, found {part!r}")

    def change(graph: SceneGraph) -> SceneGraph:
        return training_graph(graph, mode) if part == "train" else part_of(graph, mode, part)

    rows = [k for k, example in enumerate(data) if change(example.graph).pairs]
    if not rows:
        raise InputError(data.name, expected=f"relations for open={mode}, part={part}", found="none")
    view = Subset(data, rows, data.name, change)
    if lost := len(data) - len(rows):
        expected = f"relations for open={mode}, part={part}"
        view.notes.append(fault("empty", data.name, expected, f"{lost} of {len(data)} images without"))
    return view


def _check(mode: str) -> None:
    if mode not in MODES:
        raise ConfigError(f"open: expected one of {', '.join(MODES)}, found {mode!r}")
