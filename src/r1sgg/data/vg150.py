"""VG150: Visual Genome with 150 object classes and 50 predicates, from VG-SGG.h5.

    vg150:DIR[,split=train|val|test][,scale=1024|512][,images=DIR][,...]

DIR holds VG-SGG.h5 (or VG-SGG-with-attri.h5), VG-SGG-dicts.json (or -with-attri), image_data.json and, beside them or
under images=, the photos in VG_100K and VG_100K_2. Datasets in the h5, with one image's rows:

    img_to_first_box [0], img_to_last_box [1], img_to_first_rel [0], img_to_last_rel [0]    inclusive; -1 for none
    split [0]                                              0 training, 2 test; split_rel, in newer files, 0 / 1 / 2
    boxes_1024 [[341, 598, 134, 318], [512, 600, 1022, 326]]        centre x, centre y, width, height; longest side 1024
    labels [[78], [124]], predicates [[47]], relationships [[0, 1]]                 classes from 1; rows of boxes_*

image_data.json has the same order once the four images that cannot be decoded are left out. Images without boxes or
without relations are left out, and validation is the first 5,000 training images that remain (options empty=yes,
val_images=N; splits=split_rel takes the three-way split of newer files instead).

Two filters that training code often applies silently are off by default: filter_non_overlap=yes drops relations between
boxes that do not touch (and training images without any other relation); filter_duplicate_rels=yes keeps one predicate
of each ordered pair, drawn with seed=0. filters=ovsgtr is both, in training only, as OvSGTR has it, and
splits=split_GLIPunseen its split. Corners are exact (centre -+ half the size); the classic loaders truncate half
units.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r1sgg.data.assemble import assemble
from r1sgg.data.base import Example
from r1sgg.data.columns import existing_file
from r1sgg.data.dataset import DataSet, Fault, Indices, fault
from r1sgg.data.jsonl import read_json
from r1sgg.data.spec import Spec
from r1sgg.errors import InputError, require, short

CORRUPT = frozenset((1592, 1722, 4616, 4617))
"""Images of Visual Genome that cannot be decoded; the h5 has no rows for them."""
VALIDATION_IMAGES = 5000
GLIP_UNSEEN = "split_GLIPunseen"
"""OvSGTR's split: its test images are those that GLIP was not pre-trained on; -2 marks the others."""

_PER_IMAGE = ("img_to_first_box", "img_to_last_box", "img_to_first_rel", "img_to_last_rel")
_FOLDERS = ("VG_100K", "VG_100K_2", "images")


class VG150Data(DataSet):
    """One split. All arrays stay in memory (35 MB for the published file).

    Attributes:
        columns: the arrays of the h5 and of image_data.json, by name; see `_read_h5` and `_add_images`.
        rows: the places of this split's images in the columns.
        kept: whether a relation is used, for each in the h5.
        folders: where photos may be.
    """

    def __init__(
        self, name: str, h5: Path, names: tuple[list[str], list[str]], split: str | None, columns: Mapping[str, Any]
    ) -> None:
        super().__init__(name, split)
        self.h5, self.columns = h5, columns
        self.objects, self.predicates = names
        self.rows: Indices = np.arange(len(columns["split"]), dtype=np.int64)
        self.kept: npt.NDArray[np.bool_] = np.ones(len(columns["relationships"]), dtype=bool)
        self.folders: list[Path] = []

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        row = int(self.rows[k])
        columns = self.columns
        first, last, first_rel, last_rel = (int(columns[key][row]) for key in _PER_IMAGE)
        size = int(columns["width"][row]), int(columns["height"][row])
        image_id = str(columns["image_id"][row])
        boxes = columns["boxes"][first : last + 1] * (max(size) / columns["scale"])
        half = boxes[:, 2:] / 2
        with np.errstate(invalid="ignore"):  # infinities: assemble names them
            corners = np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)
        relations = slice(first_rel, last_rel + 1) if first_rel >= 0 else slice(0, 0)  # -1: the image has none
        kept = self.kept[relations]
        ends = (columns["relationships"][relations][kept] - first).tolist()
        classes = columns["predicates"][relations][kept].tolist()
        faults: list[Fault] = []
        graph = assemble(
            [_name(self.objects, c) for c in columns["labels"][first : last + 1].tolist()],
            corners,
            ((s, o, _name(self.predicates, c)) for (s, o), c in zip(ends, classes, strict=True)),
            size,
            f"{self.h5}: image_id {image_id}",
            faults,
        )
        return Example(image_id, *size, graph, existing_file(self.folders, f"{image_id}.jpg"), self.split), faults


def _name(names: list[str], number: int) -> str | None:
    return names[number - 1] if 0 < number <= len(names) else None


