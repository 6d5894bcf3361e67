"""One way to name any data: `open_data` takes what stands behind --data.

    scenes:50000,seed=1,preset=small,split=train    drawn on the fly (see `r1sgg.miniature.sources`)
    train.jsonl   jsonl:train.jsonl,split=val       your own ground truth, images relative to the file
    vg150:DIR,split=train,scale=1024                VG-SGG.h5, its dictionary and image_data.json
    psg:DIR,split=test                              psg.json and COCO's images
    coco:DIR,split=train                            COCO-format sets (SGG-Benchmark)
    hub:JosephZ/vg150_train_sgg_prompt              a set of the Hugging Face Hub; asks the network

Further options are in the docstring of each reader. It deliberately downloads nothing but what a hub: name says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from r1sgg.data.base import Example, example_digest, example_of_record, hash_of_digests
from r1sgg.data.dataset import DataSet, Fault, Subset, hash_of_ids, with_images
from r1sgg.data.jsonl import record_of_line
from r1sgg.data.spec import kind_of, parse_spec
from r1sgg.errors import InputError

__all__ = ["DataSet", "Fault", "JsonlData", "Subset", "open_data", "parse_spec", "with_images"]


def open_data(spec: str, *, strict: bool = True) -> DataSet:
    """Open what a specification names (see the module's docstring).

    Args:
        spec: KIND:PATH[,OPTION=VALUE]..., or the path of a ground-truth file.
        strict: a wrong line of a ground-truth file is an error; otherwise it is left out and named in `notes`. The
            other formats always leave wrong records out by name.

    Raises:
        ConfigError: no such kind, option or value.
        InputError: files that are missing, or damaged as a whole.
    """
    parts = parse_spec(spec)
    data: DataSet
    if parts.kind == "jsonl":
        data = JsonlData(parts.path, parts.options.get("split"), name=spec, strict=strict)
    else:
        data = kind_of(parts.kind).open(parts)
    if "open" in parts.options or "part" in parts.options:
        from r1sgg.data.splits import MODES, PARTS, open_vocabulary

        mode = parts.choice("open", MODES, "")
        data = open_vocabulary(data, mode, parts.choice("part", PARTS, "train"))
    return data


# ---------------------------------------------------------------- your own ground truth


class JsonlData(DataSet):
    """A ground-truth file (`r1sgg.data.base`). Opening reads it once, checks every line and keeps their places."""

    def __init__(self, path: Path, split: str | None = None, *, name: str | None = None, strict: bool = True) -> None:
        super().__init__(name or str(path), split)
        self.path = path
        places: list[int] = []
        numbers: list[int] = []
        seen: set[str] = set()
        digests: list[bytes] = []
        splits: set[str | None] = set()
        place = total = 0
        for number, line in enumerate(_lines(path), 1):
            here, place = place, place + len(line)
            if not line.strip():
                continue
            total += 1
            where = f"{path}:{number}"
            try:
                example = example_of_record(record_of_line(line, where, first=number == 1), where, path.parent)
                if example.image_id in seen:
                    raise InputError(where, expected="image ids that differ", found=f"{example.image_id!r} again")
            except InputError as error:
                if strict:
                    raise
                self.notes.append(Fault("id" if "ids that differ" in error.expected else "record", str(error)))
                continue
            seen.add(example.image_id)
            splits.add(example.split)
            if split is None or example.split == split:
                places.append(here)
                numbers.append(number)
                digests.append(example_digest(example))
        if not total:
            raise InputError(str(path), expected="at least one line", found="an empty file")
        if not places:
            found = ", ".join(sorted(map(repr, splits - {None}))) or "lines without a split"
            raise InputError(str(path), expected=f"lines of split {split!r}" if split else "a right line", found=found)
        if split is None and len(splits) == 1:
            self.split = splits.pop()
        self._places = np.array([places, numbers], dtype=np.int64)
        chosen = seen if split is None else {self.read(k)[0].image_id for k in range(len(self))}
        self._hashes = {"images": hash_of_ids(sorted(chosen)), "annotations": hash_of_digests(digests)}

    def __len__(self) -> int:
        return int(self._places.shape[1])

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        place, number = self._places[:, k].tolist()
        where = f"{self.path}:{number}"
        with self.path.open("rb") as handle:
            handle.seek(place)
            line = handle.readline()
        return example_of_record(record_of_line(line, where, first=number == 1), where, self.path.parent), []


def _lines(path: Path) -> Iterator[bytes]:
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(
            str(path), expected="a readable JSON Lines file", found=error.strerror or "an error", hint="check the path"
        ) from error
    with handle:
        yield from handle
