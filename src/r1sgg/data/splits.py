"""Splits by name and hash, and VG150's open-vocabulary splits.

A results file has `describe(data)`; `difference` says why two described sets do not fit.

Open-vocabulary VG150 (`r1sgg.graph.open_vocabulary`) trains on base names, and one set of predictions for the whole
test set is evaluated (`r1sgg evaluate --open-vocabulary`):

    vg150:DIR,split=train,open=OvD               part=train: only what training may see, parents for novel classes
    vg150:DIR,split=train,open=OvD,parents=no    objects of novel classes dropped instead
    vg150:DIR,split=test,open=OvR,part=novel     to look at: only relations that are novel in this mode

Part "base" is the relations that are not novel; those that are novel in OvD+R are those of either of its columns.
Images that keep no relation are left out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from r1sgg.data.dataset import DataSet, Subset, fault
from r1sgg.data.spec import is_kind, parse_spec
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.open_vocabulary import NOVEL_OBJECTS, NOVEL_PREDICATES, PARENTS, mode_of, novelty
from r1sgg.graph.open_vocabulary import PARTS as PARTS_OF
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids

MODES = ("OvD", "OvR", "OvD+R")
PARTS = ("train", "base", "novel")


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


_SAME_SOURCE = ("splits", "val_images", "preset")
"""Options that decide which images are in which split. Not "open": what its training doesn't see is what is tested."""
_DEFAULTS = {"preset": "small"}
_OLD_VALUES = {"standard": "hard"}  # presets of scenes before version 0.2


def _source(name: str) -> tuple[str, ...]:
    """Return what all splits of one source have in common."""
    if not is_kind(name.partition(":")[0]):
        return ("jsonl", name)
    spec = parse_spec(name)
    return (
        spec.kind,
        "" if spec.kind == "scenes" else spec.place,
        *(_OLD_VALUES.get(value, value) for value in (spec.options.get(k, _DEFAULTS.get(k, "")) for k in _SAME_SOURCE)),
    )


# ---------------------------------------------------------------- open vocabulary


def training_graph(graph: SceneGraph, mode: str, *, parents: bool = True) -> SceneGraph:
    """Return what training may see of a graph; if it loses or renames an object, ids are numbered anew.

    Args:
        graph: the annotation.
        mode: OvD, OvR or OvD+R.
        parents: give objects of novel classes a base parent where there is one, as published; of two parents each
            object has one by chance, the same whenever the graph is read. Otherwise they are dropped.

    Raises:
        ConfigError: no such mode.
    """
    restricted = mode_of(mode)
    labels: list[str | None] = list(graph.labels)
    if restricted != "ovr":
        labels = [_base_name(label, graph, k, parents=parents) for k, label in enumerate(graph.labels)]
    objects = [k for k, label in enumerate(labels) if label is not None]
    relations = [k for k, p in enumerate(graph.predicates) if restricted == "ovd" or p not in NOVEL_PREDICATES]
    seen = graph.take(objects, relations)
    kept = tuple(label for label in labels if label is not None)
    return seen if kept == graph.labels else replace(seen, labels=kept, ids=number_ids(kept))


def _base_name(label: str, graph: SceneGraph, k: int, *, parents: bool) -> str | None:
    if label not in NOVEL_OBJECTS:
        return label
    known = PARENTS.get(label, ()) if parents else ()
    return random.Random(f"{graph.ids} {graph.pairs} {k}").choice(known) if known else None


def novel_relations(graph: SceneGraph, mode: str) -> list[bool]:
    """Return for each relation whether it is in a novel column of this mode.

    Raises:
        ConfigError: no such mode.
    """
    bits = [bit for bit in PARTS_OF[mode_of(mode)].values() if bit]
    return [any(novelty(triplet) & bit for bit in bits) for triplet in graph.triplets]


def part_of(graph: SceneGraph, mode: str, part: str) -> SceneGraph:
    """Return a graph with all its objects and only its base, or only its novel, relations.

    Raises:
        ConfigError: no such mode.
    """
    rows = [k for k, novel in enumerate(novel_relations(graph, mode)) if novel == (part == "novel")]
    return graph.take(range(len(graph)), rows)


def open_vocabulary(data: DataSet, mode: str, part: str = "train", *, parents: bool = True) -> Subset:
    """Return a view of a VG150 set for open-vocabulary work (see the module's docstring); reads every record once.

    Raises:
        ConfigError: no such mode or part.
        InputError: no image keeps a relation.
    """
    mode_of(mode)
    if part not in PARTS:
        raise ConfigError(f"part: expected one of {', '.join(PARTS)}, found {part!r}")

    def change(graph: SceneGraph) -> SceneGraph:
        return training_graph(graph, mode, parents=parents) if part == "train" else part_of(graph, mode, part)

    rows = [k for k, example in enumerate(data) if change(example.graph).pairs]
    if not rows:
        raise InputError(data.name, expected=f"relations for open={mode}, part={part}", found="none")
    view = Subset(data, rows, data.name, change)
    if lost := len(data) - len(rows):
        expected = f"relations for open={mode}, part={part}"
        view.notes.append(fault("empty", data.name, expected, f"{lost} of {len(data)} images without"))
    return view