def open_vg150(spec: Spec) -> VG150Data:
    """See the module's docstring.

    Raises:
        ConfigError: an option with a wrong value.
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    split = spec.choice("split", ("train", "val", "test"), "train")
    field = spec.choice("splits", ("split", "split_rel", GLIP_UNSEEN), "split")
    ovsgtr = spec.choice("filters", ("none", "ovsgtr"), "none") == "ovsgtr"
    scale = int(spec.choice("scale", ("1024", "512"), "1024"))
    validation = spec.whole("val_images", VALIDATION_IMAGES)
    folder = spec.path if spec.path.is_dir() else spec.path.parent
    h5 = spec.path if spec.path.is_file() else _one_of(spec.path, "VG-SGG.h5", "VG-SGG-with-attri.h5")
    names = _dictionary(_one_of(folder, "VG-SGG-dicts.json", "VG-SGG-dicts-with-attri.json"))
    columns = _read_h5(h5, scale, field)
    notes = _add_images(_one_of(folder, "image_data.json"), h5, columns)
    data = VG150Data(spec.text, h5, names, split, columns)
    data.notes += notes

    usable = columns["usable"] & (columns["img_to_first_box"] >= 0)
    code = {"train": 0, "val": 1 if field == "split_rel" else 0, "test": 2}[split]
    usable &= columns["split"] == code
    if not spec.yes("empty"):
        related = columns["img_to_first_rel"] >= 0
        data.empty_ids = frozenset(map(str, columns["image_id"][usable & ~related].tolist()))
        usable &= related
    data.rows = np.flatnonzero(usable)
    if field != "split_rel" and split != "test":
        data.rows = data.rows[:validation] if split == "val" else data.rows[validation:]
    if spec.choice("filter_non_overlap", ("yes", "no"), "yes" if ovsgtr and split == "train" else "no") == "yes":
        data.kept &= _touching(columns)
        if split == "train":
            data.rows = data.rows[_has_relation(data)]
    if spec.choice("filter_duplicate_rels", ("yes", "no"), "yes" if ovsgtr and split == "train" else "no") == "yes":
        data.kept &= _one_per_pair(columns["relationships"], data.kept, spec.whole("seed", 0))
    if not len(data.rows):
        hint = "" if field == "split_rel" else f"validation is the first {validation:,} training images"
        raise InputError(str(h5), expected=f"images of split {split!r}", found="none", hint=hint)
    _find_images(spec, folder, data)
    return data


# ---------------------------------------------------------------- the files


def _one_of(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raw = (folder / "objects.json").exists() and (folder / "relationships.json").exists()
    hint = "raw Visual Genome is converted by `r1sgg data vg`, and its output opened" if raw else "check the path"
    raise InputError(str(folder), expected=" or ".join(names), found="no such file", hint=hint)


def _read_h5(path: Path, scale: int, split_field: str) -> dict[str, Any]:
    """Return the datasets of the h5 as flat arrays, checked against each other."""
    h5py = require("h5py", "train")
    wanted = (f"boxes_{scale}", "labels", "relationships", "predicates", *_PER_IMAGE, split_field)
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        with h5py.File(path, "r") as file:
            for key in wanted:
                if key not in file:
                    held = ", ".join(sorted(file)) or "nothing"
                    raise InputError(f"{path}: {key}", expected="this dataset", found=f"only {held}")
                arrays[key] = file[key][()]
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"a damaged or cut file ({error})"
        raise InputError(str(path), expected="a whole HDF5 file", found=found, hint="fetch it again") from error
    boxes, ends = arrays[f"boxes_{scale}"], arrays["relationships"]
    labels, predicates = arrays["labels"].reshape(-1), arrays["predicates"].reshape(-1)
    split = arrays[split_field].reshape(-1)
    for key, shape, right in (
        (f"boxes_{scale}", boxes.shape, (len(labels), 4)),
        ("relationships", ends.shape, (len(predicates), 2)),
        *((key, arrays[key].shape, split.shape) for key in _PER_IMAGE),
    ):
        if shape != right:
            raise InputError(f"{path}: {key}", expected=f"shape {right}, as its partners have", found=str(shape))
    allowed = {"split_rel": (0, 1, 2), GLIP_UNSEEN: (0, 2, -2)}.get(split_field, (0, 2))
    if not np.isin(split, allowed).all():
        k = int(np.flatnonzero(~np.isin(split, allowed))[0])
        expected = f"{', '.join(map(str, allowed))}"
        hint = f"three-way splits are read with splits=split_rel, OvSGTR's with splits={GLIP_UNSEEN}"
        raise InputError(f"{path}: {split_field}[{k}]", expected=expected, found=str(split[k]), hint=hint)
    columns: dict[str, Any] = {key: arrays[key].astype(np.int64) for key in _PER_IMAGE}
    columns |= {"boxes": boxes, "scale": scale, "labels": labels, "predicates": predicates, "split": split}
    columns["relationships"] = ends.astype(np.int64)
    for kind, count in (("box", len(labels)), ("rel", len(predicates))):
        first, last = columns[f"img_to_first_{kind}"], columns[f"img_to_last_{kind}"]
        wrong = ~(((first == -1) & (last == -1)) | ((first >= 0) & (first <= last) & (last < count)))
        if wrong.any():
            k = int(wrong.argmax())
            raise InputError(
                f"{path}: img_to_first_{kind}[{k}], img_to_last_{kind}[{k}]",
                expected=f"-1 and -1, or first <= last < {count}",
                found=f"{first[k]} and {last[k]}",
            )
    return columns


def _dictionary(path: Path) -> tuple[list[str], list[str]]:
    """Return the classes and predicates in the order of their numbers, of which 1 is the first."""
    document = read_json(path)
    lists: list[list[str]] = []
    for key in ("idx_to_label", "idx_to_predicate"):
        table = document.get(key) if isinstance(document, dict) else None
        wanted = [str(k + 1) for k in range(len(table))] if isinstance(table, dict) else []
        if not isinstance(table, dict) or not wanted or set(table) != set(wanted):
            found = "nothing" if table is None else short(table)
            raise InputError(f"{path}: {key}", expected='{"1": "airplane", "2": ...}', found=found)
        lists.append([str(table[k]) for k in wanted])
    return lists[0], lists[1]


def _add_images(path: Path, h5: Path, columns: dict[str, Any]) -> list[Fault]:
    """Add ids and sizes from image_data.json, one of each per image of the h5; return what was wrong."""
    document = read_json(path)
    rows = [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []
    rows = [row for row in rows if row.get("image_id") not in CORRUPT]
    count = len(columns["split"])
    if len(rows) != count:
        raise InputError(
            str(path),
            expected=f"an entry for each of the {count:,} images of {h5.name}, beside the 4 that cannot be decoded",
            found=f"{len(rows):,}",
            hint="both files must be of one release",
        )
    try:
        table = np.array([[int(row[key]) for key in ("image_id", "width", "height")] for row in rows], dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        found = f"an entry without ({error})"
        raise InputError(str(path), expected="image_id, width and height in every entry", found=found) from error
    columns["image_id"], columns["width"], columns["height"] = table.reshape(-1, 3).T.copy()
    _, first = np.unique(columns["image_id"], return_index=True)
    usable = np.zeros(count, dtype=bool)
    usable[first] = True
    notes = [
        fault("id", f"{path}: entry {k}", "image ids that differ", f"image_id {columns['image_id'][k]} again")
        for k in np.flatnonzero(~usable).tolist()
    ]
    sized = (columns["width"] > 0) & (columns["height"] > 0)
    notes += [
        fault("record", f"{path}: image_id {columns['image_id'][k]}", "a width and height above 0", "0 or less")
        for k in np.flatnonzero(~sized).tolist()
    ]
    columns["usable"] = usable & sized
    return notes


def _find_images(spec: Spec, folder: Path, data: VG150Data) -> None:
    root = spec.folder("images", folder)
    names = (*_FOLDERS, ".") if "images" in spec.options else _FOLDERS
    data.folders = [root / name for name in names if (root / name).is_dir()]
    if not data.folders:
        expected = "the photos in VG_100K and VG_100K_2"
        data.notes.append(fault("image", str(root), expected, "no such folder", "to train, name it with images=DIR"))


# ---------------------------------------------------------------- the two filters


def _touching(columns: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Return for each of R relations whether its two boxes overlap."""
    boxes, ends = columns["boxes"].astype(np.float64), columns["relationships"].clip(0, len(columns["boxes"]) - 1)
    apart = np.abs(boxes[ends[:, 0], :2] - boxes[ends[:, 1], :2])
    touching: npt.NDArray[np.bool_] = (apart * 2 < boxes[ends[:, 0], 2:] + boxes[ends[:, 1], 2:]).all(1)
    return touching


def _has_relation(data: VG150Data) -> npt.NDArray[np.bool_]:
    """Return for each image in `rows` whether one of its relations is left, or it had none."""
    total = np.concatenate(([0], np.cumsum(data.kept)))  # kept relations before each relation
    # Kept relations of an image are total[last + 1] - total[first]; first is -1, which clip makes 0, for none.
    first, last = data.columns["img_to_first_rel"][data.rows], data.columns["img_to_last_rel"][data.rows]
    left: npt.NDArray[np.bool_] = (first < 0) | (total[last + 1] > total[first.clip(0)])
    return left


def _one_per_pair(ends: Indices, kept: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.bool_]:
    """Return for each of R relations whether it is the one that was drawn of its ordered pair, all equally likely."""
    # np.unique returns the first of equal rows, and the rows are in random order: each is equally likely.
    order = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    _, first = np.unique(ends[order], axis=0, return_index=True)
    chosen = np.zeros(len(ends), dtype=bool)
    chosen[order[first]] = True
    return chosen
