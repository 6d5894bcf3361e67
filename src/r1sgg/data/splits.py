"""Splits by name and hash, the triplets a training set has seen, and VG150's open-vocabulary splits.

A results file carries `describe(data)`; `difference` says aloud what two of them don't share. Zero-shot triplets are
derived from the training set that was used, never shipped.

Open-vocabulary VG150 (base and novel names as OvSGTR, Chen et al. 2024, and R1-SGG use them; 105 / 45 objects, 35 / 15
predicates) trains on base names and is evaluated on base and novel apart:

    vg150:DIR,split=train,open=OvR                       part=train: only what a model may see
    vg150:DIR,split=test,open=OvR,part=novel             the relations that are novel in this mode; all objects

| mode | training keeps | a relation is novel if |
|---|---|---|
| OvD | base objects and relations between them | its subject or object is |
| OvR | all objects, base predicates | its predicate is |
| OvD+R | base objects and predicates | one of the three is |

Part "base" is what "novel" isn't. Images that keep no relation are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from r1sgg.data.base import Example
from r1sgg.data.dataset import DataSet, Subset, fault
from r1sgg.data.spec import is_kind, parse_spec
from r1sgg.errors import ConfigError, InputError
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids
from r1sgg.graph.vocabulary import VG150

MODES = ("OvD", "OvR", "OvD+R")
PARTS = ("train", "base", "novel")

NOVEL_OBJECTS = frozenset(
    ("bed", "bench", "bike", "boy", "building", "bus", "car", "cat", "chair", "dog", "door", "ear", "elephant",
     "fence", "giraffe", "girl", "glass", "hair", "hand", "hat", "head", "horse", "jacket", "leg", "man", "pant",
     "person", "plane", "plate", "pole", "shirt", "shoe", "short", "sign", "snow", "street", "table", "tail", "track",
     "train", "tree", "wheel", "window", "woman", "zebra")
)  # fmt: skip
"""45 object classes of VG150 that open-vocabulary training doesn't see."""
NOVEL_PREDICATES = frozenset(
    ("attached to", "belonging to", "eating", "for", "in", "of", "on", "painted on", "part of", "playing", "riding",
     "says", "walking in", "walking on", "wears")
)  # fmt: skip
"""15 predicates of VG150 that open-vocabulary training doesn't see."""
BASE_OBJECTS = frozenset(VG150.objects) - NOVEL_OBJECTS
BASE_PREDICATES = frozenset(VG150.predicates) - NOVEL_PREDICATES

Triplet = tuple[str, str, str]


def describe(data: DataSet) -> dict[str, Any]:
    """What a results file says about a set: name, split, number of images, and the two hashes."""
    hashes = data.hashes()
    return {"name": data.name, "split": data.split, "images": len(data), "hashes": hashes}


def difference(trained: Mapping[str, Any], evaluated: Mapping[str, Any]) -> str | None:
    """One sentence if a set that is evaluated doesn't fit the one that was trained on; None if it does.

    Both are `describe`d sets, or what a run or results file holds of one. Two splits of one source, or two
    plain files, fit unless they hold the same images; sets of two known sources never fit.
    """
    ours, theirs = trained.get("hashes") or {}, evaluated.get("hashes") or {}
    name = f"{evaluated.get('name')} (split {evaluated.get('split')})"
    if ours.get("images") is not None and ours.get("images") == theirs.get("images"):
        return f"{name} holds the very images that the model was trained on"
    left, right = (_source(str(d.get("name"))) for d in (trained, evaluated))
    if left != right and not left[0] == right[0] == "jsonl":  # two files of one's own may well be splits of one set
        return f"trained on {trained.get('name')} (split {trained.get('split')}), evaluated on another set: {name}"
    if evaluated.get("split") == "train":
        return f"{name} is a training split"
    return None


_SAME_SOURCE = ("splits", "val_images", "preset", "open")
"""Options that decide which images are in which split, or what may be seen of them."""
_DEFAULTS = {"preset": "small"}


def _source(name: str) -> tuple[str, ...]:
    """What two splits of one source have in common."""
    if not is_kind(name.partition(":")[0]):
        return ("jsonl", name)
    spec = parse_spec(name)
    return (
        spec.kind,
        "" if spec.kind == "scenes" else spec.place,
        *(spec.options.get(k, _DEFAULTS.get(k, "")) for k in _SAME_SOURCE),
    )


# ---------------------------------------------------------------- zero-shot


def seen_triplets(training: Iterable[Example]) -> frozenset[Triplet]:
    """The (subject, predicate, object) classes that occur in a training set."""
    return frozenset(triplet for example in training for triplet in example.graph.triplets)


def zero_shot(example: Example, seen: frozenset[Triplet]) -> list[int]:
    """The relations of an example whose triplet the training set has not seen, by number."""
    return [k for k, triplet in enumerate(example.graph.triplets) if triplet not in seen]


# ---------------------------------------------------------------- open vocabulary


def training_graph(graph: SceneGraph, mode: str) -> SceneGraph:
    """What training may see of a graph; ids are numbered anew.

    Raises:
        ConfigError: no such mode.
    """
    _check(mode)
    objects = [k for k, label in enumerate(graph.labels) if mode == "OvR" or label not in NOVEL_OBJECTS]
    relations = [k for k, p in enumerate(graph.predicates) if mode == "OvD" or p not in NOVEL_PREDICATES]
    place = {old: new for new, old in enumerate(objects)}
    relations = [k for k in relations if graph.pairs[k][0] in place and graph.pairs[k][1] in place]
    labels = tuple(graph.labels[k] for k in objects)
    return SceneGraph(
        graph.ids if len(objects) == len(graph) else number_ids(labels),
        labels,
        graph.boxes[np.array(objects, dtype=np.int64)],
        tuple((place[graph.pairs[k][0]], place[graph.pairs[k][1]]) for k in relations),
        tuple(graph.predicates[k] for k in relations),
    )


def novel_relations(graph: SceneGraph, mode: str) -> list[bool]:
    """For each relation whether it is novel in this mode.

    Raises:
        ConfigError: no such mode.
    """
    _check(mode)
    return [
        (mode != "OvR" and (s in NOVEL_OBJECTS or o in NOVEL_OBJECTS)) or (mode != "OvD" and p in NOVEL_PREDICATES)
        for s, p, o in graph.triplets
    ]


def part_of(graph: SceneGraph, mode: str, part: str) -> SceneGraph:
    """A graph with all its objects and only its base, or only its novel, relations.

    Raises:
        ConfigError: no such mode.
    """
    rows = [k for k, novel in enumerate(novel_relations(graph, mode)) if novel == (part == "novel")]
    return replace(
        graph, pairs=tuple(graph.pairs[k] for k in rows), predicates=tuple(graph.predicates[k] for k in rows)
    )


def open_vocabulary(data: DataSet, mode: str, part: str = "train") -> Subset:
    """A view of a VG150 set for open-vocabulary work (see the module's docstring); reads every record once.

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
