"""Splits by name and hash, a split of one's own data, and VG150's open-vocabulary splits.

`partition` gives each image of a set to one part (`r1sgg data split`). A results file has `describe(data)`;
`difference` says why two described sets do not fit.

Open-vocabulary VG150 (`r1sgg.graph.open_vocabulary`) trains on base names, and one set of predictions for the whole
test set is evaluated (`r1sgg evaluate --open-vocabulary`):

    vg150:DIR,split=train,open=OvD               part=train: only what training may see, parents for novel classes
    vg150:DIR,split=train,open=OvD,parents=no    objects of novel classes dropped instead
    vg150:DIR,split=test,open=OvR,part=novel     to look at: only relations that are novel in this mode

Part "base" is the relations that are not novel; those that are novel in OvD+R are those of either of its columns.
Images that keep no relation are left out.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from r1sgg.data.base import Example
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


# ---------------------------------------------------------------- a split of one's own data


def parse_parts(text: str) -> dict[str, float]:
    """Return the parts of NAME=SHARE,... with their shares, which add up to 1 here whatever they are written in.

    Raises:
        ConfigError: no such list, a name that is no file name, a share that is not above 0, or fewer than two parts.
    """
    shares: dict[str, float] = {}
    for piece in text.split(","):
        found = re.fullmatch(r"\s*([A-Za-z0-9][A-Za-z0-9_-]*)=([0-9]*\.?[0-9]+)%?\s*", piece)
        if found is None or not float(found[2]) or found[1] in shares:
            what = f"{piece!r} again" if found is not None and found[1] in shares else repr(piece)
            raise ConfigError(f"--parts: expected NAME=SHARE,... with shares above 0, found {what}")
        shares[found[1]] = float(found[2])
    if len(shares) < 2:
        raise ConfigError(f"--parts: expected at least two parts, found {text!r}")
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def part_of_image(image_id: str, shares: Mapping[str, float], seed: int = 0) -> str:
    """Return the part that an image belongs to: by a hash of the seed and its id, whatever other images there are.

    Args:
        image_id: of the image, or what the images of its series have in common.
        shares: of the parts, as `parse_parts` returns them.
        seed: another seed is another split.
    """
    place = int.from_bytes(hashlib.sha256(f"{seed}/{image_id}".encode()).digest()[:8]) / 2**64
    end = 0.0
    for name, share in shares.items():
        end += share
        if place < end:
            return name
    return name  # shares that add up to a little less than 1


@dataclass(frozen=True)
class Partition:
    """A set in parts.

    Attributes:
        data: the whole set.
        rows: the numbers of each part's examples.
        objects, predicates: the names that occur in any part, sorted.
    """

    data: DataSet
    rows: Mapping[str, Sequence[int]]
    objects: tuple[str, ...]
    predicates: tuple[str, ...]

    def examples(self, name: str) -> Iterator[Example]:
        """Yield the examples of a part, with its name as their `split`."""
        return (replace(self.data[k], split=name) for k in self.rows[name])

    def vocabulary(self, name: str) -> dict[str, Any]:
        """Return the names as a vocabulary file holds them."""
        return {"name": name, "objects": list(self.objects), "predicates": list(self.predicates)}


def partition(data: DataSet, shares: Mapping[str, float], seed: int = 0, series: str | None = None) -> Partition:
    """Give each image of a set to one part; reads every record once.

    Args:
        data: the set, whose image ids differ.
        shares: of the parts, as `parse_parts` returns them.
        seed: another seed is another split.
        series: a regular expression; images whose ids match the same text are in one part.

    Raises:
        ConfigError: `series` is no regular expression, or an id does not match it.
        InputError: a part would have no image.
    """
    try:
        pattern = re.compile(series or "")
    except re.error as error:
        raise ConfigError(f"--series: expected a regular expression, found {series!r} ({error})") from error
    rows: dict[str, list[int]] = {name: [] for name in shares}
    objects: set[str] = set()
    predicates: set[str] = set()
    for k, example in enumerate(data):
        common = example.image_id
        if series:
            if not (found := pattern.search(common)) or not found[0]:
                raise ConfigError(f"--series {series!r}: expected a match in every image id, found none in {common!r}")
            common = found[0]
        rows[part_of_image(common, shares, seed)].append(k)
        objects.update(example.graph.labels)
        predicates.update(example.graph.predicates)
    if empty := [name for name, of_part in rows.items() if not of_part]:
        found_there = f"none of {len(data)}"
        hint = "give it a larger share, or try another --seed"
        raise InputError(data.name, expected=f"an image for part {empty[0]!r}", found=found_there, hint=hint)
    return Partition(data, rows, tuple(sorted(objects)), tuple(sorted(predicates)))


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
