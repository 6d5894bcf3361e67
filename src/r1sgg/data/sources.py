"""One way to name any data: `open_data` takes what the user gave as --data.

    scenes:50000,seed=1,preset=small,split=train    drawn when needed (see `r1sgg.miniature.sources`)
    train.jsonl   jsonl:train.jsonl,split=val       your own ground truth, images relative to the file
    vg150:DIR,split=train,scale=1024                VG-SGG.h5, its dictionary and image_data.json
    psg:DIR,split=test                              psg.json and COCO's images
    coco:DIR,split=train                            COCO-format sets (SGG-Benchmark)
    hub:JosephZ/vg150_train_sgg_prompt              a set of the Hugging Face Hub; uses the network

Further options are in the docstring of each reader. Only `hub:` downloads anything.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from r1sgg.data.base import Example, example_digest, example_of_record, hash_of_digests
from r1sgg.data.dataset import DataSet, Fault, Subset, hash_of_ids, with_images
from r1sgg.data.jsonl import add_image_id, read_lines, record_of_line
from r1sgg.data.spec import KINDS, Spec, kind_of, parse_spec
from r1sgg.errors import InputError

__all__ = ["DataSet", "Fault", "JsonlData", "Subset", "open_data", "parse_spec", "with_images"]


def open_data(spec: str, *, strict: bool = True) -> DataSet:
    """Open the set that a specification names (see the module's docstring).

    Args:
        spec: KIND:PATH[,OPTION=VALUE]..., or the path of a ground-truth file.
        strict: a wrong line of a ground-truth file is an error; otherwise it is left out and named in `notes`. The
            other formats always leave out wrong records and name them.

    Raises:
        ConfigError: no such kind, option or value.
        InputError: files that are missing, or damaged as a whole.
    """
    parts = parse_spec(spec)
    try:
        data = _open(parts, strict=strict)
    except InputError as error:
        if type(error) is not InputError or PAGE in error.hint:
            raise
        hint = f"{error.hint}; see {PAGE}" if error.hint else f"see {PAGE}"
        raise InputError(error.where, expected=error.expected, found=error.found, hint=hint) from error
    if not {"open", "part", "parents"}.isdisjoint(parts.options):
        from r1sgg.data.splits import MODES, PARTS, open_vocabulary

        given = parts.options.get("open", "")
        spelled = replace(parts, options={"open": next((m for m in MODES if m.lower() == given.lower()), given)})
        mode = spelled.choice("open", MODES, "")
        parents = parts.choice("parents", ("yes", "no"), "yes") == "yes"
        data = open_vocabulary(data, mode, parts.choice("part", PARTS, "train"), parents=parents)
    return data


def check_place(spec: str) -> None:
    """Refuse a set whose files are not there, or are of another format, as `open_data` does; nothing large is read.

    Raises:
        ConfigError, InputError: see `open_data`.
    """
    parts = parse_spec(spec)
    if parts.kind in KINDS and parts.kind != "hub" and not parts.path.exists():
        open_data(spec)
    elif parts.kind == "jsonl":
        refuse_other_formats(parts.path)


PAGE = "docs/own_data.md"
"""Which data can be read, and how other data are converted."""


def _open(parts: Spec, *, strict: bool) -> DataSet:
    if parts.kind == "jsonl":
        refuse_other_formats(parts.path)
        return JsonlData(parts.path, parts.options.get("split"), name=parts.text, strict=strict)
    return kind_of(parts.kind).open(parts)


def refuse_other_formats(path: Path) -> None:
    """Refuse what is named as a ground-truth file and is a folder, a table or COCO's annotations.

    Raises:
        InputError: it says how such data are named.
    """
    expected = "a ground-truth file (JSON Lines), or KIND:PATH"
    if path.is_dir():
        coco = f"coco:{path}" if any(path.rglob("_annotations.coco.json")) else f"coco:FILE,images={path}"
        raise InputError(str(path), expected=expected, found="a folder", hint=f"with annotations write {coco}; {_SEE}")
    if path.suffix.lower() in (".csv", ".tsv", ".xml"):
        raise InputError(str(path), expected=expected, found=f"a {path.suffix.upper()[1:]} file", hint=_SEE)
    if path.suffix.lower() == ".json" and path.is_file():
        with path.open("rb") as handle:
            beginning = handle.read(100_000)
        if beginning.lstrip()[:1] == b"{" and any(key in beginning for key in (b'"images":', b'"annotations":')):
            found = "COCO's annotations"
            raise InputError(str(path), expected=expected, found=found, hint=f"write coco:{path}; {_SEE}")


_SEE = f"see {PAGE}"


class JsonlData(DataSet):
    """A ground-truth file (`r1sgg.data.base`). Opening it reads and checks every line once and keeps their places."""

    def __init__(self, path: Path, split: str | None = None, *, name: str | None = None, strict: bool = True) -> None:
        super().__init__(name or str(path), split)
        self.path = path
        places = array("q")  # offset and number of each line of this split
        seen: set[str] = set()
        chosen: list[str] = []
        digests: list[bytes] = []
        splits: set[str | None] = set()
        empty = True
        for number, offset, content in read_lines(path):
            empty = False
            where = f"{path}:{number}"
            try:
                example = example_of_record(record_of_line(content, where, first=number == 1), where, path.parent)
                add_image_id(example.image_id, seen, where)
            except InputError as error:
                if strict:
                    raise
                self.notes.append(Fault("id" if "ids that differ" in error.expected else "record", str(error)))
                continue
            splits.add(example.split)
            if split is None or example.split == split:
                places.extend((offset, number))
                chosen.append(example.image_id)
                digests.append(example_digest(example))
        if empty:
            raise InputError(str(path), expected="at least one line", found="an empty file")
        if not splits:
            expected, found = "ground truth", f"no line that can be read; the first: {self.notes[0].text}"
            raise InputError(str(path), expected=expected, found=found)
        if not places:
            found = ", ".join(sorted(map(repr, splits - {None}))) or "lines without a split"
            raise InputError(str(path), expected=f"lines of split {split!r}", found=found)
        if split is None and len(splits) == 1:
            self.split = splits.pop()
        self._places = np.array(places).reshape(-1, 2)
        self._hashes = {"images": hash_of_ids(chosen), "annotations": hash_of_digests(digests)}

    def __len__(self) -> int:
        return len(self._places)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        offset, number = self._places[k].tolist()
        where = f"{self.path}:{number}"
        with self.path.open("rb") as handle:
            handle.seek(offset)
            line = handle.readline()
        return example_of_record(record_of_line(line, where, first=number == 1), where, self.path.parent), []
